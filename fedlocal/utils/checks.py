"""Checks of arguments: a number, a whole number, or an object of one class."""

from inspect import isabstract
from numbers import Integral
from typing import Any


def check_whole(key: str, value: Any, least: int | None = None, advice: str = "") -> None:
    """Raise ValueError unless `value` is a whole number, and at least `least` if given.

    >>> check_whole("rounds", 1.5, 1)
    Traceback (most recent call last):
    ValueError: rounds must be a whole number >= 1, got 1.5
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or (least is not None and value < least):
        bound = "" if least is None else f" >= {least}"
        raise ValueError(f"{key} must be a whole number{bound}, got {value!r}{advice}")


def check_number(key: str, value: Any) -> None:
    """Raise ValueError unless `value` is a number: no string, no boolean.

    >>> check_number("lr", "0.1")
    Traceback (most recent call last):
    ValueError: lr must be a number, got '0.1'; leave the quotes out
    """
    if isinstance(value, str | bool) or not hasattr(value, "__float__"):
        advice = "; leave the quotes out" if isinstance(value, str) else ""
        raise ValueError(f"{key} must be a number, got {value!r}{advice}")


def check_types(**given: tuple[Any, type]) -> None:
    """Raise ValueError unless each value is None or an instance of its class.

    >>> check_types(clock=(1.0, dict))
    Traceback (most recent call last):
    ValueError: clock must be a dict, got 1.0; write dict(...)
    """
    for key, (value, kind) in given.items():
        if value is not None and not isinstance(value, kind):
            article = "an" if kind.__name__[0] in "AEIOU" else "a"
            advice = "" if isabstract(kind) else f"; write {kind.__name__}(...)"
            raise ValueError(f"{key} must be {article} {kind.__name__}, got {value!r}{advice}")
