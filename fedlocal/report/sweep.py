"""After a sweep: its table and curves, in its own folder and on the terminal."""

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from fedlocal.report.show import show
from fedlocal.report.write import write_report


class SweepReport(Callback):
    """Hydra calls this when all jobs of a multirun are done."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write summary.csv, summary.md and curves.png over the jobs."""
        folder = Path(config.hydra.sweep.dir)
        if any(folder.rglob("summary.json")):
            show(write_report([folder], folder), folder)
