"""The `fedlocal` command: a Hydra app around one job."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fedlocal.build import ConfigError, build, one_line
from fedlocal.job import run_job
from fedlocal.progress import status
from fedlocal.report.show import show_rounds


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="config")
def app(cfg: DictConfig) -> None:
    """One job: check everything, then run."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        job = build(cfg)
        tracker = instantiate(cfg.tracking)
    except ConfigError:
        _remove_unused(folder)
        raise
    about = _about(cfg)
    sweep = _sweep()
    if job.copies:
        print(
            f"{job.copies} examples are held by more than one client;"
            " weights by example count share them, so that each counts once"
        )
    tracker.start(folder, about["config"], about["name"], sweep)
    try:
        result = run_job(job, folder, about, tracker)
    except BaseException:
        tracker.finish(None)
        raise
    if sweep is None:
        show_rounds(result.history)
    print(f"{about['name']}  {status(result.history[-1])} -> {folder}")


def main() -> None:
    """Entry point: one line and exit code 2 for what the user can mend, else a traceback."""
    # Hydra would print its own abridged traceback and exit with 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        app()
    except (ConfigError, HydraException, OmegaConfBaseException) as error:
        print(f"fedlocal: {one_line(error)}", file=sys.stderr)
        sys.exit(2)


def _about(cfg: DictConfig) -> dict[str, Any]:
    overrides = list(HydraConfig.get().overrides.task)
    return {
        "name": ",".join(overrides) or "fedlocal",
        "overrides": overrides,
        "config": OmegaConf.to_container(cfg, resolve=True),
    }


def _sweep() -> str | None:
    """The sweep's folder name, or None for a single run."""
    conf = HydraConfig.get()
    return "/".join(Path(conf.sweep.dir).parts[-2:]) if conf.mode == RunMode.MULTIRUN else None


def _remove_unused(folder: Path) -> None:
    """Remove what Hydra has made of a run folder that nothing was written to."""
    if all(path.name == ".hydra" for path in folder.iterdir()):
        shutil.rmtree(folder)
        for parent in list(folder.parents)[:2]:
            if any(parent.iterdir()):
                break
            parent.rmdir()
