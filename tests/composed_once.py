"""Cache of Hydra's compositions, which otherwise read and merge thirty files for each command.

Files are kept as they were read, and merged ones for each choice of options; what a command line
adds to them is applied anew every time, by Hydra itself. The commands that tests start in
processes of their own compose as users' do.
"""

import pickle
from copy import copy
from functools import wraps
from itertools import dropwhile
from typing import Any, NamedTuple

from hydra._internal import config_loader_impl, defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository, IConfigRepository


def _places(repo: IConfigRepository) -> tuple[str, ...]:
    return tuple(f"{source.provider} {source.path}" for source in repo.get_sources())


def compose_once() -> None:
    """Keep what is composed; only what succeeds is kept, so refusals are Hydra's own."""
    _keep_files()
    _keep_defaults()
    _keep_merged()


def _keep_files() -> None:
    load, kept = ConfigRepository.load_config, dict[Any, bytes]()

    @wraps(load)
    def load_config(self: ConfigRepository, config_path: str) -> Any:
        key = _places(self), config_path
        if key not in kept:
            kept[key] = pickle.dumps(load(self, config_path))
        return pickle.loads(kept[key])

    ConfigRepository.load_config = load_config


def _keep_defaults() -> None:
    make, kept = defaults_list.create_defaults_list, dict[Any, Any]()

    @wraps(make)
    def create_defaults_list(
        repo: IConfigRepository, config_name: str | None, overrides_list: list[Any], **how: bool
    ) -> defaults_list.DefaultsList:
        given = defaults_list.Overrides(repo=repo, overrides_list=overrides_list)
        values = given.config_overrides
        chosen = tuple(one.input_line for one in overrides_list if one not in values)
        key = _places(repo), config_name, chosen, tuple(how.items())
        if key not in kept:
            kept[key] = make(repo, config_name, overrides_list, **how)
        # They name the files; only what goes into their keys is of this command line.
        made = copy(kept[key])
        made.config_overrides = values
        return made

    config_loader_impl.create_defaults_list = create_defaults_list


class _Merged(NamedTuple):
    """Files that are merged already, in the place of a file."""

    config: Any


def _keep_merged() -> None:
    merge, load = (
        ConfigLoaderImpl._compose_config_from_defaults_list,
        ConfigLoaderImpl._load_single_config,
    )
    kept = dict[Any, bytes]()

    @wraps(load)
    def load_single(self: ConfigLoaderImpl, default: Any, repo: IConfigRepository) -> Any:
        return default if isinstance(default, _Merged) else load(self, default, repo)

    @wraps(merge)
    def compose(self: ConfigLoaderImpl, defaults: list[Any], repo: IConfigRepository) -> Any:
        key = _places(repo), tuple(tuple(vars(one).items()) for one in defaults)
        if key not in kept:
            # Hydra's own come first, and are the same for most choices.
            rest = list(dropwhile(_is_hydras, defaults))
            if rest and len(rest) < len(defaults):
                own = compose(self, defaults[: -len(rest)], repo)
                kept[key] = pickle.dumps(merge(self, [_Merged(own), *rest], repo))
            else:
                kept[key] = pickle.dumps(merge(self, defaults, repo))
        return pickle.loads(kept[key])

    ConfigLoaderImpl._load_single_config = load_single
    ConfigLoaderImpl._compose_config_from_defaults_list = compose


def _is_hydras(default: Any) -> bool:
    return default.config_path.startswith("hydra/")
