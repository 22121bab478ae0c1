"""Python values that user code reads from outside, to see whether they change during a run.

A trace of the local steps keeps the values of its creation, and so do the checks before the first
round. A loss may read a weight from a dict that the caller changes after each round.
"""

import sys
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from types import CellType, CodeType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from fedlocal.utils.torch_private import TENSOR_DICTS

# Packages whose functions and classes read no values that a user changes.
LIBRARIES = {"fedlocal", "numpy", "strategies", "torch", "torchvision", *sys.stdlib_module_names}
# Their objects that hold the user's values.
HOLDERS = (Namespace, SimpleNamespace, nn.Module)
ATOMS = (bool, int, float, complex, str, bytes, type(None), np.generic)

# Bounds on the time of a look: places, and compared elements of each.
MOST_PLACES = 2_000
MOST_ELEMENTS = 4_096

Named = Iterator[tuple[str, Any]]


class Place(NamedTuple):
    """Values that code reads: the items of a dict, the globals of a function, an array.

    name: Name of the values, for messages. mark: Return value of `read` at the start. read: Returns
    a mark that is equal as long as the values are the same. kept: Objects whose ids are in the
    mark; an id may be given to another object when its own is gone.
    """

    name: str
    mark: Any
    read: Callable[[], Any]
    kept: Any


class PythonValues:
    """Values that a model, a loss and a strategy read from outside, as they were at the start.

    Of a function these are the variables of its closure and the globals that it names; of an object
    its attributes and those of its class; and the same of the functions and objects among them,
    nearest first, up to a bound. A model's own attributes are not among them, since a run has its
    own copy of the model. Neither is what no name leads to, such as the time or a file's content.
    """

    def __init__(self, model: nn.Module, *code: Any) -> None:
        self._private = {id(module) for module in model.modules()}
        self._places: list[Place] = []
        waiting = deque[tuple[str, Any]](("", value) for value in (model, *code))
        seen = set[int]()
        while waiting and len(self._places) < MOST_PLACES:
            name, value = waiting.popleft()
            if id(value) not in seen and not isinstance(value, ATOMS):
                seen.add(id(value))
                waiting += self._within(value, name)

    def changed(self) -> str:
        """Return the name of the first values that are not as they were; "" if all are."""
        return next((place.name for place in self._places if place.read() != place.mark), "")

    def _add(self, name: str, read: Callable[[], Any], kept: Any) -> None:
        self._places.append(Place(name, read(), read, kept))

    def _within(self, value: Any, name: str) -> Named:
        """Add the places of a value; yield the values in it that may have others."""
        if isinstance(value, np.ndarray):
            self._add(name, partial(_entries, value), None)
        elif isinstance(value, Tensor):
            self._add(name, partial(_numbers, value), None)
        elif isinstance(value, Mapping):
            if isinstance(value, dict):
                self._add(name, partial(_items, value), [*value.values()])
            yield from ((f"{name}[{key!r}]", inner) for key, inner in [*value.items()])
        elif isinstance(value, list | tuple | set | frozenset | deque):
            if not isinstance(value, tuple | frozenset):
                self._add(name, partial(_elements, value), [*value])
            yield from ((name, inner) for inner in [*value])
        elif isinstance(value, FunctionType):
            yield from self._of_function(value)
        elif isinstance(value, MethodType):
            yield from ((name, part) for part in (value.__self__, value.__func__))
        elif isinstance(value, partial):
            yield from ((name, part) for part in (value.func, value.args, value.keywords))
        elif isinstance(value, property):
            yield name, value.fget
        elif isinstance(value, staticmethod | classmethod):
            yield name, value.__func__
        elif isinstance(value, type):
            yield from self._of_class(value)
        elif not isinstance(value, ModuleType):
            yield from self._of_object(value, name)

    def _of_function(self, function: FunctionType) -> Named:
        if _in_library(function.__module__):
            return
        names, spaces = _names(function.__code__), [function.__globals__]
        # Another file's values: `settings.weight`.
        modules = (function.__globals__.get(name) for name in names)
        spaces += [
            vars(m) for m in modules if isinstance(m, ModuleType) and not _in_library(m.__name__)
        ]
        for space in spaces:
            known = {name: space[name] for name in names if name in space}
            yield from self._of_names(space, known)
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        for name, cell in cells:
            self._add(name, partial(_content, cell), None)
            yield name, getattr(cell, "cell_contents", None)
        name = function.__name__
        yield from ((name, part) for part in (function.__defaults__, function.__kwdefaults__))
        yield name, vars(function)

    def _of_names(
        self, space: Mapping[str, Any], known: Mapping[str, Any], prefix: str = ""
    ) -> Named:
        for name, value in known.items():
            self._add(f"{prefix}{name}", partial(_item, space, name), value)
            yield f"{prefix}{name}", value

    def _of_class(self, kind: type) -> Named:
        for base in kind.__mro__:
            if not _in_library(base.__module__):
                own = {k: v for k, v in vars(base).items() if not k.startswith("__") or callable(v)}
                yield from self._of_names(vars(base), own, f"{base.__name__}.")

    def _of_object(self, value: Any, name: str) -> Named:
        prefix = f"{name}." if name else ""
        if id(value) in self._private:
            attributes = {k: v for k, v in vars(value).items() if k not in TENSOR_DICTS}
        elif is_dataclass(value) and _in_library(type(value).__module__):
            attributes = {field.name: getattr(value, field.name) for field in fields(value)}
        elif isinstance(value, HOLDERS) or not _in_library(type(value).__module__):
            attributes = _attributes(value)
            self._add(
                name or type(value).__name__, partial(_items_of, value), [*attributes.values()]
            )
        else:
            return
        yield from ((f"{prefix}{key}", inner) for key, inner in attributes.items())
        yield type(value).__name__, type(value)


