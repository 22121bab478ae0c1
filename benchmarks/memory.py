"""Peak memory of rounds: the rows of `rounds.py` that live in one process.

    uv run python benchmarks/memory.py [--model mlp] [--clients 64] [--steps 10]

Each row has a process of its own (Linux). "of it rounds" is what ten rounds add to the peak that
the libraries and the problem have before.
"""

import argparse
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from benchmarks.problems import MODELS, Cell
from benchmarks.rows import PLAIN, ROWS
from benchmarks.timing import about, heading, line

ROUNDS = 10


def peaks(name: str, cell: Cell) -> tuple[float, float]:
    """Peak megabytes before and after ten rounds of a row."""
    here, there = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_measure, args=(name, cell, there))
    process.start()
    there.close()
    found = here.recv()
    process.join()
    return found


def _measure(name: str, cell: Cell, pipe: Connection) -> None:
    one_round = ROWS[name](cell)
    # Both kinds of gradient once on one example, so that the libraries are loaded.
    torch.func.grad(lambda x: (x * x).sum())(torch.ones(2))
    torch.ones(2, requires_grad=True).sum().backward()
    # Importing the libraries has a peak of its own; 5 makes the kernel forget it.
    Path("/proc/self/clear_refs").write_text("5")
    before = _peak()
    for _ in range(ROUNDS):
        one_round()
    pipe.send((before, _peak()))


def _peak() -> float:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=MODELS, default="mlp")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    print(about("cpu"))
    print(f"Work: {options.model}, K = {options.clients}, H = {options.steps}, batch 16.\n")
    print(heading(("row", "peak MB", "of it rounds", "peak / plain loop's")))
    cell = Cell(options.model, options.clients, options.steps)
    found = {name: peaks(name, cell) for name in ROWS}
    for name, (before, after) in found.items():
        over = after / found[PLAIN][1]
        print(line([name, f"{after:.0f}", f"{after - before:.0f}", f"{over:.2f}"]))


if __name__ == "__main__":
    main()
