"""Log of a run on the standard output: a line for every evaluated round."""

from dataclasses import dataclass
from typing import Any, ClassVar

from fedlocal.report.progress import status
from fedlocal.report.tracking.tracker import Service
from fedlocal.rounds.scoring import Evaluate

ROUND = "round "


@dataclass(frozen=True)
class Echo(Service):
    """Tracker that prints evaluated rounds.

    Attributes:
        rounds: Number of rounds of the run.
        evaluate: Schedule of evaluations.
    """

    title: ClassVar[str] = "the progress log"
    rounds: int
    evaluate: Evaluate

    def log(self, row: dict[str, Any]) -> None:
        """Print a line if the round was evaluated."""
        if self.evaluate.due(row["round"], self.rounds):
            print(f"{ROUND}{row['round']}/{self.rounds}  {_local(row)}{status(row)}", flush=True)


def _local(row: dict[str, Any]) -> str:
    """Return the clients' loss while they trained, where the model's own is not measured."""
    measured = row["train_loss"] is not None or row["local_loss"] is None
    return "" if measured else f"local loss {row['local_loss']:.4g}  "
