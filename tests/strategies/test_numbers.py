"""Options of strategies that are numbers, given as text, as infinity and as NaN."""

from inspect import signature
from math import inf, nan
from typing import Any

import pytest

import strategies
from fedlocal.slots.compress import TopK
from fedlocal.slots.inner.lr_schedules import CosineRate, ExponentialRate, InverseTimeRate
from fedlocal.slots.inner.sgd import AdamW
from tests.strategies_in_conf import NAMES

# Options that have a limit: a threshold that no client ever passes, a step size that stays.
LIMITS = {
    ("dynamic_averaging", "threshold"),
    ("sparq_sgd", "threshold"),
    ("squarm_sgd", "threshold"),
    ("anytime_minibatch", "expected_examples"),
    ("anytime_minibatch", "seconds"),
}


def refusal(name: str, option: str, value: Any) -> str:
    with pytest.raises(ValueError) as refused:
        getattr(strategies, name)(**{option: value})
    line = str(refused.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize("name", NAMES)
def test_text_infinity_and_nan_are_refused(name):
    options = [
        option.name
        for option in signature(getattr(strategies, name)).parameters.values()
        if str(option.annotation).replace("<class 'float'>", "float").startswith("float")
    ]
    assert options
    for option in options:
        line = refusal(name, option, "0.1")
        assert line.endswith(" must be a number, got '0.1'; leave the quotes out") or (
            "takes no momentum, got 0.1" in line
        )
        assert "nan" in refusal(name, option, nan)
        if (name, option) in LIMITS:
            getattr(strategies, name)(**{option: inf})
        else:
            assert "inf" in refusal(name, option, inf)


@pytest.mark.parametrize(
    "make",
    [
        lambda: CosineRate("0.1", 3),
        lambda: ExponentialRate(0.1, "0.9"),
        lambda: InverseTimeRate(0.1, "3"),
        lambda: TopK("0.1"),
    ],
)
def test_so_is_text_in_their_components(make):
    with pytest.raises(ValueError, match=r"must be a number, got '[0-9.]+'; leave the quotes out"):
        make()


@pytest.mark.parametrize("option", ["eps", "weight_decay"])
@pytest.mark.parametrize("value", [-1.0, inf, nan])
def test_so_are_infinite_and_negative_terms_of_adam(option, value):
    with pytest.raises(ValueError, match=f"{option} must be .* got {value}"):
        AdamW(0.1, **{option: value})
