"""Composition of a configuration from a line of overrides, outside of the command."""

import shlex
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any, NamedTuple

from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from fedlocal.config.errors import ConfigError, one_line


class Composed(NamedTuple):
    """Configuration. cfg: Its values. overrides: As given. choices: Option of each group."""

    cfg: DictConfig
    overrides: list[str]
    choices: dict[str, str]


def compose(line: str) -> Composed:
    """Compose the configuration as the command does.

    Args:
        line: Overrides as in a shell, for example "strategy=vrl_sgd K=4".

    Raises:
        ConfigError: The overrides are invalid.
    """
    try:
        overrides = shlex.split(line)
        with initialize_config_module(version_base="1.3", config_module="conf"):
            cfg = hydra_compose("config", overrides, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise ConfigError(one_line(error)) from error
    choices = group_choices(cfg.hydra.runtime.choices)
    with open_dict(cfg):
        del cfg["hydra"]
    composed = Composed(cfg, overrides, choices)
    check_length(composed)
    return composed


def check_length(composed: Composed) -> None:
    """Raise ConfigError if the run is given two lengths, by rounds and by local steps."""
    cfg, given = composed.cfg, [one.partition("=")[0].lstrip("+") for one in composed.overrides]
    numbers = (cfg.rounds, cfg.steps, cfg.H)
    if not {"rounds", "steps"} <= {*given} or not all(type(n) is int and n > 0 for n in numbers):
        return
    if ceil(cfg.steps / cfg.H) != cfg.rounds:
        raise ConfigError(
            f"rounds={cfg.rounds} and steps={cfg.steps} give the run two lengths: with H={cfg.H},"
            f" {cfg.steps} local steps are {ceil(cfg.steps / cfg.H)} rounds; leave one of them out"
        )


def group_choices(choices: Mapping[str, str]) -> dict[str, str]:
    """Return the chosen option of each of fedlocal's groups."""
    return {str(k): v for k, v in choices.items() if v and "hydra/" not in str(k)}


def about(composed: Composed) -> dict[str, Any]:
    """Return the description of a run that its folder stores: name, overrides, choices, config."""
    return {
        "name": run_name(composed.overrides),
        "overrides": composed.overrides,
        "choices": composed.choices,
        "config": OmegaConf.to_container(composed.cfg, resolve=True),
    }


def run_name(overrides: Sequence[str]) -> str:
    """Name a run by its overrides, without those of tracking.

    >>> run_name(["strategy=vrl_sgd", "tracking=wandb", "tracking.mode=offline"])
    'strategy=vrl_sgd'
    """
    description = [
        one for one in overrides if one.lstrip("+~").partition("=")[0].split(".")[0] != "tracking"
    ]
    return ",".join(description) or "fedlocal"


def name_choices(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of `about`, with each group's chosen option as its key `name`.

    >>> config = {"K": 2, "strategy": {"lr": 0.1}}
    >>> description = {"config": config, "choices": {"strategy": "fedavg"}}
    >>> name_choices(description)
    {'K': 2, 'strategy': {'name': 'fedavg', 'lr': 0.1}}
    """
    config: dict[str, Any] = dict(about["config"])
    groups = {key: name for key, name in about["choices"].items() if key in config}
    pairs = ((key, name, config[key]) for key, name in groups.items())
    return config | {key: {"name": name, **set_} for key, name, set_ in pairs if set_ is not None}
