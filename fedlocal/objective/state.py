"""Values that models and losses keep outside of parameters and buffers, to see whether they change.

A run cannot carry them: each client would need its own, and a run has a copy of the model.
"""

import hashlib
import pickle
from collections.abc import Iterator, Mapping
from functools import partial
from types import CellType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fedlocal.utils.torch_private import TENSOR_DICTS


def values_of(code: Any) -> dict[str, bytes]:
    """Return the values that a module, function or object keeps, as bytes by name.

    Of a module they are the attributes of all its modules, of a function the variables of its
    closure and the globals that it names, of another object its attributes.
    """
    return dict(_kept(code))


def buffers_of(code: Any) -> dict[str, bytes]:
    """Return the buffers of a module as bytes by name; of anything else nothing."""
    named = dict(code.named_buffers()) if isinstance(code, nn.Module) else {}
    return dict(_plain(named))


def first_difference(one: Mapping[str, bytes], other: Mapping[str, bytes]) -> str | None:
    """Return the name of the first value that differs; None if all are equal."""
    return next((name for name, value in one.items() if other.get(name) != value), None)


def _kept(code: Any) -> Iterator[tuple[str, bytes]]:
    if isinstance(code, nn.Module):
        for prefix, module in code.named_modules():
            own = {key: value for key, value in vars(module).items() if key not in TENSOR_DICTS}
            yield from _plain(own, f"{prefix}." if prefix else "")
    elif isinstance(code, partial):
        yield from _kept(code.func)
    elif isinstance(code, MethodType):
        yield from _kept(code.__self__)
    elif isinstance(code, FunctionType):
        named = {name: code.__globals__.get(name) for name in code.__code__.co_names}
        cells = zip(code.__code__.co_freevars, code.__closure__ or (), strict=True)
        yield from _plain(named | {name: _content(cell) for name, cell in cells})
    elif hasattr(code, "__dict__"):
        yield from _plain(vars(code))


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        # The variable has no value yet.
        return None


def _plain(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, bytes]]:
    for key, value in values.items():
        if _is_plain(value):
            yield f"{prefix}{key}", pickle.dumps(_as_bytes(value))


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple | set):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    if isinstance(value, Tensor):
        return value.layout is torch.strided
    return value is None or isinstance(value, bool | int | float | str | np.generic | np.ndarray)


def _as_bytes(value: Any) -> Any:
    """Return the value with tensors as digests; equal tensors may be pickled differently."""
    if isinstance(value, Tensor):
        flat = value.detach().cpu().resolve_conj().resolve_neg().contiguous().flatten()
        return hashlib.sha256(flat.view(torch.uint8).numpy().tobytes()).digest()
    if isinstance(value, dict):
        return {key: _as_bytes(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_as_bytes(each) for each in value]
    return value
