"""Checks of arguments: a number, a whole number, or an object of one class."""

from inspect import isabstract
from math import inf
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


def check_number(
    key: str,
    value: Any,
    advice: str = "",
    *,
    above: float | None = None,
    least: float | None = None,
    infinite: bool = False,
) -> None:
    """Raise ValueError unless `value` is a number: no string, no boolean.

    Args:
        key: Name of the option.
        value: Its value.
        advice: End of the message about a number outside its range.
        above: Open lower bound; None for none.
        least: Lower bound; None for none.
        infinite: Whether a bounded number may be infinite.

    >>> check_number("lr", "0.1")
    Traceback (most recent call last):
    ValueError: lr must be a number, got '0.1'; leave the quotes out
    >>> check_number("mu", float("inf"), "; the paper tries 0.001 to 1", least=0)
    Traceback (most recent call last):
    ValueError: mu must be finite, got inf; the paper tries 0.001 to 1
    """
    if isinstance(value, str | bool) or not hasattr(value, "__float__"):
        quotes = "; leave the quotes out" if isinstance(value, str) else ""
        raise ValueError(f"{key} must be a number, got {value!r}{quotes}")
    if above is not None and not value > above:
        bound = "positive" if above == 0 else f"above {above}"
        raise ValueError(f"{key} must be {bound}, got {value}{advice}")
    if least is not None and not value >= least:
        raise ValueError(f"{key} must be >= {least}, got {value}{advice}")
    if not infinite and (above, least) != (None, None) and value == inf:
        raise ValueError(f"{key} must be finite, got {value}{advice}")


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
