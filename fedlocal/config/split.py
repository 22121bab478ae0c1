"""Partition of a configuration: a scheme and its seed."""

import inspect
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig, open_dict

from fedlocal.data.dataset import Dataset
from partitions import Partition


def labels_of(dataset: Dataset) -> NDArray[np.int64]:
    """Return the column that schemes split by, [n]: classes, or zeros without classes."""
    if dataset.num_classes is None:
        return np.zeros(len(dataset.y_train), dtype=np.int64)
    return dataset.y_train.cpu().numpy()


def partition_of(cfg: DictConfig, dataset: Dataset, labels: NDArray[np.int64]) -> Partition:
    """Split the training examples by the chosen scheme.

    Raises:
        ValueError: The scheme or its seed does not fit the data or the number of clients.
    """
    scheme, seed = _scheme(cfg)
    column = dataset.client_ids if _by_client_id(scheme) else labels
    if column is None:
        raise ValueError(
            f"partition=natural needs client ids, and dataset {dataset.name} has none; use"
            " another partition, for example partition=dirichlet, or data with client_ids"
        )
    try:
        inspect.signature(scheme).bind(column, cfg.K, seed=seed)
    except TypeError as error:
        raise ValueError(
            f"partition._target_={cfg.partition._target_} is called with (labels, num_clients,"
            f" seed=...), and says: {error}"
        ) from error
    try:
        return Partition.of(scheme(column, cfg.K, seed=seed), cfg.K, len(column))
    except ValueError as error:
        raise ValueError(f"partition: {error}".replace("num_clients", "K")) from error


def _scheme(cfg: DictConfig) -> tuple[Any, int]:
    """Return the partition scheme, called as scheme(labels, K, seed=seed), and its seed.

    Raises:
        ValueError: A base has a seed of its own, or the seed is negative.
    """
    whole = deepcopy(cfg)
    given = whole.partition.get("seed")
    if given is not None and given < 0:
        raise ValueError(f"partition.seed must be a whole number >= 0 or null, got {given}")
    group, place = whole.partition, "partition"
    while isinstance(group, DictConfig):
        with open_dict(group):
            seed = group.pop("seed", None)
        if seed is not None and place != "partition":
            raise ValueError(
                f"{place}.seed={seed} would do nothing: a base is split by the seed of what is"
                f" built on it; give partition.seed={seed}"
            )
        group, place = group.get("base"), f"{place}.base"
    return instantiate(whole.partition), cfg.seed if given is None else given


def _by_client_id(scheme: "partial[Any] | Callable[..., Any]") -> bool:
    """Return whether the scheme, or the base it is built on, splits by client ids."""
    if isinstance(scheme, partial):
        base = scheme.keywords.get("base")
        return _by_client_id(base if base is not None else scheme.func)
    return next(iter(inspect.signature(scheme).parameters)) == "client_ids"
