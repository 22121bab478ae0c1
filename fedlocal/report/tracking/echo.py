"""A line on the standard output for every evaluated round."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from fedlocal.report.progress import status
from fedlocal.rounds.evaluate import Evaluate

ROUND = "round "


@dataclass(frozen=True)
class Echo:
    """Prints evaluated rounds.

    Attributes:
        rounds: Number of rounds of the run.
        evaluate: Which of them are evaluated.
    """

    title: ClassVar[str] = "the progress log"
    rounds: int
    evaluate: Evaluate

    def start(
        self, folder: Path, config: dict[str, Any], name: str, group: str | None, resumed: int
    ) -> None:
        """Print nothing yet."""

    def log(self, row: dict[str, Any]) -> None:
        """Print a line if the round was evaluated."""
        if self.evaluate.due(row["round"], self.rounds):
            print(f"{ROUND}{row['round']}/{self.rounds}  {_local(row)}{status(row)}", flush=True)

    def finish(self, summary: dict[str, Any] | None) -> None:
        """Print nothing more."""


def _local(row: dict[str, Any]) -> str:
    """The loss while clients trained, where nobody can measure the model's own."""
    measured = row["train_loss"] is not None or row["local_loss"] is None
    return "" if measured else f"local loss {row['local_loss']:.4g}  "
