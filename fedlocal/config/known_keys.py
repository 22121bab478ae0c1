"""The keys and groups of conf/config.yaml."""

from functools import cache
from importlib.resources import files

from omegaconf import DictConfig, OmegaConf


@cache
def top_level() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the keys of conf/config.yaml, and its groups."""
    main = OmegaConf.create(files("conf").joinpath("config.yaml").read_text(encoding="utf-8"))
    assert isinstance(main, DictConfig)
    chosen = [item for item in main.defaults if not isinstance(item, str)]
    groups = [str(name) for item in chosen for name in item if not str(name).startswith("override")]
    return tuple(str(key) for key in main if key not in ("defaults", "hydra")), tuple(groups)
