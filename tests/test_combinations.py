"""Every choice beside every strategy: it runs, or it is refused with a reason before it runs."""

import math
import traceback
from functools import cache
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from fedlocal.api import prepare
from fedlocal.config.components import strategy_of
from fedlocal.rounds.definition import Environment, Method, Observation, Problem
from fedlocal.rounds.run_loop import advance
from fedlocal.rounds.state import initial_state
from tests.ragged import ragged_clients, small_model
from tests.strategies_in_conf import CONF, NAMES, composed

GIVEN = {
    "period=gaps": ["period.gaps=[1,2]"],
    "rate=stich": ["rate.strong_convexity=1", "rate.shift=50"],
}
GROUPS = ("uplink", "downlink", "period", "rate", "deadline", "faults")
OPTIONS = [f"{g}={path.stem}" for g in GROUPS for path in sorted((CONF / g).glob("*.yaml"))]


@cache
def chosen(option: str) -> DictConfig:
    return composed("K=5", "H=2", "rounds=3", option, *GIVEN.get(option, []))


def settings(name: str, option: str) -> DictConfig:
    """As composed together, but for the time that takes."""
    cfg = composed_strategy(name).copy()
    group = option.partition("=")[0]
    with open_dict(cfg):
        OmegaConf.update(cfg, group, chosen(option)[group], merge=False, force_add=True)
    return cfg


@cache
def composed_strategy(name: str) -> DictConfig:
    return composed("K=5", "H=2", "rounds=3", f"strategy={name}")


def run(cfg: DictConfig, participation: float = 1.0) -> list[dict]:
    sim = prepare(
        Problem(small_model(), ragged_clients()),
        Method(strategy_of(cfg), 3, 6, participation),
        Environment(
            device="cpu", dtype=torch.float32, clock=instantiate(cfg.clock),
            faults=instantiate(cfg.faults), deadline=instantiate(cfg.deadline),
        ),
        Observation(diagnostics=True),
    )  # fmt: skip
    state, rows = initial_state(sim), []
    while state.round_index < sim.rounds:
        state, row, _ = advance(sim, state)
        rows.append(row)
    return rows


def assert_runs_or_is_refused(*args) -> None:
    try:
        rows = run(*args)
    except ValueError as refusal:
        # By us, and not a library's complaint about a shape or a truth value.
        place = traceback.extract_tb(refusal.__traceback__)[-1].filename
        assert Path(place).relative_to(CONF.parent).parts[0] in ("fedlocal", "strategies"), refusal
        return
    assert all(math.isfinite(row["train_loss"]) for row in rows)
    assert rows[-1]["uplink_bytes"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_choices(name):
    for option in OPTIONS:
        assert_runs_or_is_refused(settings(name, option))
    assert_runs_or_is_refused(composed_strategy(name), 0.4)
