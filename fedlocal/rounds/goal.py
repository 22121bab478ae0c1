"""Target value of a metric, and early stopping."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from fedlocal.utils.checks import check_number

Metric = Literal["test_accuracy", "test_loss", "train_loss", "local_loss"]
# Keys of the summary.
TO_TARGET = ("rounds_to_target", "bytes_to_target", "sim_seconds_to_target")

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Goal:
    """Target value of a metric, and early stopping.

    Attributes:
        metric: Column of the metrics; larger is better for accuracies, smaller for losses.
        target: Value to reach; rounds, bytes and simulated seconds until then go into the summary.
            None sets no target.
        stop: Whether to end the run at the target.
        patience: Evaluations in a row without an improvement after which the run ends; None never
            ends it.
        min_change: Smallest change that counts as an improvement.
    """

    metric: Metric = "test_accuracy"
    target: float | None = None
    stop: bool = True
    patience: int | None = None
    min_change: float = 0.0

    def __post_init__(self) -> None:
        """Raise ValueError for an unknown metric or an impossible target or patience."""
        if self.metric not in get_args(Metric):
            raise ValueError(
                f"goal.metric must be one of {', '.join(get_args(Metric))}, got {self.metric!r}"
            )
        if self.metric == "test_accuracy" and not 0 <= (self.target or 0) <= 1:
            raise ValueError(
                f"goal.target of an accuracy must be in [0, 1], got {self.target}; for example 0.9"
            )
        if self.patience is not None and self.patience < 1:
            raise ValueError(
                f"goal.patience must be >= 1 evaluation, got {self.patience}; null never gives up"
            )
        check_number("goal.min_change", self.min_change, least=0)

    @property
    def is_set(self) -> bool:
        """Whether a target or a patience is set."""
        return self.target is not None or self.patience is not None

    def check(self, classes: bool, tested: bool) -> None:
        """Raise ValueError if the metric is never measured.

        Args:
            classes: Whether the targets are classes.
            tested: Whether there are test examples.
        """
        lacks = {"test_accuracy": not (tested and classes), "test_loss": not tested}
        if self.is_set and lacks.get(self.metric):
            there = ", ".join(name for name in get_args(Metric) if not lacks.get(name))
            raise ValueError(
                f"goal.metric={self.metric} is not defined for this data set; it has {there}"
            )

    def met(self, rows: Rows) -> bool:
        """Return whether a run with these rows should end."""
        if not rows or rows[-1][self.metric] is None:
            return False
        return (self.stop and self.reached(rows[-1])) or self._given_up(rows)

    def reached(self, row: Mapping[str, Any]) -> bool:
        """Return whether this row is at the target or better."""
        value = row[self.metric]
        if self.target is None or value is None:
            return False
        return self._signed(value) >= self._signed(self.target)

    def summary(self, rows: Rows) -> dict[str, float | None]:
        """Return the cost of reaching the target, None where it was not reached; {} without one."""
        if self.target is None:
            return {}
        spent = (_spent(row) for row in rows if self.reached(row))
        return next(spent, dict.fromkeys(TO_TARGET))

    def _given_up(self, rows: Rows) -> bool:
        if self.patience is None:
            return False
        best, waited = float("-inf"), 0
        for row in rows:
            if (value := row[self.metric]) is None:
                continue
            better = self._signed(value) > best + self.min_change
            best, waited = (self._signed(value), 0) if better else (best, waited + 1)
        return waited >= self.patience

    def _signed(self, value: float) -> float:
        """Return the value with the sign for which larger is better."""
        return value if self.metric == "test_accuracy" else -value


def _spent(row: Mapping[str, Any]) -> dict[str, Any]:
    moved = row["uplink_bytes"] + row["downlink_bytes"]
    return dict(zip(TO_TARGET, (row["round"], moved, row["sim_seconds"]), strict=True))
