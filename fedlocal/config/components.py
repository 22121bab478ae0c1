"""Construction of the strategy, loss and clock of a configuration."""

from collections.abc import Callable
from dataclasses import replace
from inspect import signature
from typing import Any, get_args, get_type_hints

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

import fedlocal.config.resolvers  # noqa: F401 - what the configuration computes with
from fedlocal.config.target_lookup import locate
from fedlocal.data.dataset import Dataset
from fedlocal.objective import Loss
from fedlocal.objective.losses import BinaryCrossEntropy, CrossEntropy, loss_for
from fedlocal.rounds.clock import Clock
from fedlocal.slots import Component, Period, Rate
from fedlocal.slots.compress import Identity
from fedlocal.slots.period import ConstantPeriod
from fedlocal.slots.strategy import Strategy


def strategy_of(cfg: DictConfig) -> Strategy:
    """Return the strategy with the chosen schedules and links, unless it fixes them itself."""
    make = instantiate(cfg.strategy, _convert_="all", _partial_=True)
    schedules = _schedules(cfg)
    strategy: Strategy = make(**schedules)
    _check_period(cfg, strategy, schedules.get("period"))
    _check_steps(cfg, strategy)
    # A strategy that makes its link from the chosen one, as gossip does, keeps what it made.
    free = [slot for slot in ("uplink", "downlink") if slot not in cfg.strategy]
    chosen = [slot for slot in free if getattr(strategy, slot) == Identity()]
    links = {slot: instantiate(cfg[slot]) for slot in chosen}
    for slot in set(free) - set(chosen):
        _check_read(cfg, slot)
    return replace(strategy, **links)


def clock_of(cfg: DictConfig) -> Clock:
    """Return the clock."""
    return instantiate(cfg.clock)


def loss_of(cfg: DictConfig, dataset: Dataset) -> Loss:
    """Return the loss: a function with bound keywords, or an instance of a class.

    Raises:
        ValueError: It does not take output and target, or does not fit the data.
    """
    classes = dataset.num_classes is not None
    if cfg.get("loss") is None:
        return loss_for(classes)
    target = locate("loss", cfg.loss._target_)
    make: Any = instantiate(cfg.loss, _convert_="all", _partial_=True)
    loss = loss_for(classes) if target is loss_for else make
    if isinstance(target, type):
        loss = _made(cfg.loss._target_, make)
    _check_takes_two(cfg.loss._target_, loss)
    _check_loss(loss, dataset)
    return loss


def _made(path: str, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except TypeError as error:
        raise ValueError(f"loss._target_={path} cannot be made: {error}") from error


def _check_takes_two(path: str, loss: Any) -> None:
    try:
        signature(loss).bind(None, None)
    except TypeError as error:
        raise ValueError(
            f"loss._target_={path} must be a function (output, target) -> mean over the batch, or a"
            f" class of such; called with two it says: {error}"
        ) from error


def _check_loss(loss: Any, dataset: Dataset) -> None:
    """Raise ValueError for a loss that does not fit the targets of the whole data set."""
    if isinstance(loss, BinaryCrossEntropy) and (dataset.num_classes or 2) != 2:
        raise ValueError(
            f"loss=bce is for two classes or for targets in [0, 1], and dataset {dataset.name} has"
            f" {dataset.num_classes} classes; use loss=cross_entropy"
        )
    balanced = isinstance(loss, CrossEntropy) and loss.class_weights == "balanced"
    if balanced and dataset.here is not None:
        raise ValueError(
            "loss.class_weights=balanced needs all labels in one place, and the machines of"
            f" dataset {dataset.name} keep theirs; give the weights as a list"
        )


def _check_read(cfg: DictConfig, slot: str) -> None:
    """Raise ValueError for a compressor that the strategy does not use."""
    given = f"${{{slot}" in OmegaConf.to_yaml(cfg.strategy, resolve=False)
    if not given and instantiate(cfg[slot]) != Identity():
        raise ValueError(
            f"{cfg.strategy._target_} brings its own {slot}, so {slot}= would do nothing; leave"
            f" {slot}=identity, or give the compressor to the strategy"
        )


def _schedules(cfg: DictConfig) -> dict[str, Component]:
    """Return the schedules of the groups period and rate, which replace the strategy's numbers."""
    hints = get_type_hints(locate("strategy", cfg.strategy._target_))
    given: dict[str, Component] = {}
    for group, setting, kind in (("period", "period", Period), ("rate", "lr", Rate)):
        if cfg.get(group) is None:
            continue
        if kind not in get_args(hints.get(setting)):
            raise ValueError(
                f"the {group} of {cfg.strategy._target_} cannot be chosen: its {setting} is part"
                f" of the method. Leave {group}= out, or take a strategy that has none of its own,"
                " for example strategy=local_sgd"
            )
        if not OmegaConf.is_interpolation(cfg.strategy, setting) and setting == "period":
            raise ValueError(
                f"strategy.period={cfg.strategy.period} would do nothing, as the group period goes"
                " before it; leave one of the two out"
            )
        given[setting] = instantiate(cfg[group], _convert_="all")
    return given


def _check_steps(cfg: DictConfig, strategy: Strategy) -> None:
    """Raise ValueError for a period that contradicts the run's number of local steps."""
    period = strategy.period
    counted = OmegaConf.is_interpolation(cfg, "rounds") and strategy.rounds is None
    if counted and isinstance(period, ConstantPeriod) and "period" in cfg.strategy:
        if period.period != cfg.H and not OmegaConf.is_interpolation(cfg.strategy, "period"):
            raise ValueError(
                f"strategy.period={period.period} differs from H={cfg.H}, by which rounds are"
                f" counted: the run would take {cfg.rounds * period.period} local steps and not"
                f" steps={cfg.steps}; give H={period.period}, or the number of rounds"
            )


def _check_period(cfg: DictConfig, strategy: Strategy, given: Component | None) -> None:
    """Raise ValueError for a period that the strategy does not use."""
    if given is None:
        return
    if strategy.rounds is not None:
        raise ValueError(
            f"{cfg.strategy._target_} ends after {strategy.rounds} round by definition, so there is"
            " no period to choose; its local steps are strategy.period"
        )
    if strategy.period is not given:
        raise ValueError(
            f"{cfg.strategy._target_} has {strategy.period}, which goes before period={given};"
            " leave one of the two out"
        )
