"""Report at the end of a sweep, in its folder and on the terminal."""

from pathlib import Path
from typing import Any, ClassVar

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

# File in the sweep's folder with a line for each job that failed, its exit code first. Jobs may run
# in other processes, or on other machines that share the folder.
FAILED = "failed.txt"


class SweepReport(Callback):
    """Hydra callback that writes the report when a multirun ends.

    Attributes:
        folder: Folder of the sweep that began last, which Hydra passes to callbacks alone.
    """

    folder: ClassVar[Path | None] = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Keep the folder, and deletes the list of failures of an earlier start."""
        SweepReport.folder = Path(config.hydra.sweep.dir)
        (SweepReport.folder / FAILED).unlink(missing_ok=True)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write the tables and pictures of the jobs."""
        # Every command imports this file, and few end a sweep.
        from fedlocal.report.report import ReportOptions, report_on
        from fedlocal.report.runs import read_runs
        from fedlocal.report.show import show
        from fedlocal.report.write import write_report

        folder = Path(config.hydra.sweep.dir)
        if any(folder.rglob("summary.json")):
            report = report_on(read_runs([folder]), ReportOptions())
            write_report(report, folder)
            show(report.run_table.to_dict("records"), folder)
