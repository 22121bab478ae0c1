"""What a tracker does."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class Tracker(Protocol):
    """Receives a run as it goes. None of its failures may stop the run."""

    def start(self, folder: Path, config: dict[str, Any], name: str, group: str | None) -> None:
        """Begin: the run's folder, resolved configuration, name, and its sweep's name if any."""
        ...

    def log(self, row: dict[str, Any]) -> None:
        """One finished round."""
        ...

    def finish(self, summary: dict[str, Any] | None) -> None:
        """End; None if the run broke off."""
        ...


@dataclass
class NoTracker:
    """Only the csv."""

    def start(self, folder: Path, config: dict[str, Any], name: str, group: str | None) -> None:
        """Nothing to begin."""

    def log(self, row: dict[str, Any]) -> None:
        """Nothing to record."""

    def finish(self, summary: dict[str, Any] | None) -> None:
        """Nothing to end."""
