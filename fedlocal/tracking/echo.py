"""A line on the standard output for every evaluated round, besides another tracker."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedlocal.progress import status
from fedlocal.tracking.tracker import Tracker

ROUND = "round "


@dataclass(frozen=True)
class Echo:
    """Prints rounds and hands everything on.

    Attributes:
        tracker: Gets what this one gets.
        rounds: Of the whole run.
    """

    tracker: Tracker
    rounds: int

    def start(
        self, folder: Path, config: dict[str, Any], name: str, group: str | None, resumed: int
    ) -> None:
        self.tracker.start(folder, config, name, group, resumed)

    def log(self, row: dict[str, Any]) -> None:
        self.tracker.log(row)
        if row["train_loss"] is not None or row["test_loss"] is not None:
            print(f"{ROUND}{row['round']}/{self.rounds}  {status(row)}", flush=True)

    def finish(self, summary: dict[str, Any] | None) -> None:
        self.tracker.finish(summary)
