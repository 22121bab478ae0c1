"""The numbers in a strategy's client half: what runs of one stack may differ in."""

from collections.abc import Hashable, Iterator, Sequence
from copy import copy
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from torch import Tensor

from fedlocal.slots.strategy import Strategy

# Names of fields from the strategy down to a number.
Path = tuple[str, ...]

# The slots that a client's round looks at; the others belong to the server.
CLIENT_HALF = ("inner", "correction", "uplink", "mixing")


def numbers(strategy: Strategy) -> dict[Path, float]:
    """Every float of the client half, and where it stands.

    >>> from strategies import fedprox
    >>> numbers(fedprox(lr=0.1, mu=0.5))[("correction", "mu")]
    0.5
    """
    found: dict[Path, float] = {}
    for slot in CLIENT_HALF:
        found |= {(slot, *path): value for path, value in _floats(getattr(strategy, slot))}
    return found


def rest(strategy: Strategy) -> Hashable:
    """All of the client half but its floats; equal for strategies that can share a batch."""
    return tuple(_rest(getattr(strategy, slot)) for slot in CLIENT_HALF)


def with_numbers(strategy: Strategy, paths: Sequence[Path], values: Sequence[Tensor]) -> Strategy:
    """The strategy with tensors [] in place of these floats, unchecked."""
    for path, value in zip(paths, values, strict=True):
        strategy = _with(strategy, path, value)
    return strategy


def _floats(piece: Any) -> Iterator[tuple[Path, float]]:
    for field in fields(piece):
        value = getattr(piece, field.name)
        if isinstance(value, float):
            yield (field.name,), value
        elif _is_piece(value):
            yield from (((field.name, *path), each) for path, each in _floats(value))


def _rest(value: Any) -> Hashable:
    if _is_piece(value):
        inside = ((field.name, _rest(getattr(value, field.name))) for field in fields(value))
        return type(value), tuple(inside)
    if isinstance(value, float):
        return float
    if isinstance(value, Tensor | np.ndarray):
        return str(value.dtype), tuple(value.shape), np.asarray(value).tobytes()
    return type(value), repr(value)


def _with(piece: Any, path: Path, value: Tensor) -> Any:
    name, *deeper = path
    changed = copy(piece)
    new = _with(getattr(piece, name), tuple(deeper), value) if deeper else value
    # Frozen, and its checks are for floats.
    object.__setattr__(changed, name, new)
    return changed


def _is_piece(value: Any) -> bool:
    return is_dataclass(value) and not isinstance(value, type)
