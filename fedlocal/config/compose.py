"""The configuration from a line of overrides, for processes that no command line starts."""

import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple

from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from fedlocal.config.refusal import ConfigError, one_line


class Composed(NamedTuple):
    """cfg: The configuration. overrides: As given. choices: The option of each group."""

    cfg: DictConfig
    overrides: list[str]
    choices: dict[str, str]


def compose(line: str) -> Composed:
    """Compose the configuration as the command does.

    Args:
        line: Overrides as in a shell, for example "strategy=vrl_sgd K=4".

    Raises:
        ConfigError: They do not make a configuration.
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
    return Composed(cfg, overrides, choices)


def group_choices(choices: Mapping[str, str]) -> dict[str, str]:
    """The chosen option of each group of ours."""
    return {str(k): v for k, v in choices.items() if v and "hydra/" not in str(k)}


def about(composed: Composed) -> dict[str, Any]:
    """What a run's folder says about where the run came from."""
    return {
        "name": ",".join(composed.overrides) or "fedlocal",
        "overrides": composed.overrides,
        "choices": composed.choices,
        "config": OmegaConf.to_container(composed.cfg, resolve=True),
    }
