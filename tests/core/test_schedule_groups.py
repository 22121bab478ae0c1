"""The groups period and rate: a schedule in the place of a strategy's number."""

from pathlib import Path

import pytest
from omegaconf import DictConfig

from fedlocal.config.build import build
from fedlocal.config.components import strategy_of
from fedlocal.config.errors import ConfigError
from fedlocal.config.settings import check_settings
from fedlocal.slots import Period, Rate
from fedlocal.slots.inner.base import ConstantRate
from fedlocal.slots.inner.lr_schedules import (
    CosineRate,
    ExponentialRate,
    InverseTimeRate,
    StepRate,
    WarmupRate,
)
from fedlocal.slots.period import (
    AdaComm,
    ConstantPeriod,
    Epochs,
    GapSet,
    StepPeriod,
    SwitchPeriod,
)
from tests.strategies_in_conf import CONF, composed

PERIODS = {
    "constant": ConstantPeriod(4),
    "warmup": SwitchPeriod(1, 4, 1),
    "switch": SwitchPeriod(1, 4, 10),
    "gaps": GapSet((1, 2, 4)),
    "epochs": Epochs(1),
    "step": StepPeriod((1, 4), (10,)),
    "adacomm": AdaComm(4, block=2),
}
RATES = {
    "constant": ConstantRate(0.2),
    "step": StepRate(0.2, {10: 0.1, 15: 0.1}),
    "exponential": ExponentialRate(0.2),
    "cosine": CosineRate(0.2, 20),
    "inverse_time": InverseTimeRate(0.2, 80),
    "stich": InverseTimeRate(4 / (0.5 * 100), 100),
    "warmup": WarmupRate(ConstantRate(0.2), 100),
    "warmup_cosine": WarmupRate(CosineRate(0.2, 20), 100),
}
NEEDED = {
    "period=gaps": ["period.gaps=[1,2,4]"],
    "rate=stich": ["rate.strong_convexity=0.5", "rate.shift=100"],
}


def checked(*overrides: str) -> DictConfig:
    more = [key for line in overrides for key in NEEDED.get(line, [])]
    cfg = composed("H=4", "rounds=20", "lr=0.2", *overrides, *more)
    check_settings(cfg)
    return cfg


def options(group: str) -> set[str]:
    return {path.stem for path in Path(CONF / group).glob("*.yaml")}


def test_every_option_is_named_here():
    assert options("period") == PERIODS.keys() and options("rate") == RATES.keys()


@pytest.mark.parametrize("name", PERIODS)
def test_a_period_takes_the_place_of_h(name):
    strategy = strategy_of(checked("strategy=slowmo", f"period={name}"))
    assert strategy.period == PERIODS[name] and isinstance(strategy.period, Period)
    assert strategy.inner == strategy_of(checked("strategy=slowmo")).inner


@pytest.mark.parametrize("name", RATES)
def test_a_rate_takes_the_place_of_lr(name):
    strategy = strategy_of(checked("strategy=slowmo", f"rate={name}"))
    rate = strategy.inner.lr  # type: ignore[attr-defined]
    assert rate == RATES[name] and isinstance(rate, Rate)
    assert strategy.period == ConstantPeriod(4)


def test_without_the_groups_numbers_stay_numbers():
    strategy = strategy_of(checked("strategy=slowmo"))
    assert strategy.period == ConstantPeriod(4) and strategy.inner.lr == 0.2  # type: ignore[attr-defined]


def test_a_strategys_own_lr_is_the_base():
    strategy = strategy_of(checked("strategy=diloco", "rate=cosine"))
    assert strategy.inner.lr == CosineRate(0.001, 20)  # type: ignore[attr-defined]
    strategy = strategy_of(checked("strategy.lr=0.7", "rate=cosine"))
    assert strategy.inner.lr == CosineRate(0.7, 20)  # type: ignore[attr-defined]


def test_both_groups_and_their_keys():
    cfg = checked(
        "strategy=easgd", "period=adacomm", "period.initial_period=20", "period.unit=seconds",
        "rate=warmup_cosine", "rate.steps=7", "rate.rate.last=0.01", "rate.by_round=true",
    )  # fmt: skip
    strategy = strategy_of(cfg)
    assert strategy.period == AdaComm(20, block=2, unit="seconds")
    inside = CosineRate(0.2, 20, 0.01, by_round=True)
    assert strategy.inner.lr == WarmupRate(inside, 7, by_round=True)  # type: ignore[attr-defined]


def test_links_are_chosen_as_before():
    with_links = checked("uplink=topk", "period=constant", "strategy=double_compression")
    assert strategy_of(with_links) == strategy_of(
        checked("uplink=topk", "strategy=double_compression")
    )


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("strategy=minibatch_sgd period=adacomm", "period of strategies.minibatch_sgd cannot be"),
        ("strategy=post_local_sgd period=step", "its period is part of the method"),
        ("strategy=adacomm period=epochs", "its period is part of the method. Leave period= out"),
        ("strategy=one_shot period=epochs", "ends after 1 round by definition"),
        ("strategy=fedavg strategy.epochs=2 period=switch", "has Epochs.* before period=SwitchP"),
        ("strategy=vrl_sgd strategy.warmup=true period=epochs", "period of strategies.vrl_sgd"),
        ("strategy=local_sgd strategy.average_shift=5 period=epochs", "same number of local steps"),
        ("strategy=slowmo rate=cosine lr=0", "rate: lr must be positive, got 0"),
        ("strategy=slowmo period=adacomm period.gamma=2", r"period: gamma must be in \(0, 1\)"),
        ("strategy=slowmo period=adacomm period.gamma=abc", "period.gamma must be a number, got"),
        (
            "strategy=slowmo period=gaps period.gaps=[1,b]",
            "period.gaps must be a list, each a whol",
        ),
        ("strategy=slowmo rate=stich", "rate.shift must be given; add rate.shift="),
        ("strategy=slowmo lr=0", "lr must be positive, got 0"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(line, text):
    cfg = composed("H=4", "rounds=20", "dataset=quadratic", *line.split())
    with pytest.raises(ConfigError, match=text) as refusal:
        build(cfg)
    assert "\n" not in str(refusal.value)
