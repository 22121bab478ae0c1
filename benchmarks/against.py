"""Seconds of a round in this checkout and in another one, and of the first round of a process.

    uv run python benchmarks/against.py OTHER [--model mlp] [--clients 8,64] [--steps 10] [--ragged]

OTHER is the folder of another checkout of this repository. One process runs in each, and both take
turns, round by round. "First" is a run's start: model, trial, tracing and the first round, in a
process that has imported everything; each of --starts processes gives one pair.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
ROWS = (
    "vmapped, recorded",
    "vmapped, direct",
    "vmapped, compiled",
    "vmapped, vrl_sgd",
    "loop",
)
COLUMNS = (
    "model", "clients", "H", "row", "rounds", "ms here: median (least)", "ms there",
    "here / there: pairs (least)", "first round here, s", "there", "here / there",
)  # fmt: skip


class Process:
    """A process in a checkout that answers every line on its input with the seconds of a round."""

    def __init__(self, checkout: Path, arguments: list[str]) -> None:
        code = f"import sys; sys.path.insert(0, {str(checkout)!r})\n" + SERVE
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, str(checkout), *arguments],
            cwd=checkout, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def seconds(self) -> float:
        """Measure the seconds of the next round."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


# Runs in both checkouts, so it may use only what both have.
SERVE = """
from time import perf_counter
import fedlocal
from benchmarks.problems import Cell
from benchmarks.rows import ROWS
root, row, model, clients, steps, ragged = sys.argv[1:]
assert fedlocal.__file__.startswith(root), fedlocal.__file__
cell = Cell(model, int(clients), int(steps), "cpu", ragged == "ragged")
one_round = None
for _ in sys.stdin:
    began = perf_counter()
    if one_round is None:
        one_round = ROWS[row](cell)
    one_round()
    print(perf_counter() - began, flush=True)
"""


@contextmanager
def pair(other: Path, arguments: list[str]) -> Iterator[tuple[Process, Process]]:
    """Yield a process of each checkout; both end with the block."""
    both = Process(HERE, arguments), Process(other, arguments)
    try:
        yield both
    finally:
        for one in both:
            one.close()


def main() -> None:
    sys.path.insert(0, str(HERE))
    from benchmarks.timing import about, heading, line, milliseconds, ratios

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("other", type=Path)
    parser.add_argument("--model", default="mlp")
    parser.add_argument("--clients", default="64", metavar="K,K")
    parser.add_argument("--steps", default="10", metavar="H,H")
    parser.add_argument("--ragged", action="store_true", help="clients hold 4 to 256 examples")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS, metavar="ROW")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--starts", type=int, default=3)
    options = parser.parse_args()
    ragged = "ragged" if options.ragged else "equal"
    print(about("cpu"))
    print(f"Work: batch 16, clients hold {'4 to 256' if options.ragged else '64'} examples.\n")
    print(heading(COLUMNS), flush=True)
    for clients in options.clients.split(","):
        for steps in options.steps.split(","):
            for row in options.rows:
                arguments = [row, options.model, clients, steps, ragged]
                first: tuple[list[float], list[float]] = [], []
                for start in range(options.starts):
                    with pair(options.other.resolve(), arguments) as both:
                        # Imports count for neither.
                        for times, one in zip(first, both, strict=True):
                            times.append(one.seconds())
                        if start + 1 == options.starts:
                            rounds = [
                                [one.seconds() for one in both] for _ in range(options.rounds + 2)
                            ][2:]
                here, there = zip(*rounds, strict=True)
                print(line([
                    options.model, clients, steps, row, len(rounds), milliseconds(here),
                    milliseconds(there), ratios(here, there),
                    *(f"{min(each):.2f}" for each in first), ratios(*first),
                ]), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
