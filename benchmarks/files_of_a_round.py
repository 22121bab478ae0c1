"""Counts the files of this repository that the second round of local SGD executes.

    uv run python benchmarks/files_of_a_round.py [--list]

A measure of how far a reader has to look: K = 8 clients, H = 10 steps of the small perceptron.
"""

import argparse
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.problems import Cell
from benchmarks.rows import ours
from fedlocal.rounds.runtime_interface import Runtime
from fedlocal.runtime import Loop, Vmapped
from strategies import local_sgd

ROOT = Path(__file__).resolve().parent.parent
RUNTIMES: dict[str, Runtime] = {"loop": Loop(), "vmapped": Vmapped(program="recorded")}


def files(runtime: Runtime) -> list[str]:
    """List the files whose functions are called in the second round, as paths from the root."""
    one_round = ours(local_sgd, runtime, Cell("mlp", 8, 10))
    one_round()
    found: set[str] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            found.add(frame.f_code.co_filename)

    sys.setprofile(note)
    try:
        one_round()
    finally:
        sys.setprofile(None)
    paths = (Path(name) for name in found)
    inside = [path for path in paths if path.is_relative_to(ROOT) and ".venv" not in path.parts]
    names = (path.relative_to(ROOT) for path in inside)
    return sorted(str(name) for name in names if name.parts[0] != "benchmarks")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="print the files too")
    listed = parser.parse_args().list
    for name, runtime in RUNTIMES.items():
        found = files(runtime)
        print(f"{name}: {len(found)} files")
        if listed:
            print("\n".join(f"  {each}" for each in found))


if __name__ == "__main__":
    main()
