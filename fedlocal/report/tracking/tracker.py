"""Interface of trackers, which record a run while it goes on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol


class Tracker(Protocol):
    """Records a run while it goes on. A method that a subclass leaves out does nothing."""

    def start(
        self, folder: Path, config: dict[str, Any], name: str, group: str | None, resumed: int
    ) -> None:
        """Open or continues the record.

        Args:
            folder: Path of the run's folder.
            config: Resolved configuration of the run.
            name: Name of the run.
            group: Name of the run's sweep, if any.
            resumed: Number of rounds that an earlier process has logged, 0 in a new run.
        """

    def log(self, row: dict[str, Any]) -> None:
        """Record one finished round, in which undefined quantities are None."""

    def finish(self, summary: dict[str, Any] | None) -> None:
        """Close the record once all files of the run are written; None if the run broke off."""


class Service(Tracker, Protocol):
    """Records a run at a destination of conf/tracking.

    It may raise: `TrackerGroup` keeps its errors from the run.

    Attributes:
        title: Name in warnings.
    """

    title: ClassVar[str]


@dataclass
class NoTracker(Service):
    """Records nothing, so that metrics.csv is the only record."""

    title: ClassVar[str] = "no tracker"
