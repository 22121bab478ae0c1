"""Python values that user code reads, to see whether they change during a run.

A trace of the local steps keeps the values of its creation, and so do the checks before the first
round. A loss may read a weight from a dict that the caller changes after each round.
"""

import sys
from argparse import Namespace
from collections import ChainMap, UserDict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from inspect import getattr_static
from itertools import islice
from types import CodeType, FunctionType, MappingProxyType, MethodType, ModuleType, SimpleNamespace
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
# Functions that read attributes without a name in the code.
UNNAMED = {"__dict__", "asdict", "astuple", "fields", "getattr", "replace", "vars"}
# Special methods, which are called implicitly.
IMPLICIT = {"__bool__", "__call__", "__float__", "__getattr__", "__getitem__", "__len__"}

# Bounds on the time of a look: places, and compared elements of each.
MOST_PLACES = 2_000
MOST_ELEMENTS = 4_096


class Found(NamedTuple):
    """A value that code reads.

    copied: Whether it belongs to a model or loss that is a module, of which a run has a copy.
    """

    name: str
    value: Any
    copied: bool = False


class Place(NamedTuple):
    """Values that are compared: an attribute, the items of a dict, an array.

    name, copied: See `Found`. mark: Snapshot of the start. read: Takes a new snapshot, which is
    equal while the values are. kept: References to the objects whose ids are in the snapshot, so
    that no id is reused.
    """

    name: str
    copied: bool
    mark: Any
    read: Callable[[], Any]
    kept: Any


class PythonValues:
    """Values that functions, modules and other objects read, as they were at the start.

    Of a function these are the variables of its closure and the globals and attributes that it
    names; of a module all of its attributes, except a model's tensors and its mode; of a container
    its entries; and the same of the functions and objects among them, nearest first, up to a bound.
    """

    def __init__(self, *code: Any, model: nn.Module | None = None) -> None:
        """Keep the values that the code and the model read."""
        self._model = {id(module) for module in ([] if model is None else model.modules())}
        self._places: list[Place] = []
        self._names: set[str] = set()
        self._watched: set[tuple[int, str]] = set()
        seen: dict[int, Found] = {}
        objects: list[Found] = []
        waiting = deque(Found("", value, isinstance(value, nn.Module)) for value in (*code, model))
        while waiting and len(self._places) < MOST_PLACES:
            found = waiting.popleft()
            if id(found.value) not in seen and not isinstance(found.value, ATOMS):
                seen[id(found.value)] = found
                waiting += self._within(found)
                objects += [found] if _has_attributes(found.value) else []
            if not waiting:
                # Functions found later may name further attributes.
                waiting += [inner for each in objects for inner in self._attributes(each)]
        # References keep the ids of these objects from being reused.
        self._seen = seen

    def changed(self) -> tuple[str, bool] | None:
        """Return name and `copied` of the first value that is not as it was; None if all are."""
        return next(((p.name, p.copied) for p in self._places if p.read() != p.mark), None)

    def _add(self, found: Found, read: Callable[[], Any], kept: Any) -> None:
        self._places.append(Place(found.name, found.copied, read(), read, kept))

    def _within(self, found: Found) -> Iterator[Found]:
        """Add the places of a value; yield the values in it that may have others."""
        name, value, copied = found
        if isinstance(value, np.ndarray):
            self._add(found, partial(_entries, value), None)
        elif isinstance(value, Tensor):
            self._add(found, partial(_numbers, value), None)
        elif _is_mapping(value):
            self._add(found, partial(_items, value), [*value.values()])
            for key, inner in [*value.items()]:
                yield Found(f"{name}[{key!r}]", inner, copied)
        elif isinstance(value, list | tuple | set | frozenset | deque):
            if not isinstance(value, tuple | frozenset):
                self._add(found, partial(_elements, value), [*value])
            for inner in [*value]:
                yield Found(name, inner, copied)
        elif isinstance(value, FunctionType):
            yield from self._of_function(value)
        elif isinstance(value, MethodType):
            yield Found(name, value.__self__)
            yield Found(name, value.__func__)
        elif isinstance(value, partial):
            for part in (value.func, value.args, value.keywords):
                yield Found(name, part)
        elif isinstance(value, property):
            yield Found(name, value.fget)
        elif isinstance(value, staticmethod | classmethod):
            yield Found(name, value.__func__)
        elif isinstance(value, nn.Module):
            for key, module in value.named_children():
                yield Found(f"{name}.{key}" if name else key, module, copied)
        elif wrapped := _attribute(value, "__wrapped__"):
            yield Found(name, wrapped)

    def _of_function(self, function: FunctionType) -> Iterator[Found]:
        if _in_library(function.__module__):
            return
        names, spaces = _names(function.__code__), [function.__globals__]
        self._names |= names
        # Another file's values: `settings.weight`.
        modules = (function.__globals__.get(name) for name in names)
        spaces += [
            vars(module)
            for module in modules
            if isinstance(module, ModuleType) and not _in_library(module.__name__)
        ]
        for space in spaces:
            for name in sorted(names & space.keys()):
                yield from self._item(Found(name, space[name]), partial(_item, space, name))
        for name, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        ):
            value = getattr(cell, "cell_contents", None)
            yield from self._item(Found(name, value), partial(_content, cell))
        for part in (function.__defaults__, function.__kwdefaults__, vars(function)):
            yield Found(function.__name__, part)

    def _item(self, found: Found, read: Callable[[], Any]) -> Iterator[Found]:
        self._add(found, read, found.value)
        yield found

    def _attributes(self, found: Found) -> Iterator[Found]:
        """Add places for the attributes of an object that are read and not watched yet."""
        name, value, copied = found
        kind = value if isinstance(value, type) else type(value)
        for key in sorted(self._keys(value, kind)):
            if (id(value), key) not in self._watched:
                self._watched.add((id(value), key))
                inner = _attribute(value, key)
                label = f"{name}.{key}" if name else key
                # A run's copy shares functions and classes with the original.
                alone = copied and not isinstance(inner, FunctionType | type)
                yield from self._item(
                    Found(label, inner, alone), partial(_marked_attribute, value, key)
                )

    def _keys(self, value: Any, kind: type) -> set[str]:
        """Return the attributes of an object that code may read."""
        own = {
            key for base in kind.__mro__ if not _in_library(base.__module__) for key in vars(base)
        }
        if isinstance(value, nn.Module):
            held = vars(value).keys() - {"training"}
            held -= {*TENSOR_DICTS} if id(value) in self._model else set()
            return held | (own & (self._names | IMPLICIT | {"forward"}))
        if is_dataclass(value) and _in_library(kind.__module__):
            return {field.name for field in fields(value)}
        held = {*_instance(value)} if not isinstance(value, type) else set()
        if self._names & UNNAMED or "__getattr__" in own:
            return held | (own & (self._names | IMPLICIT))
        return (held | own) & (self._names | IMPLICIT)


