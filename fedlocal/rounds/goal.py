"""What a run is for: a value to reach, and when further rounds are not worth it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

Metric = Literal["test_accuracy", "test_loss", "train_loss", "local_loss"]
# Of the summary.
TO_TARGET = ("rounds_to_target", "bytes_to_target", "sim_seconds_to_target")

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Goal:
    """A metric, the value that it should reach, and when to end a run before its last round.

    Attributes:
        metric: Accuracies should rise, losses fall.
        target: Rounds, bytes and simulated seconds until it is reached go into the summary; None
            sets none.
        stop: End the run there.
        patience: End the run after so many evaluations in a row without a better value; None goes
            on.
        min_change: A value is better only if it is better by more than this.
    """

    metric: Metric = "test_accuracy"
    target: float | None = None
    stop: bool = True
    patience: int | None = None
    min_change: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be reached or waited for."""
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
        if not self.min_change >= 0:
            raise ValueError(f"goal.min_change must be >= 0, got {self.min_change}")

    @property
    def asked(self) -> bool:
        """Whether it asks for anything."""
        return self.target is not None or self.patience is not None

    def check(self, classes: bool, tested: bool) -> None:
        """Raise ValueError if the metric will never be there.

        Args:
            classes: Whether targets are classes.
            tested: Whether there are test examples.
        """
        lacks = {"test_accuracy": not (tested and classes), "test_loss": not tested}
        if self.asked and lacks.get(self.metric):
            there = ", ".join(name for name in get_args(Metric) if not lacks.get(name))
            raise ValueError(
                f"goal.metric={self.metric} is not defined for this data set; it has {there}"
            )

    def met(self, rows: Rows) -> bool:
        """Whether a run with these rows so far should end."""
        if not rows or rows[-1][self.metric] is None:
            return False
        return (self.stop and self.reached(rows[-1])) or self._given_up(rows)

    def reached(self, row: Mapping[str, Any]) -> bool:
        """Whether this round is at the target or beyond."""
        value = row[self.metric]
        if self.target is None or value is None:
            return False
        return self._signed(value) >= self._signed(self.target)

    def summary(self, rows: Rows) -> dict[str, float | None]:
        """What it took to reach the target, None where that was never; nothing without a target."""
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
        """The value, so that larger is better."""
        return value if self.metric == "test_accuracy" else -value


def _spent(row: Mapping[str, Any]) -> dict[str, Any]:
    moved = row["uplink_bytes"] + row["downlink_bytes"]
    return dict(zip(TO_TARGET, (row["round"], moved, row["sim_seconds"]), strict=True))
