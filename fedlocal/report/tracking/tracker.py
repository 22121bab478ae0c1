"""What a tracker does."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol


class Tracker(Protocol):
    """Receives a run as it goes."""

    def start(
        self, folder: Path, config: dict[str, Any], name: str, group: str | None, resumed: int
    ) -> None:
        """Begin, or go on.

        Args:
            folder: The run's.
            config: Its resolved configuration.
            name: Its name.
            group: The name of its sweep, if any.
            resumed: Rounds that an earlier process has logged, 0 in a new run.
        """
        ...

    def log(self, row: dict[str, Any]) -> None:
        """One finished round; what is not defined in it is None."""
        ...

    def finish(self, summary: dict[str, Any] | None) -> None:
        """End, once all the run's files are written; None if it broke off."""
        ...


class Service(Tracker, Protocol):
    """A tracker of conf/tracking. It may raise: `Guarded` stands between it and the run.

    Attributes:
        title: What a warning calls it.
    """

    title: ClassVar[str]


@dataclass
class NoTracker:
    """Only the csv."""

    title: ClassVar[str] = "no tracker"

    def start(
        self, folder: Path, config: dict[str, Any], name: str, group: str | None, resumed: int
    ) -> None:
        """Nothing to begin."""

    def log(self, row: dict[str, Any]) -> None:
        """Nothing to record."""

    def finish(self, summary: dict[str, Any] | None) -> None:
        """Nothing to end."""