def _is_mapping(value: Any) -> bool:
    """Return whether values lie in memory; to look at another mapping may read files."""
    config = isinstance(value, Mapping) and type(value).__module__.startswith("omegaconf.")
    return config or isinstance(value, dict | ChainMap | MappingProxyType | UserDict)


def _has_attributes(value: Any) -> bool:
    """Return whether this is an object, a class or a module of the user's own."""
    if isinstance(value, type):
        return not _in_library(value.__module__)
    plain = (Tensor, np.ndarray, dict, list, tuple, set, frozenset, deque, partial)
    functions = (FunctionType, MethodType, ModuleType, property, staticmethod, classmethod)
    if isinstance(value, (*plain, *functions)):
        return False
    known = isinstance(value, HOLDERS) or is_dataclass(value)
    return known or not _in_library(type(value).__module__)


def _in_library(module: str | None) -> bool:
    return (module or "").partition(".")[0] in LIBRARIES


def _names(code: CodeType) -> set[str]:
    """Return the names and texts in a function's code and in the functions inside of it."""
    found = {*code.co_names}
    for part in code.co_consts:
        if isinstance(part, CodeType):
            found |= _names(part)
        elif isinstance(part, str) and part.isidentifier():
            found.add(part)
    return found


def _instance(value: Any) -> dict[str, Any]:
    """Return the attributes of an object itself."""
    slots = (vars(base).get("__slots__", ()) for base in type(value).__mro__)
    names = [name for each in slots for name in ([each] if isinstance(each, str) else each)]
    return {n: getattr(value, n) for n in names if hasattr(value, n)} | getattr(
        value, "__dict__", {}
    )


def _attribute(value: Any, key: str) -> Any:
    """Return an attribute of an object or of its class, without calling a property."""
    own = getattr(value, "__dict__", {})
    found = own[key] if key in own else getattr_static(value, key, None)
    return getattr(value, key, None) if type(found).__name__ == "member_descriptor" else found


def _marked_attribute(value: Any, key: str) -> Any:
    return _mark(_attribute(value, key))


def _mark(value: Any) -> Any:
    """Return the type and the value of a number or text, and the id of anything else."""
    return (type(value), value) if isinstance(value, ATOMS) else id(value)


def _elements(values: Any) -> Any:
    step = len(values) // MOST_ELEMENTS + 1
    some = values[::step] if isinstance(values, list) else islice(values, 0, None, step)
    return len(values), [_mark(value) for value in some]


def _items(values: Mapping[Any, Any]) -> Any:
    step = len(values) // MOST_ELEMENTS + 1
    return len(values), [(_mark(k), _mark(v)) for k, v in islice(values.items(), 0, None, step)]


def _item(space: Mapping[str, Any], name: str) -> Any:
    return _mark(space.get(name))


def _content(cell: Any) -> Any:
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
