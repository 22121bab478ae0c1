"""Lookup of a `_target_`: in a package, or in a user's file where the command is given."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from fedlocal.config.error_location import own_failure
from fedlocal.utils.suggest import did_you_mean

# Largest number of names that a refusal lists.
SHOWN = 8


def locate(place: str, path: str) -> Any:
    """Return the callable of a dotted path.

    Args:
        place: Group of the configuration, for the message.
        path: For example "mine.Net".

    Raises:
        ValueError: No such module, nothing of that name in it, or a module that fails on import.

    >>> locate("model", "fractions.Fraction")
    <class 'fractions.Fraction'>
    """
    given, (first, *names) = f"{place}._target_={path}", str(path).split(".")
    found: Any = _imported(given, first)
    for name in names:
        found = _inside(given, found, name)
    if not callable(found):
        what = f"the module {path}" if isinstance(found, ModuleType) else repr(found)
        raise ValueError(f"{given} is {what}, which cannot be called; {_choice(found)}")
    return found


def _inside(given: str, found: Any, name: str) -> Any:
    """Return an attribute, or a module of a package."""
    if hasattr(found, name):
        return getattr(found, name)
    module = f"{found.__name__}.{name}" if hasattr(found, "__path__") else ""
    if module and find_spec(module) is not None:
        return _imported(given, module)
    hint = did_you_mean(name, _public(found))
    raise ValueError(f"{given}: {_named(found)} has no {name}{hint}; {_choice(found)}")


def _imported(given: str, module: str) -> ModuleType:
    try:
        return import_module(module)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == module:
            advice = (
                "" if "." in given.rpartition("=")[2] else f"; for one in FILE.py, FILE.{module}"
            )
            raise ValueError(
                f"{given} cannot be imported: there is no module {module} in {Path.cwd()}, where"
                f" the command is given, nor among the installed packages{advice}"
            ) from error
        raise ValueError(f"{given} cannot be imported: {_failure(error)}") from error


def _failure(error: Exception) -> str:
    """Return the line at which the import of a file failed, and the error."""
    if isinstance(error, SyntaxError):
        return f"{Path(error.filename or '?').name}, line {error.lineno}: SyntaxError: {error.msg}"
    reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    return own_failure(error) or reason


def _named(found: Any) -> str:
    name = getattr(found, "__name__", repr(found))
    file = getattr(found, "__file__", None)
    # The file shows whether a package of the same name hides the user's own.
    return f"{name} ({file})" if file else name


def _choice(found: Any) -> str:
    names = _public(found)
    more = ", ..." if len(names) > SHOWN else ""
    return f"it has {', '.join(names[:SHOWN])}{more}" if names else "it has no public name"


def _public(found: Any) -> list[str]:
    """Return the public names defined in a module; if there are none, the imported ones."""
    names = [name for name in vars(found) if not name.startswith("_")] if _open(found) else []
    home = getattr(found, "__name__", None)
    own = [name for name in names if getattr(vars(found)[name], "__module__", None) == home]
    return sorted(own or names)


def _open(found: Any) -> bool:
    return isinstance(found, ModuleType | type)
