"""The strategy of a configuration, on the schedules and links chosen with it; and its clock."""

from dataclasses import replace
from pydoc import locate
from typing import get_args, get_type_hints

from hydra.utils import instantiate
from omegaconf import DictConfig

import fedlocal.config.resolvers  # noqa: F401 - what the configuration computes with
from fedlocal.clock import Clock
from fedlocal.compress import Identity
from fedlocal.pieces import Period, Piece, Rate
from fedlocal.strategy import Strategy


def strategy_of(cfg: DictConfig) -> Strategy:
    """The strategy, on the schedules and links that were chosen unless it chose them itself."""
    make = instantiate(cfg.strategy, _convert_="all", _partial_=True)
    schedules = _schedules(cfg)
    strategy: Strategy = make(**schedules)
    _check_period(cfg, strategy, schedules.get("period"))
    # A strategy that makes its link from the chosen one, as gossip does, keeps what it made.
    free = [slot for slot in ("uplink", "downlink") if slot not in cfg.strategy]
    chosen = [slot for slot in free if getattr(strategy, slot) == Identity()]
    links = {slot: instantiate(cfg[slot]) for slot in chosen}
    return replace(strategy, **links)


def clock_of(cfg: DictConfig) -> Clock:
    """The clock."""
    return instantiate(cfg.clock)


def _schedules(cfg: DictConfig) -> dict[str, Piece]:
    """What the groups period and rate put in the place of the strategy's numbers."""
    hints = get_type_hints(locate(cfg.strategy._target_))
    given: dict[str, Piece] = {}
    for group, setting, kind in (("period", "period", Period), ("rate", "lr", Rate)):
        if cfg.get(group) is None:
            continue
        if kind not in get_args(hints.get(setting)):
            raise ValueError(
                f"the {group} of {cfg.strategy._target_} cannot be chosen: its {setting} is part"
                f" of the method. Leave {group}= out, or take a strategy that has none of its own,"
                " for example strategy=local_sgd"
            )
        given[setting] = instantiate(cfg[group], _convert_="all")
    return given


def _check_period(cfg: DictConfig, strategy: Strategy, given: Piece | None) -> None:
    """Refuse a period that the strategy would leave aside."""
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