def _in_library(module: str | None) -> bool:
    return (module or "").partition(".")[0] in LIBRARIES


def _names(code: CodeType) -> tuple[str, ...]:
    """Return the names that a function's code and the functions inside of it refer to."""
    inner = (_names(part) for part in code.co_consts if isinstance(part, CodeType))
    return tuple(dict.fromkeys([*code.co_names, *(name for names in inner for name in names)]))


def _attributes(value: Any) -> dict[str, Any]:
    slots = [slot for base in type(value).__mro__ for slot in vars(base).get("__slots__", ())]
    found = {slot: getattr(value, slot) for slot in slots if hasattr(value, slot)}
    return found | getattr(value, "__dict__", {})


def _mark(value: Any) -> Any:
    """Return the type and the value of a number or text, and the id of anything else."""
    return (type(value), value) if isinstance(value, ATOMS) else id(value)


def _some(values: list[Any]) -> list[Any]:
    return values[:: len(values) // MOST_ELEMENTS + 1]


def _elements(values: Any) -> Any:
    return len(values), [_mark(value) for value in _some([*values])]


def _items(values: Mapping[Any, Any]) -> Any:
    return len(values), [(_mark(k), _mark(v)) for k, v in _some([*values.items()])]


def _items_of(value: Any) -> Any:
    return _items(_attributes(value))


def _item(space: Mapping[str, Any], name: str) -> Any:
    return _mark(space.get(name))


def _content(cell: CellType) -> Any:
    # A variable without a value yet has no content.
    return _mark(getattr(cell, "cell_contents", None))


def _entries(array: np.ndarray) -> Any:
    flat = array.reshape(-1)
    return array.shape, flat[:: flat.size // MOST_ELEMENTS + 1].tobytes()


def _numbers(tensor: Tensor) -> Any:
    if tensor.layout is not torch.strided or tensor.is_quantized:
        return None
    flat = tensor.detach().resolve_conj().resolve_neg().reshape(-1)
    some = flat[:: len(flat) // MOST_ELEMENTS + 1].contiguous()
    return tensor.shape, some.view(torch.uint8).cpu().numpy().tobytes()
