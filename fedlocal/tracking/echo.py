"""A line on the standard output for every evaluated round, besides another tracker."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedlocal.evaluate import Evaluate
from fedlocal.progress import status
from fedlocal.tracking.tracker import Tracker

ROUND = "round "


@dataclass(frozen=True)
class Echo:
    """Prints rounds and hands everything on.

    Attributes:
        tracker: Gets what this one gets.
        rounds: Of the whole run.
        evaluate: Which of them are evaluated.
    """

    tracker: Tracker
    rounds: int
    evaluate: Evaluate

    def start(
        self, folder: Path, config: dict[str, Any], name: str, group: str | None, resumed: int
    ) -> None:
        self.tracker.start(folder, config, name, group, resumed)

    def log(self, row: dict[str, Any]) -> None:
        self.tracker.log(row)
        if self.evaluate.due(row["round"], self.rounds):
            print(f"{ROUND}{row['round']}/{self.rounds}  {_local(row)}{status(row)}", flush=True)

    def finish(self, summary: dict[str, Any] | None) -> None:
        self.tracker.finish(summary)


def _local(row: dict[str, Any]) -> str:
    """The loss while clients trained, where nobody can measure the model's own."""
    measured = row["train_loss"] is not None or row["local_loss"] is None
    return "" if measured else f"local loss {row['local_loss']:.4g}  "
