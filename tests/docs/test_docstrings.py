"""Every public name has a docstring: what ruff's D rules see, and methods, which they leave out."""

import inspect
from importlib import import_module
from pkgutil import iter_modules
from types import FunctionType, ModuleType

import pytest

import fedlocal
import partitions
import strategies

PACKAGES = ["fedlocal", *(f"fedlocal.{m.name}" for m in iter_modules(fedlocal.__path__) if m.ispkg)]
MODULES = [
    *(
        "fedlocal.slots.inner.lr_schedules",
        "fedlocal.slots.inner.sgd",
        "fedlocal.slots.outer.sgd",
        "fedlocal.slots.sampling",
        "fedlocal.rounds.retimed",
    ),
    *(
        "fedlocal.rounds.ledger",
        "fedlocal.rounds.ledger",
        "fedlocal.report.runs",
        "fedlocal.api",
    ),
    *(f"strategies.{module.name}" for module in iter_modules(strategies.__path__)),
    *(f"partitions.{module.name}" for module in iter_modules(partitions.__path__)),
]


def public(module: ModuleType) -> dict[str, object]:
    """Of a package what it exports, of a module what it defines."""
    if hasattr(module, "__all__"):
        return {name: getattr(module, name) for name in module.__all__}
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
    }


def undocumented(name: str, value: object) -> list[str]:
    if isinstance(value, FunctionType):
        return [] if inspect.getdoc(value) else [name]
    if not isinstance(value, type):
        # An alias of a type has none.
        return []
    # A dataclass or a named tuple without one gets its signature instead.
    own = (value.__doc__ or "").strip()
    missing = [name] if not own or own.startswith(f"{value.__name__}(") else []
    members = {
        member: getattr(value, member)
        for member, raw in vars(value).items()
        if not member.startswith("_")
        and isinstance(raw, FunctionType | property | classmethod | staticmethod)
    }
    # An override has that of the method that it fills in.
    return missing + [f"{name}.{m}" for m in members if not _inherited(value, m)]


def _inherited(value: type, member: str) -> bool:
    found = (vars(base)[member] for base in value.__mro__ if member in vars(base))
    return any(getattr(one, "__doc__", None) for one in found)


@pytest.mark.parametrize("module", PACKAGES + MODULES)
def test_public_names_have_docstrings(module):
    found = import_module(module)
    assert found.__doc__
    assert not [x for name, value in public(found).items() for x in undocumented(name, value)]


class Bare:
    def method(self): ...


def test_it_finds_what_has_none():
    assert undocumented("Bare", Bare) == ["Bare", "Bare.method"]
    assert undocumented("bare", Bare.method) == ["bare"]
