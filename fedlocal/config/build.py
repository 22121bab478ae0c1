"""Construction of a run from the composed configuration.

User errors are found here, before any file is written: a ValueError or OSError of a component
becomes a one-line `ConfigError`.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor, nn

from fedlocal.api import prepare
from fedlocal.config.components import clock_of, loss_of, strategy_of
from fedlocal.config.error_location import own_failure
from fedlocal.config.errors import ConfigError, one_line, with_place
from fedlocal.config.keys import check_top_level
from fedlocal.config.settings import check_settings
from fedlocal.config.split import labels_of, partition_of
from fedlocal.data.clients import Clients
from fedlocal.data.dataset import Dataset
from fedlocal.data.own import as_dataset
from fedlocal.objective import Loss, StepOptions
from fedlocal.objective.augment import NoAugment
from fedlocal.objective.losses import BinaryCrossEntropy
from fedlocal.objective.options import ModelOptions
from fedlocal.rounds.checkpoint import Checkpointing
from fedlocal.rounds.definition import Environment, Method, Observation, Problem
from fedlocal.rounds.evaluation import check_measured
from fedlocal.rounds.metrics import Row
from fedlocal.rounds.payload import check_messages
from fedlocal.rounds.runtime_interface import Runtime
from fedlocal.rounds.state import Simulation
from partitions import Partition
from partitions.statistics import credit

REFUSALS = (ValueError, OSError, OmegaConfBaseException, InstantiationException)
DTYPES = {"float32": torch.float32, "float64": torch.float64}


@runtime_checkable
class Engine(Protocol):
    """Engine that runs a job in other processes, which build it again from its overrides."""

    @property
    def inner(self) -> Runtime:
        """Runtime of the clients in those processes."""
        ...

    def run_job(
        self, job: "Job", folder: Path, about: dict[str, Any], sweep: str | None
    ) -> list[Row]:
        """See `fedlocal.cli.run.run_job`."""
        ...


# Keys of the group model that configure the run and not the model.
MODEL_OPTIONS = tuple(field.name for field in fields(ModelOptions))


@dataclass(frozen=True, eq=False)
class Job:
    """Parts of one run; engine is None where it runs in this process.

    trackers: Objects of type `fedlocal.report.tracking.Service`.
    """

    simulation: Simulation
    partition: Partition
    labels: NDArray[np.int64]
    trackers: list[Any]
    engine: Engine | None
    checkpoint: Checkpointing

    @property
    def copies(self) -> int:
        """Count the stored examples beyond the first copy of each."""
        held = sum(len(chunk) for chunks in self.partition.chunks for chunk in chunks)
        return held - round(float(credit(self.partition).sum()))


def build(cfg: DictConfig) -> Job:
    """Instantiate every group and check that they fit together.

    Raises:
        ConfigError: A group is invalid or does not fit the others.
    """
    with _one_line():
        check_top_level(cfg, *_readers())
        check_settings(cfg)
        strategy = strategy_of(cfg)
        runtime: Runtime | Engine = instantiate(cfg.runtime)
        engine = runtime if isinstance(runtime, Engine) else None
        dataset = as_dataset(instantiate(cfg.dataset), cfg.dataset._target_)
        loss = loss_of(cfg, dataset)
        labels = labels_of(dataset)
        partition = partition_of(cfg, dataset, labels)
        simulation = prepare(
            Problem(
                model=_model(cfg, dataset, loss),
                clients=_clients(dataset, partition),
                loss=loss,
                test=_test(dataset),
                options=_model_options(cfg),
            ),
            Method(
                strategy=strategy,
                rounds=cfg.rounds,
                batch_size=cfg.batch_size,
                participation=cfg.participation,
                seed=cfg.seed,
                steps=_step_options(cfg),
            ),
            Environment(
                runtime=runtime.inner if isinstance(runtime, Engine) else runtime,
                device=cfg.device,
                dtype=_dtype(cfg.dtype),
                clock=clock_of(cfg),
                faults=instantiate(cfg.faults),
                deadline=instantiate(cfg.deadline),
                spill=_spill(cfg.spill, engine),
            ),
            Observation(
                evaluate=instantiate(cfg.evaluate),
                diagnostics=cfg.diagnostics,
                goal=instantiate(cfg.goal),
            ),
        )
        if engine is not None:
            # Refuses strategies whose messages Flower cannot carry.
            check_messages(simulation)
        if dataset.here is not None:
            simulation = replace(simulation, train=None)
        check_measured(simulation, away=engine is not None)
        return Job(
            simulation,
            partition,
            labels,
            _trackers(cfg),
            engine,
            instantiate(cfg.checkpoint),
        )


@contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # Hydra wraps the exceptions of the functions that it calls.
        wrapped = isinstance(error, InstantiationException)
        cause = error.__cause__ or error if wrapped else error
        if said := own_failure(cause):
            raise ConfigError(with_place(error, said) if wrapped else said) from error
        if not isinstance(cause, REFUSALS):
            raise
        raise ConfigError(one_line(error)) from error


def _readers() -> list[Any]:
    """Return configurations that may refer to this one: Hydra's own names folders by it."""
    return [HydraConfig.instance().cfg] if HydraConfig.initialized() else []


