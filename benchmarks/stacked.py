"""A sweep over seeds, its jobs one after another and stacked.

    uv run python benchmarks/stacked.py [--clients 8] [--seeds 8] [--steps 2000] [--turns 3]

MLP on digits, H = 10, batch 16, float32, one process each way, in turns. *rounds* is what the jobs
spent between their first round and their last one, evaluations among it; *command* is all of the
command: imports, data, figures and tables too.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from benchmarks.timing import about, heading, line, ratios

RATIOS = ("rounds: alone / this, pairs (least)", "command: alone / this")
WAYS: dict[str, tuple[str, ...]] = {"one after another": (), "stacked": ("hydra/launcher=stacked",)}


def main() -> None:
    """Run the sweeps and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    seconds: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for turn in range(options.turns):
        for way, given in WAYS.items():
            print(f"turn {turn + 1}, {way} ...", file=sys.stderr)
            seconds[way].append(sweep(options, given))
    print(about("cpu"), "", sep="\n")
    print(heading(["way", "s of rounds (least)", "s of the command (least)", *RATIOS]))
    alone = [list(each) for each in zip(*seconds["one after another"], strict=True)]
    for way, each in seconds.items():
        these = [list(values) for values in zip(*each, strict=True)]
        least = [f"{min(values):.1f}" for values in these]
        print(line([way, *least, *(ratios(a, t) for a, t in zip(alone, these, strict=True))]))


def sweep(options: argparse.Namespace, given: tuple[str, ...]) -> tuple[float, float]:
    """Seconds that the jobs' rounds took, and the whole command."""
    with TemporaryDirectory() as folder:
        seeds = ",".join(map(str, range(options.seeds)))
        command = [
            str(Path(sys.executable).parent / "fedlocal"), "-m", "dataset=digits", "model=mlp",
            f"K={options.clients}", "H=10", "batch_size=16", f"steps={options.steps}",
            f"seed={seeds}", "partition=iid", f"hydra.sweep.dir={folder}", *given,
        ]  # fmt: skip
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        began = perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
        whole = perf_counter() - began
        jobs = [json.loads(file.read_text()) for file in Path(folder).rglob("summary.json")]
        assert len(jobs) == options.seeds
        walls = [job["wall_seconds"] for job in jobs]
        # A stacked job's seconds are those of all.
        return (max(walls) if given else sum(walls)), whole


if __name__ == "__main__":
    main()
