"""Seconds of a round: ours, a plain PyTorch loop, Flower's engine, and no federation at all.

    uv run python benchmarks/rounds.py [--model mlp] [--clients 8,64,256] [--steps 1,10]

Batch 16, float32. The rows take turns, round by round, in one run, so ratios are what counts. A row
of which three rounds would take longer than --budget is left out of a cell, and named. How to read
the table: benchmarks/README.md.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

from benchmarks.engine import NAME as ENGINE
from benchmarks.engine import Engine, engine
from benchmarks.problems import MODELS, Cell
from benchmarks.rows import FLOOR, PLAIN, ROWS
from benchmarks.timing import (
    Timed,
    about,
    heading,
    interleaved,
    line,
    milliseconds,
    outside,
    ratios,
    timed,
)

COLUMNS = (
    "clients", "H", "row", "rounds", "ms a round: median (least)", "/ floor: pairs (least)",
    "plain loop / this: pairs (least)", "outside the H steps",
)  # fmt: skip
FEWEST = 3
# In which the rounds of all other cells are foretold.
SMALL = 8

Seconds = dict[str, list[float]]


def numbers(given: str) -> list[int]:
    """Parse whole numbers between commas, in order."""
    return sorted({int(one) for one in given.split(",")})


class Table:
    """Table that is measured cell by cell and leaves out rounds that would take too long."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        # Of each row: seconds of a round by clients and steps.
        self._known: dict[str, dict[tuple[int, int], float]] = {}

    def lines(self, clients: int) -> Iterator[str]:
        """Yield the lines of all H for this number of clients, once they are measured."""
        cells = [self._cell(clients, steps) for steps in self._options.steps]
        with ExitStack() as stack:
            started = None
            if ENGINE in self._options.rows:
                started = stack.enter_context(engine(cells[0]))
            measured = {cell.steps: self._measure(cell, started) for cell in cells}
        for steps, (seconds, left_out) in measured.items():
            for row in self._options.rows:
                least = {h: min(each[row]) for h, (each, _) in measured.items() if row in each}
                if row in seconds:
                    yield line([clients, steps, row, *_figures(row, steps, seconds, least)])
                else:
                    yield line([clients, steps, row, "left out: " + left_out[row], *[""] * 4])

    def _cell(self, clients: int, steps: int) -> Cell:
        options = self._options
        return Cell(options.model, clients, steps, options.device, options.ragged)

    def _measure(self, cell: Cell, started: Engine | None) -> tuple[Seconds, dict[str, str]]:
        """Measure the seconds of the rows; return them, and why others were left out."""
        print(f"K={cell.clients} H={cell.steps} ...", file=sys.stderr, flush=True)
        budget = self._options.budget
        rows: dict[str, Timed] = {}
        left_out: dict[str, str] = {}
        for name in self._options.rows:
            try:
                row = self._timed(name, cell, started)
                took = self._known[name][cell.clients, cell.steps]
                if FEWEST * took > budget:
                    raise TimeoutError(f"a round takes {took:.3g} s")
                rows[name] = row
            except TimeoutError as error:
                left_out[name] = f"{error} (--budget {budget:g})"
        slowest = max((self._known[name][cell.clients, cell.steps] for name in rows), default=1.0)
        rounds = max(FEWEST, min(self._options.rounds, int(budget / slowest)))
        return interleaved(rows, rounds), left_out

    def _timed(self, name: str, cell: Cell, started: Engine | None) -> Timed:
        """Return a row after two rounds, the second of which was timed."""
        if name == ENGINE:
            assert started is not None
            # Ray's start is in the first.
            row = partial(started.seconds, cell.steps, self._options.budget + 120)
        else:
            foretold = self._foretold(name, cell)
            if foretold > self._options.budget:
                raise TimeoutError(f"a round may take {foretold:.3g} s")
            row = timed(ROWS[name](cell), cell.device)
        row()
        self._known.setdefault(name, {})[cell.clients, cell.steps] = row()
        return row

    def _foretold(self, name: str, cell: Cell) -> float:
        """Return an upper bound of the seconds of a round: linear in clients and steps."""
        if name not in self._known:
            small = cell._replace(clients=min(SMALL, cell.clients), steps=1)
            probe = timed(ROWS[name](small), cell.device)
            probe()
            self._known[name] = {(small.clients, small.steps): min(probe(), probe())}
        return min(
            took * max(1, cell.clients / clients) * max(1, cell.steps / steps)
            for (clients, steps), took in self._known[name].items()
        )


def _figures(row: str, steps: int, seconds: Seconds, least: dict[int, float]) -> list[object]:
    these = seconds[row]
    return [
        len(these),
        milliseconds(these),
        ratios(these, seconds[FLOOR]) if FLOOR in seconds else "",
        ratios(seconds[PLAIN], these) if PLAIN in seconds else "",
        "" if row == FLOOR else outside(steps, least),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    rows = [*ROWS, ENGINE]
    parser.add_argument("--model", choices=MODELS, default="mlp")
    parser.add_argument("--clients", type=numbers, default="8,64,256", metavar="K,K")
    parser.add_argument("--steps", type=numbers, default="1,10", metavar="H,H")
    parser.add_argument("--ragged", action="store_true", help="clients hold 4 to 256 examples")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=20, help="at most, of each row in a cell")
    parser.add_argument(
        "--budget", type=float, default=20.0, help="seconds of a row in a cell (20), start apart"
    )
    parser.add_argument(
        "--rows", nargs="+", choices=rows, default=rows, metavar="ROW", help=str(rows)
    )
    options = parser.parse_args()
    print(about(options.device), flush=True)
    sizes = "4 to 256" if options.ragged else "64"
    print(f"Work: {options.model}, batch 16, clients hold {sizes} examples.\n")
    print(heading(COLUMNS), flush=True)
    table = Table(options)
    for clients in options.clients:
        for one in table.lines(clients):
            print(one, flush=True)


if __name__ == "__main__":
    main()
