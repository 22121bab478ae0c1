"""The `fedlocal` command: a Hydra app around one job.

What computes is imported when a job begins: help, completion and refusals do not wait for torch.
"""

import os
import shutil
import sys
import traceback
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

import fedlocal.config.resolvers  # noqa: F401 - what the configuration computes with
from fedlocal.cli.interrupt import Interrupted, held_signals
from fedlocal.cli.resume import resumed
from fedlocal.config.compose import Composed, about, check_length, group_choices
from fedlocal.config.refusal import ConfigError, one_line
from fedlocal.report.sweep import FAILED, SweepReport

# What Hydra itself leaves in a folder before a job begins.
RECORDS = (".hydra", "multirun.yaml", FAILED)


def main() -> None:
    """Entry point: a line and exit code 2 for what the user can mend, a traceback and 1 for a bug.

    In a sweep the other jobs go on; a bug's code goes before.
    """
    codes = [0]
    SweepReport.folder = None

    @hydra.main(version_base="1.3", config_path="pkg://conf", config_name="config")
    def app(cfg: DictConfig) -> float | None:
        return _attempt(cfg, codes)

    # Hydra would print its own abridged traceback and exit with 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        # Its parser takes a flag only before or after all the overrides.
        arguments = resumed(sys.argv[1:])
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


def run(cfg: DictConfig) -> float | None:
    """One job: check everything, then run; the last value of the goal's metric."""
    from fedlocal.cli.outcome import SUMMARY, last
    from fedlocal.cli.run import run_job
    from fedlocal.cli.stacked import joined
    from fedlocal.config.build import build
    from fedlocal.config.headline import headline
    from fedlocal.report.progress import status
    from fedlocal.report.show import show_rounds

    _find_modules_in(HydraConfig.get().runtime.cwd)
    check_length(_composed(cfg))
    job = build(cfg)
    if job.simulation.train is None:
        raise ConfigError(
            f"dataset={_composed(cfg).choices['dataset']} needs SuperNodes that hold the data;"
            " start it with flwr run, as docs/deployment.md says"
        )
    folder = Path(HydraConfig.get().runtime.output_dir)
    told, sweep = about(_composed(cfg)), _sweep()
    job = joined(job, told["config"])
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
            # Its own process says it where nobody reads.
            print(headline(job, told["choices"]), flush=True)
        history = job.engine.run_job(job, folder, told, sweep)
    else:
        with held_signals() as held:
            history = run_job(job, folder, told, sweep, held)
    if sweep is None:
        show_rounds(history)
        if how := job.simulation.cohort.about:
            print(how)
    before = " (finished before)" if finished else ""
    print(f"{told['name']}  {status(history[-1])} -> {folder}{before}")
    return last(history, job.simulation.goal.metric)


def _find_modules_in(folder: str) -> None:
    """Let `_target_` name what is in the user's own files, in every process of a sweep."""
    if folder not in sys.path:
        sys.path.append(folder)


def _attempt(cfg: DictConfig, codes: list[int]) -> float | None:
    """Run a job; None if it failed, and its code is noted."""
    try:
        return run(cfg)
    except ConfigError as error:
        _remove_unused(Path(HydraConfig.get().runtime.output_dir))
        code, reason = _refuse(error), one_line(error)
    except Exception as error:
        traceback.print_exc()
        code, reason = 1, f"{type(error).__name__}: {one_line(error)}"
    codes.append(code)
    if _sweep() is not None:
        conf = HydraConfig.get()
        with (Path(conf.sweep.dir) / FAILED).open("a", encoding="utf-8") as file:
            file.write(f"{code} in {conf.job.num}: {reason}\n")
    return None


def _failures(sweep: Path) -> list[int]:
    """Exit codes of a sweep's jobs that failed."""
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
    """The sweep's folder name, or None for a single run."""
    conf = HydraConfig.get()
    return "/".join(Path(conf.sweep.dir).parts[-2:]) if conf.mode == RunMode.MULTIRUN else None


def _remove_unused(folder: Path) -> None:
    """Remove a folder in which no job began, and those above it that were made for it."""
    folder, here = folder.absolute(), Path.cwd()
    if not folder.is_dir() or any(path.name not in RECORDS for path in folder.iterdir()):
        return
    for record in folder.iterdir():
        shutil.rmtree(record) if record.is_dir() else record.unlink()
    # Never the folder the user stands in, nor one outside it that he may have made himself.
    for path in (folder, *(path for path in folder.parents if here in path.parents)):
        if path == here or any(path.iterdir()):
            break
        path.rmdir()
