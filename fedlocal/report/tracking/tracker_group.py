"""Group of trackers whose failures do not stop a run."""

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from fedlocal.report.tracking.run_ids import delete_run_ids
from fedlocal.report.tracking.tracker import Service, Tracker


class TrackerGroup(Tracker):
    """Passes a run to several services, and switches off one that fails with one warning."""

    def __init__(self, services: Iterable[Service]) -> None:
        self._services = list(services)

    def start(
        self, folder: Path, config: dict[str, Any], name: str, group: str | None, resumed: int
    ) -> None:
        """Start all services; a run that is not resumed gets new ids."""
        if not resumed:
            delete_run_ids(folder)
        self._each(lambda one: one.start(folder, config, name, group, resumed))

    def log(self, row: dict[str, Any]) -> None:
        self._each(lambda one: one.log(row))

    def finish(self, summary: dict[str, Any] | None) -> None:
        self._each(lambda one: one.finish(summary))

    def _each(self, action: Callable[[Service], None]) -> None:
        for service in list(self._services):
            try:
                action(service)
            except Exception as error:
                self._services.remove(service)
                reason = str(error).strip().partition("\n")[0] or type(error).__name__
                warnings.warn(f"{service.title} is off for this run: {reason}", stacklevel=4)
