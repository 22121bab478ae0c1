"""The `fedlocal` command: a Hydra app around one job.

torch is imported when a job starts, so help, completion and most errors do not wait for it.
"""

import os
import shutil
import sys
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

import fedlocal.config.resolvers  # noqa: F401 - what the configuration computes with
from fedlocal.cli.interrupt import Interrupted, defer_signals
from fedlocal.cli.resume_arguments import resume_arguments
from fedlocal.config.compose import Composed, about, check_length, group_choices
from fedlocal.config.errors import ConfigError, one_line
from fedlocal.report.sweep import FAILED, SweepReport

if TYPE_CHECKING:
    from fedlocal.config.build import Job
    from fedlocal.rounds.training_request import Turns

# Files that Hydra writes before a job starts.
RECORDS = (".hydra", "multirun.yaml", FAILED)


def main() -> None:
    """Run the command; exit with code 2 and one line for user errors, 1 and a traceback for bugs.

    In a sweep the other jobs continue; the code of a bug takes precedence.
    """
    codes = [0]
    SweepReport.folder = None

    @hydra.main(version_base="1.3", config_path="pkg://conf", config_name="config")
    def app(cfg: DictConfig) -> float | None:
        from fedlocal.rounds.training_request import complete

        return complete(attempt(cfg, codes))

    # Otherwise Hydra prints an abridged traceback and exits with 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        # Hydra's parser accepts a flag only before or after all overrides.
        arguments = resume_arguments(sys.argv[1:])
        sys.argv[1:] = sorted(arguments, key=lambda given: given not in ("-m", "--multirun"))
        app()
    except (HydraException, OmegaConfBaseException, ConfigError, ValueError, OSError) as error:
        codes.append(_refuse(error))
    except Interrupted as stop:
        place = SweepReport.folder or stop.folder
        print(f"fedlocal: interrupted {stop}; fedlocal resume={place} goes on", file=sys.stderr)
        sys.exit(stop.code)
    except KeyboardInterrupt:
        print("fedlocal: interrupted", file=sys.stderr)
        sys.exit(130)
    finally:
        if SweepReport.folder is not None:
            codes += _failures(SweepReport.folder)
            _remove_unused(SweepReport.folder)
    if any(codes):
        sys.exit(min(code for code in codes if code))


def prepare_job(cfg: DictConfig, held: list[int] | None) -> "Turns[float | None]":
    """Check one job; return its turns, which end with the last value of the goal's metric.

    Args:
        cfg: The job's configuration, which is Hydra's for the time being.
        held: Signals held back for the stack that the job is one of; None for a job by itself.
    """
    from fedlocal.cli.stacked import join_stack
    from fedlocal.config.build import build

    _find_modules_in(HydraConfig.get().runtime.cwd)
    check_length(_composed(cfg))
    job = build(cfg)
    if job.simulation.train is None:
        raise ConfigError(
            f"dataset={_composed(cfg).choices['dataset']} needs SuperNodes that hold the data;"
            " start it with flwr run, as docs/deployment.md says"
        )
    folder = Path(HydraConfig.get().runtime.output_dir)
    description = about(_composed(cfg))
    if held is not None:
        job = join_stack(job, description["config"])
    return _run(job, folder, description, _sweep(), held)


def _run(
    job: "Job", folder: Path, description: dict[str, Any], sweep: str | None, held: list[int] | None
) -> "Turns[float | None]":
    from fedlocal.cli.run import running_job
    from fedlocal.cli.run_files import SUMMARY, last
    from fedlocal.config.first_line import headline
    from fedlocal.report.progress import status
    from fedlocal.report.show import show_rounds

    if job.copies:
        print(
            f"{job.copies} examples are held by more than one client;"
            " weights by example count share them, so that each counts once"
        )
    mixing = job.simulation.strategy.mixing.describe(len(job.simulation.clients))
    if mixing and sweep is None:
        print(mixing)
    finished = (folder / SUMMARY).exists()
    if job.engine is not None:
        if sweep is None:
            # Output of the job's own process is not shown.
            print(headline(job, description["choices"]), flush=True)
        history = job.engine.run_job(job, folder, description, sweep)
    else:
        with defer_signals() if held is None else nullcontext(held) as signals:
            history = yield from running_job(job, folder, description, sweep, signals)
    if sweep is None:
        show_rounds(history)
        if how := job.simulation.cohort.about:
            print(how)
    before = " (finished before)" if finished else ""
    print(f"{description['name']}  {status(history[-1])} -> {folder}{before}")
    return last(history, job.simulation.goal.metric)


def _find_modules_in(folder: str) -> None:
    """Make the user's own files importable by `_target_`, in every process of a sweep."""
    if folder not in sys.path:
        sys.path.append(folder)


def attempt(
    cfg: DictConfig, codes: list[int], held: list[int] | None = None
) -> "Turns[float | None]":
    """Prepare a job, whose turns run it; None if it fails in one or the other.

    Args:
        cfg: See `prepare_job`.
        codes: Gets the exit code of a job that fails.
        held: See `prepare_job`.
    """
    note = partial(_note, codes, HydraConfig.get())
    try:
        turns = prepare_job(cfg, held)
    except Exception as error:
        note(error)
        turns = None
    return _noted(turns, note)


def _noted(
    turns: "Turns[float | None] | None", note: Callable[[Exception], None]
) -> "Turns[float | None]":
    try:
        return None if turns is None else (yield from turns)
    except Exception as error:
        note(error)
        return None


def _note(codes: list[int], conf: Any, error: Exception) -> None:
    """Tell why a job failed, to the terminal and its sweep; clean up if it never began."""
    if isinstance(error, ConfigError):
        _remove_unused(Path(conf.runtime.output_dir))
        code, reason = _refuse(error), one_line(error)
    else:
        traceback.print_exception(error)
        code, reason = 1, f"{type(error).__name__}: {one_line(error)}"
    codes.append(code)
    if conf.mode == RunMode.MULTIRUN:
        with (Path(conf.sweep.dir) / FAILED).open("a", encoding="utf-8") as file:
            file.write(f"{code} in {conf.job.num}: {reason}\n")


def _failures(sweep: Path) -> list[int]:
    """Return the exit codes of a sweep's failed jobs."""
    file = sweep / FAILED
    return (
        [int(line.split()[0]) for line in file.read_text(encoding="utf-8").splitlines()]
        if file.exists()
        else []
    )


def _refuse(error: Exception) -> int:
    print(f"fedlocal: {one_line(error)}", file=sys.stderr)
    return 2


def _composed(cfg: DictConfig) -> Composed:
    conf = HydraConfig.get()
    return Composed(cfg, list(conf.overrides.task), group_choices(conf.runtime.choices))


def _sweep() -> str | None:
    """Return the folder name of the sweep, None for a single run."""
    conf = HydraConfig.get()
    return "/".join(Path(conf.sweep.dir).parts[-2:]) if conf.mode == RunMode.MULTIRUN else None


def _remove_unused(folder: Path) -> None:
    """Remove the folder of a job that never started, and the empty folders above it."""
    folder, here = folder.absolute(), Path.cwd()
    if not folder.is_dir() or any(path.name not in RECORDS for path in folder.iterdir()):
        return
    for record in folder.iterdir():
        shutil.rmtree(record) if record.is_dir() else record.unlink()
    # Never the working directory, nor a folder outside it that the user may have made.
    for path in (folder, *(path for path in folder.parents if here in path.parents)):
        if path == here or any(path.iterdir()):
            break
        path.rmdir()
