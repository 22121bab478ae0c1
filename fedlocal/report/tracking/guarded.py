"""What stands between a run and its trackers: none of their failures stops it."""

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from fedlocal.report.tracking.identity import forget
from fedlocal.report.tracking.tracker import Service


class Guarded:
    """Hands the run on to every service; one that fails is off from then on, with one warning."""

    def __init__(self, services: Iterable[Service]) -> None:
        self._services = list(services)

    def start(
        self, folder: Path, config: dict[str, Any], name: str, group: str | None, resumed: int
    ) -> None:
        """Begin in all of them; a run that is not resumed has no identity yet."""
        if not resumed:
            forget(folder)
        self._each(lambda one: one.start(folder, config, name, group, resumed))

    def log(self, row: dict[str, Any]) -> None:
        """One finished round."""
        self._each(lambda one: one.log(row))

    def finish(self, summary: dict[str, Any] | None) -> None:
        """End; None if the run broke off."""
        self._each(lambda one: one.finish(summary))

    def _each(self, action: Callable[[Service], None]) -> None:
        for service in list(self._services):
            try:
                action(service)
            except Exception as error:
                self._services.remove(service)
                reason = str(error).strip().partition("\n")[0] or type(error).__name__
                warnings.warn(f"{service.title} is off for this run: {reason}", stacklevel=4)
