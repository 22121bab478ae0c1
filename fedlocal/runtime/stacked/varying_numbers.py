"""Numbers that may vary within a batch of runs: the declared ones of a strategy's client half."""

from collections.abc import Hashable, Iterator, Sequence
from copy import copy
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from fedlocal.slots.component import Component
from fedlocal.slots.strategy import Strategy

# Names of fields from the strategy down to one of them.
Path = tuple[str, ...]

# Slots of a client's round; the others belong to the server.
CLIENT_HALF = ("inner", "correction", "uplink", "mixing")


class Split(NamedTuple):
    """The fields of a client half: `varying` may differ within a batch, `fixed` may not."""

    varying: dict[Path, float]
    fixed: dict[Path, Hashable]


def split(strategy: Strategy) -> Split:
    """Split the fields of the client half by whether they may vary.

    >>> from strategies import fedprox
    >>> split(fedprox(lr=0.1, mu=0.5)).varying
    {('inner', 'lr'): 0.1, ('correction', 'mu'): 0.5}
    """
    found = Split({}, {})
    for slot in CLIENT_HALF:
        for path, value, declared in _fields(getattr(strategy, slot), (slot,)):
            if declared and isinstance(value, int | float):
                found.varying[path] = float(value)
            else:
                found.fixed[path] = _fingerprint(value)
    return found


def with_values(strategy: Strategy, paths: Sequence[Path], values: Sequence[Tensor]) -> Strategy:
    """Return the strategy with tensors [] in place of these numbers, unchecked."""
    for path, value in zip(paths, values, strict=True):
        strategy = _with(strategy, path, value)
    return strategy


def _fields(owner: Any, path: Path) -> Iterator[tuple[Path, Any, bool]]:
    """Yield the place of each value, the value, and whether it is declared to vary."""
    yield path, type(owner), False
    declared = owner.batched_fields if isinstance(owner, Component) else ()
    for field in fields(owner):
        value, place = getattr(owner, field.name), (*path, field.name)
        if is_dataclass(value) and not isinstance(value, type):
            yield from _fields(value, place)
        else:
            yield place, value, field.name in declared


def _fingerprint(value: Any) -> Hashable:
    if isinstance(value, Tensor | np.ndarray):
        return str(value.dtype), tuple(value.shape), np.asarray(value).tobytes()
    return type(value), repr(value)


def _with(owner: Any, path: Path, value: Tensor) -> Any:
    name, *deeper = path
    changed = copy(owner)
    new = _with(getattr(owner, name), tuple(deeper), value) if deeper else value
    # The instance is frozen, and its checks expect numbers.
    object.__setattr__(changed, name, new)
    return changed
