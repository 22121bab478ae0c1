"""`fedlocal resume=DIR`: repeat the command line of a run or a sweep in its folder."""

import os
from pathlib import Path

from omegaconf import OmegaConf

from fedlocal.cli.provenance import FILE as ORIGIN
from fedlocal.cli.provenance import FREE, load_origin
from fedlocal.config.errors import ConfigError

KEY = "resume="
SWEEP = "multirun.yaml"
# A new length of the run replaces the former one.
LENGTH = {"rounds", "steps"}
# Settings that are given again: the folder, and whether it is a sweep.
PLACES = ("hydra.sweep.dir=", "hydra.run.dir=", "hydra.mode=")


def resume_arguments(arguments: list[str]) -> list[str]:
    """Replace `resume=DIR` by the arguments that started the run or sweep.

    Further arguments are accepted where they do not change the run. Relative paths refer to the
    folder in which the run was started, which becomes the working directory if it still exists.

    Raises:
        ConfigError: DIR holds no run and no sweep, or an argument would change the run.
    """
    given = [argument for argument in arguments if argument.startswith(KEY)]
    if not given:
        return arguments
    added = [argument for argument in arguments if argument not in given]
    folder = Path(given[-1].removeprefix(KEY)).absolute()
    for argument in added:
        _check(argument, folder)
    if (folder / SWEEP).is_file():
        began = _sweep(folder)
    elif (folder / ".hydra").is_dir():
        began = _run(folder)
    else:
        raise ConfigError(
            f"{given[-1]}: there is no run and no sweep of fedlocal in this folder; give one that"
            f" has .hydra/ or {SWEEP} in it"
        )
    if LENGTH & {_key(argument) for argument in added}:
        began = [argument for argument in began if _key(argument) not in LENGTH]
    return began + added


def _check(argument: str, folder: Path) -> None:
    key = _key(argument)
    if key.split(".")[0] in FREE and not argument.startswith("-"):
        return
    config = load_origin(folder).config if (folder / ORIGIN).is_file() else {}
    before = OmegaConf.select(OmegaConf.create(config), key)
    was = "" if before is None else f" (it has {key}={before})"
    raise ConfigError(
        f"{argument} would make another run of it{was}; besides resume= only {', '.join(FREE)} may"
        " be given"
    )


def _key(argument: str) -> str:
    return argument.lstrip("+~").partition("=")[0]


def _run(folder: Path) -> list[str]:
    hydra = OmegaConf.load(folder / ".hydra" / "hydra.yaml")
    _stand_in(str(OmegaConf.select(hydra, "hydra.runtime.cwd")))
    if (folder / ORIGIN).is_file():
        overrides = load_origin(folder).overrides
    else:
        # The run was stopped before its first round.
        overrides = [str(one) for one in OmegaConf.select(hydra, "hydra.overrides.task")]
    return [*overrides, f"hydra.run.dir={_quoted(folder)}"]


def _sweep(folder: Path) -> list[str]:
    record = OmegaConf.load(folder / SWEEP)
    _stand_in(str(OmegaConf.select(record, "hydra.runtime.cwd")))
    task = [str(one) for one in OmegaConf.select(record, "hydra.overrides.task")]
    own = [str(one) for one in OmegaConf.select(record, "hydra.overrides.hydra")]
    kept = [one for one in own if not one.startswith(PLACES)]
    return ["-m", *task, *kept, f"hydra.sweep.dir={_quoted(folder)}"]


def _stand_in(folder: str) -> None:
    if Path(folder).is_dir():
        os.chdir(folder)


def _quoted(folder: Path) -> str:
    # Many characters of paths are special in Hydra's grammar.
    escaped = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