def _clients(dataset: Dataset, partition: Partition) -> Clients:
    x, y, here = dataset.x_train, dataset.y_train, dataset.here
    if here is not None:
        _check_owners(dataset, partition)
        here = tuple(here)
    return Clients(x, y, partition.chunks, credit(partition), dataset.pixels, here)


def _check_owners(dataset: Dataset, partition: Partition) -> None:
    """Refuse to give a client examples that another machine holds."""
    assert dataset.client_ids is not None
    for client, chunks in enumerate(partition.chunks):
        others = set(dataset.client_ids[np.concatenate(chunks)].tolist()) - {client}
        if others:
            raise ValueError(
                f"partition: client {client} would hold examples of client {min(others)}, which"
                f" are on another machine; dataset {dataset.name} needs partition=natural"
            )


def _model(cfg: DictConfig, dataset: Dataset, loss: Loss) -> nn.Module:
    make = model_maker(cfg)
    # For two classes, binary cross-entropy needs a single logit.
    one = isinstance(loss, BinaryCrossEntropy) and dataset.num_classes is not None
    given: list[Any] = [dataset.input_shape, 1 if one else dataset.num_outputs]
    _check_kind("num_tokens" in inspect.signature(make).parameters, dataset)
    if dataset.num_tokens is not None:
        given.append(dataset.num_tokens)
    try:
        inspect.signature(make).bind(*given)
    except TypeError as error:
        raise ValueError(
            f"model._target_={cfg.model._target_} is called with (input_shape, num_outputs), and"
            f" says: {error}"
        ) from error
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(cfg.seed)
        try:
            return make(*given)
        except Exception as error:
            if said := own_failure(error):
                raise ValueError(f"model._target_={cfg.model._target_}: {said}") from error
            raise


def model_maker(cfg: DictConfig) -> Callable[..., nn.Module]:
    """Return the chosen model as a function of (input_shape, num_outputs), without run options."""
    own = OmegaConf.masked_copy(cfg.model, [key for key in cfg.model if key not in MODEL_OPTIONS])
    return instantiate(own, _convert_="all")


def _model_options(cfg: DictConfig) -> ModelOptions:
    given = OmegaConf.to_container(cfg.model, resolve=True)
    return ModelOptions(**{key: given[key] for key in MODEL_OPTIONS})  # type: ignore[index, call-overload]


def _step_options(cfg: DictConfig) -> StepOptions:
    return StepOptions(instantiate(cfg.augment) or NoAugment(), cfg.precision, cfg.clip_norm)


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


def _trackers(cfg: DictConfig) -> list[Any]:
    """Return the chosen trackers, one or several."""
    made: Any = instantiate(cfg.tracking)
    return made if isinstance(made, list) else [made]


def _dtype(name: str) -> torch.dtype:
    if name not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {name!r}")
    return DTYPES[name]
