"""Fewer items from the same `parametrize` marks. Both stand above all marks of a test."""

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from itertools import combinations, product
from typing import Any

import pytest
from _pytest.mark import ParameterSet

Column = tuple[list[str], list[tuple[Any, ...]]]


def in_one_item(test: Callable[..., None]) -> Callable[..., None]:
    """Run all combinations in one item. A note beside a failure says in which it was.

    For cheap tests of many members, where the items would take longer than what they run.
    """
    columns = list(_taken_marks(test))
    names = [name for names, _ in columns for name in names]
    signature = inspect.signature(test)

    @functools.wraps(test)
    def every(**fixtures: Any) -> None:
        for values in product(*(values for _, values in columns)):
            one = dict(zip(names, (v for value in values for v in value), strict=True))
            try:
                test(**fixtures, **one)
            except BaseException as error:
                error.add_note(f"with {one}")
                raise

    fixtures = [p for name, p in signature.parameters.items() if name not in names]
    every.__signature__ = signature.replace(parameters=fixtures)  # type: ignore[attr-defined]
    return every


def sample(values: Iterable[Any], every: int) -> list[Any]:
    """Return the values, of which all but each `every`-th run with `-m slow` only.

    For families whose members meet the same code, so that one of them finds a wrong line.
    """
    return [value if i % every == 0 else _slow(value) for i, value in enumerate(values)]


def _slow(value: Any) -> Any:
    if isinstance(value, ParameterSet):
        return value._replace(marks=(*value.marks, pytest.mark.slow))
    values = value if isinstance(value, tuple) else (value,)
    return pytest.param(*values, marks=pytest.mark.slow)


def every_pair(test: Callable[..., None]) -> Callable[..., None]:
    """Keep so many combinations that any two values of different marks meet in one of them.

    A wrong branch hangs on one choice or on two that meet, hardly ever on three.
    """
    columns = list(_taken_marks(test))
    names = [name for names, _ in columns for name in names]
    rows = covering([len(values) for _, values in columns])
    values = [
        sum((values[i] for i, (_, values) in zip(row, columns, strict=True)), ()) for row in rows
    ]
    return pytest.mark.parametrize(names, values)(test)


def covering(sizes: list[int]) -> list[tuple[int, ...]]:
    """Rows of one index below each size, in which any two indices of two columns meet.

    The row with the most pairs that have not met comes next, so they are few and always the same.
    """
    rows = {row: set(combinations(enumerate(row), 2)) for row in product(*map(range, sizes))}
    missing = set().union(*rows.values())
    chosen = []
    while missing:
        best = max(rows, key=lambda row: len(rows[row] & missing))
        missing -= rows[best]
        chosen.append(best)
    return chosen


def _taken_marks(test: Any) -> Iterator[Column]:
    """The test's parametrize marks, the outermost first, which it loses."""
    marks = [mark for mark in test.pytestmark if mark.name == "parametrize"]
    test.pytestmark = [mark for mark in test.pytestmark if mark not in marks]
    for mark in reversed(marks):
        names = mark.args[0]
        if isinstance(names, str):
            names = [name.strip() for name in names.split(",")]
        single = len(names) == 1
        sets = [ParameterSet.extract_from(value, force_tuple=single) for value in mark.args[1]]
        yield list(names), [tuple(one.values) for one in sets]
