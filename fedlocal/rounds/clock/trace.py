"""Law of compute times from a measured table, per round and client."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from fedlocal.rounds.clock.clock import FloatArray, Law


@dataclass(frozen=True)
class Trace(Law):
    """Measured law: steps of client i in round t take entry (t, i); rows and columns repeat.

    Attributes:
        rows: A row per round with a number per client.
    """

    rows: tuple[tuple[float, ...], ...]

    def steps(self, count: int, client: int, round_index: int, seed: int) -> FloatArray:
        row = self.rows[round_index % len(self.rows)]
        return np.full(count, row[client % len(row)])

    @classmethod
    def of(cls, table: ArrayLike) -> "Trace":
        """Return the trace of a table [rounds, clients].

        Raises:
            ValueError: An empty table, another shape, or negative or non-finite times.
        """
        numbers = np.asarray(table, dtype=np.float64)
        if numbers.ndim != 2 or numbers.size == 0:
            raise ValueError(
                "a trace must be a table with a row per round and a column per client, got shape"
                f" {numbers.shape}"
            )
        if not (np.isfinite(numbers) & (numbers >= 0)).all():
            raise ValueError("a trace must hold numbers >= 0 only: seconds of a local step")
        return cls(tuple(tuple(row) for row in numbers.tolist()))


def read_trace(path: str) -> Trace:
    """Read a trace from a .csv (a line per round) or .npy file.

    Raises:
        ValueError: Not a table of times. OSError: No such file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {path}; clock.law.path is a .csv or .npy of step times")
    try:
        if path.endswith(".npy"):
            return Trace.of(np.load(path))
        lines = [
            line for line in Path(path).read_text(encoding="utf-8-sig").splitlines() if line.strip()
        ]
        return Trace.of([[float(cell) for cell in line.split(",")] for line in lines])
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is not a trace: {error}") from error
