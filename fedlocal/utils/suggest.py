"""Suggestions for names that do not exist."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return the nearest known name in brackets; "" if none is near.

    >>> did_you_mean("rign", ["ring", "star"])
    ' (did you mean ring?)'
    """
    return suggest(get_close_matches(given, list(known), n=1))


def suggest(names: Sequence[str]) -> str:
    """Return the names in brackets, as a question; "" for none."""
    return f" (did you mean {' or '.join(names)}?)" if names else ""
