"""Options of strategies that are numbers, given as text."""

from inspect import signature
from typing import Any

import pytest

import strategies
from fedlocal.slots.compress import TopK
from fedlocal.slots.inner.rates import CosineRate, ExponentialRate, InverseTimeRate
from tests.strategies_in_conf import NAMES


def numbers() -> list[Any]:
    """Every strategy with each of its options that are floating-point numbers."""
    return [
        pytest.param(name, option.name, id=f"{name}-{option.name}")
        for name in NAMES
        for option in signature(getattr(strategies, name)).parameters.values()
        if str(option.annotation).replace("<class 'float'>", "float").startswith("float")
    ]


@pytest.mark.parametrize(("name", "option"), numbers())
def test_a_number_in_quotes_is_refused(name, option):
    with pytest.raises(ValueError) as refusal:
        getattr(strategies, name)(**{option: "0.1"})
    line = str(refusal.value)
    assert "\n" not in line and (
        line.endswith(" must be a number, got '0.1'; leave the quotes out")
        or "takes no momentum, got 0.1" in line
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: CosineRate("0.1", 3),
        lambda: ExponentialRate(0.1, "0.9"),
        lambda: InverseTimeRate(0.1, "3"),
        lambda: TopK("0.1"),
    ],
)
def test_so_are_those_of_its_pieces(make):
    with pytest.raises(ValueError, match=r"must be a number, got '[0-9.]+'; leave the quotes out"):
        make()
