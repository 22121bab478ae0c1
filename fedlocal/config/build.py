"""From the composed configuration to the objects of a run.

Everything a user can get wrong is found here, before a file is written: a ValueError or OSError of
any piece becomes a `ConfigError` with its one line.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor, nn

from fedlocal.checkpoint import Checkpointing
from fedlocal.clients import Clients, IntArray
from fedlocal.config.chosen import clock_of, strategy_of
from fedlocal.config.refusal import ConfigError, one_line
from fedlocal.config.settings import check_settings
from fedlocal.data.dataset import Dataset
from fedlocal.losses import cross_entropy, squared_error
from fedlocal.payload import formats
from fedlocal.rounds.barrier import Row
from fedlocal.runtime import Runtime
from fedlocal.simulate import prepare
from fedlocal.simulation import Simulation
from fedlocal.tracking import Guarded, Service, Tracker

DTYPES = {"float32": torch.float32, "float64": torch.float64}


class Partition(Protocol):
    """What a partition scheme returns, as far as a run needs it."""

    chunks: tuple[tuple[IntArray, ...], ...]

    def credit(self) -> NDArray[np.float64]:
        """Weight of each client in which every example counts once in all, [K]."""
        ...

    def digest(self) -> str:
        """Fingerprint of the split."""
        ...

    def save(self, path: str, labels: NDArray[np.int64]) -> None:
        """Write the split and its statistics as npz."""
        ...


@runtime_checkable
class Engine(Protocol):
    """Runs a job in other processes, which build it again from its overrides."""

    @property
    def inner(self) -> Runtime:
        """What runs the clients there."""
        ...

    def run_job(
        self, job: "Job", folder: Path, about: dict[str, Any], sweep: str | None
    ) -> list[Row]:
        """See `fedlocal.job.run.run_job`."""
        ...


@dataclass(frozen=True, eq=False)
class Job:
    """What one run consists of; engine is None where it runs in this process."""

    simulation: Simulation
    partition: Partition
    labels: NDArray[np.int64]
    tracker: Tracker
    engine: Engine | None
    checkpoint: Checkpointing

    @property
    def copies(self) -> int:
        """How many examples are stored beyond the first copy of each."""
        held = sum(len(chunk) for chunks in self.partition.chunks for chunk in chunks)
        return held - round(float(self.partition.credit().sum()))


def build(cfg: DictConfig) -> Job:
    """Instantiate every group and check that they fit.

    Raises:
        ConfigError: Something given does not fit; its text is one line.
    """
    with _one_line():
        check_settings(cfg)
        strategy = strategy_of(cfg)
        runtime: Runtime | Engine = instantiate(cfg.runtime)
        engine = runtime if isinstance(runtime, Engine) else None
        dataset: Dataset = instantiate(cfg.dataset)
        labels = _labels(dataset)
        partition = _partition(cfg, dataset, labels)
        simulation = prepare(
            model=_model(cfg, dataset),
            clients=_clients(dataset, partition),
            strategy=strategy,
            loss=squared_error if dataset.num_classes is None else cross_entropy,
            test=_test(dataset),
            dtype=_dtype(cfg.dtype),
            runtime=runtime.inner if isinstance(runtime, Engine) else runtime,
            clock=clock_of(cfg),
            faults=instantiate(cfg.faults),
            deadline=instantiate(cfg.deadline),
            evaluate=instantiate(cfg.evaluate),
            diagnostics=cfg.diagnostics,
            goal=instantiate(cfg.goal),
            augment=instantiate(cfg.augment),
            precision=cfg.precision,
            clip_norm=cfg.clip_norm,
            rounds=cfg.rounds,
            batch_size=cfg.batch_size,
            participation=cfg.participation,
            seed=cfg.seed,
            device=cfg.device,
            spill=_spill(cfg.spill, engine),
        )
        if engine is not None:
            # Refuses what no message between machines holds.
            formats(simulation)
        if dataset.elsewhere:
            simulation = replace(simulation, train=None)
        return Job(
            simulation,
            partition,
            labels,
            _tracker(cfg),
            engine,
            instantiate(cfg.checkpoint),
        )


@contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except InstantiationException as error:
        if not isinstance(error.__cause__, ValueError | OSError | None):
            raise
        raise ConfigError(one_line(error)) from error
    except (ValueError, OSError, OmegaConfBaseException) as error:
        raise ConfigError(one_line(error)) from error


def _labels(dataset: Dataset) -> NDArray[np.int64]:
    if dataset.num_classes is None:
        return np.zeros(len(dataset.y_train), dtype=np.int64)
    return dataset.y_train.cpu().numpy()


def _partition(cfg: DictConfig, dataset: Dataset, labels: NDArray[np.int64]) -> Partition:
    scheme = instantiate(cfg.partition)
    column = dataset.client_ids if _by_client_id(scheme) else labels
    if column is None:
        raise ValueError(
            f"partition=natural needs client ids, and dataset {dataset.name} has none; use"
            " another partition, for example partition=dirichlet, or data with client_ids"
        )
    try:
        return scheme(column, cfg.K, seed=cfg.seed)
    except ValueError as error:
        raise ValueError(f"partition: {error}".replace("num_clients", "K")) from error


def _clients(dataset: Dataset, partition: Partition) -> Clients:
    x, y = dataset.x_train, dataset.y_train
    return Clients(x, y, partition.chunks, partition.credit(), dataset.pixels)


def _by_client_id(scheme: "partial[Any] | Callable[..., Any]") -> bool:
    """Whether the scheme, or the base it is built on, splits by a column of client ids."""
    if isinstance(scheme, partial):
        base = scheme.keywords.get("base")
        return _by_client_id(base if base is not None else scheme.func)
    return next(iter(inspect.signature(scheme).parameters)) == "client_ids"


def _model(cfg: DictConfig, dataset: Dataset) -> nn.Module:
    make = instantiate(cfg.model, _convert_="all")
    given: list[Any] = [dataset.input_shape, dataset.num_outputs]
    _check_kind("num_tokens" in inspect.signature(make).parameters, dataset)
    if dataset.num_tokens is not None:
        given.append(dataset.num_tokens)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(cfg.seed)
        return make(*given)


def _check_kind(takes_tokens: bool, dataset: Dataset) -> None:
    """Refuse numbers for a model of tokens, and tokens for a model of numbers."""
    if takes_tokens and dataset.num_tokens is None:
        raise ValueError(
            f"the model reads token indices, and dataset {dataset.name} has numbers; use another"
            " model, for example model=mlp, or dataset=text or dataset=text_csv"
        )
    if not takes_tokens and dataset.num_tokens is not None:
        raise ValueError(
            f"dataset {dataset.name} has token indices, and the model reads numbers; use"
            " model=char_gru, model=char_transformer or model=text_cnn"
        )


def _test(dataset: Dataset) -> tuple[Tensor, Tensor] | None:
    if dataset.x_test is None or dataset.y_test is None:
        return None
    return dataset.x_test, dataset.y_test


def _spill(folder: str | None, engine: Engine | None) -> str | None:
    if folder is not None and engine is not None:
        raise ValueError(
            f"spill={folder} is for clients in this process, and runtime=flower has them on its"
            " nodes, which keep their states in files of their own; leave spill=null"
        )
    return folder


def _tracker(cfg: DictConfig) -> Tracker:
    """What was chosen, one or several, so that none of it can stop the run."""
    made: Service | list[Service] = instantiate(cfg.tracking)
    return Guarded(made if isinstance(made, list) else [made])


def _dtype(name: str) -> torch.dtype:
    if name not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {name!r}")
    return DTYPES[name]
