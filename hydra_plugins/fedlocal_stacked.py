"""Hydra's side of stacked sweeps: `hydra/launcher=stacked`. Hydra looks for launchers here only."""

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

ConfigStore.instance().store(
    group="hydra/launcher",
    name="stacked",
    node={"_target_": "hydra_plugins.fedlocal_stacked.StackedLauncher", "jobs_at_once": 32},
    provider="fedlocal",
)


class StackedLauncher(Launcher):
    """Runs the jobs of a sweep in turns, the clients of all in one batch.

    Every job leaves what it leaves alone. Jobs whose clients cannot share a batch take turns too.

    Attributes:
        jobs_at_once: So many at most; the others wait.
    """

    def __init__(self, jobs_at_once: int = 32) -> None:
        if jobs_at_once < 1:
            raise ValueError(f"hydra.launcher.jobs_at_once must be >= 1, got {jobs_at_once}")
        self.jobs_at_once = jobs_at_once

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """See Hydra."""
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """See Hydra."""
        from fedlocal.cli.interrupt import defer_signals
        from fedlocal.cli.stacked import train_stacked

        setup_globals()
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        done: list[JobReturn] = []
        with _no_progress_bars(), defer_signals() as held:
            jobs = [
                self._job(initial_job_idx + index, overrides, held)
                for index, overrides in enumerate(job_overrides)
            ]
            for first in range(0, len(jobs), self.jobs_at_once):
                done += train_stacked(jobs[first : first + self.jobs_at_once])
        return done

    def _job(
        self, index: int, overrides: Sequence[str], held: list[int]
    ) -> Generator[Any, Any, JobReturn]:
        from fedlocal.cli.main import attempt

        callbacks = self.context.callbacks
        config = self.context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = index

        def prepare(cfg: DictConfig) -> Any:
            callbacks.on_job_start(config=config, task_function=self.task)
            # Exit codes of a sweep's jobs are in its folder.
            return attempt(cfg, [], held)

        # Without callbacks, which Hydra would call when a job is prepared, not when it is done.
        job = run_job(
            hydra_context=HydraContext(self.context.config_loader, type(callbacks)()),
            task_function=prepare,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        job.return_value = yield from job.return_value
        callbacks.on_job_end(config=config, job_return=job)
        return job


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Turn off rich's progress bars: many would overwrite each other."""
    before = os.environ.get("TTY_COMPATIBLE")
    os.environ["TTY_COMPATIBLE"] = "0"
    try:
        yield
    finally:
        os.environ.pop("TTY_COMPATIBLE")
        if before is not None:
            os.environ["TTY_COMPATIBLE"] = before
