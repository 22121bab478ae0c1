"""`fedlocal resume=DIR`: the command line of a run or a sweep again, in its folder."""

import os
from pathlib import Path

from omegaconf import OmegaConf

from fedlocal.cli.origin import FILE as ORIGIN
from fedlocal.cli.origin import FREE, load_origin
from fedlocal.config.refusal import ConfigError

KEY = "resume="
SWEEP = "multirun.yaml"
# A new length of the run takes the place of the former one.
LENGTH = {"rounds", "steps"}
# What is said anew: where the folder is, and that it is a sweep.
PLACES = ("hydra.sweep.dir=", "hydra.run.dir=", "hydra.mode=")


def resumed(arguments: list[str]) -> list[str]:
    """The arguments with those that began the run or sweep in the place of `resume=DIR`.

    Other arguments may be added where they leave the run the same one. Relative paths are those of
    the folder in which it was started, which becomes the working directory if it is still there.

    Raises:
        ConfigError: DIR holds neither, or an argument would make another run of it.
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
        # It was stopped before its first round.
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
    # Hydra's grammar has a meaning for many characters that may stand in a path.
    escaped = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
