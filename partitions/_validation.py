"""Checks of arguments that all schemes share, with the same error messages."""

import math
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def check_arguments(
    labels: ArrayLike, num_clients: int, seed: int, kinds: str = "iu"
) -> tuple[NDArray[Any], np.random.Generator]:
    """Check the arguments that every scheme takes.

    Args:
        labels: One value per example, [n].
        num_clients: Number of clients, 1 to n.
        seed: Non-negative integer.
        kinds: Accepted `dtype.kind` letters of the labels.

    Returns:
        The labels as an array, and a generator that depends only on the seed.

    Raises:
        ValueError: Any of the three is not as described.
    """
    column = np.asarray(labels)
    if column.ndim != 1:
        raise ValueError(
            f"labels must be 1-D, one value per example, got shape {column.shape}; "
            "pass the class column, for one-hot rows labels.argmax(axis=1)"
        )
    check_at_least("num_clients", num_clients, 1)
    check_at_least("seed", seed, 0)
    if num_clients > len(column):
        raise ValueError(
            f"num_clients must be at most the number of examples, got {num_clients} clients for "
            f"{len(column)} examples; use fewer clients or more data"
        )
    if column.dtype.kind not in kinds:
        raise ValueError(
            f"labels must be {'integers' if kinds == 'iu' else 'integers or strings'}, got dtype "
            f"{column.dtype}; cast them, for regression targets pass zeros"
        )
    return column, np.random.default_rng(seed)


def check_at_least(name: str, value: int, minimum: int) -> None:
    """Raise ValueError unless `value` is an integer of at least `minimum`."""
    if not isinstance(value, Integral) or value < minimum:
        raise ValueError(
            f"{name} must be an integer of at least {minimum}, got {value!r}; "
            f"use {name}={minimum} or more"
        )


def check_alpha(alpha: float) -> None:
    """Raise ValueError unless the Dirichlet concentration is positive and finite."""
    if not (alpha > 0 and math.isfinite(alpha)):
        raise ValueError(
            f"alpha must be positive and finite, got {alpha}; small alpha means skewed, "
            "use partitions.iid for the limit of large alpha"
        )
