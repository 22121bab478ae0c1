"""A sweep over seeds, its jobs one after another and stacked.

    uv run python benchmarks/stacked.py [--clients 8] [--seeds 8] [--steps 2000] [--turns 3]

MLP, H = 10, batch 16, float32, in turns. *rounds* are those of all jobs in one process, without
evaluations; *command* is the sweep on the command line, with imports, data, evaluations, a figure
for each job and the tables.
"""

import argparse
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from benchmarks.problems import BATCH, LR, Cell
from benchmarks.rows import simulation
from benchmarks.timing import about, heading, line, ratios
from fedlocal.rounds.run_loop import initial_progress, run, run_turns
from fedlocal.runtime import Vmapped
from fedlocal.runtime.stacked.batcher import SweepBatcher
from fedlocal.runtime.stacked.runtime import BatchedRuntime
from fedlocal.runtime.stacked.scheduling import in_turns
from strategies import local_sgd

H = 10
STACKED = "stacked"
WAYS = ("one after another", STACKED)
RATIOS = ("rounds: alone / this, pairs (least)", "command: alone / this")


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
        for way in WAYS:
            print(f"turn {turn + 1}, {way} ...", file=sys.stderr)
            seconds[way].append(sweep(options, way))
    print(about("cpu"), "", sep="\n")
    print(heading(["way", "s of rounds (least)", "s of the command (least)", *RATIOS]))
    alone = [list(each) for each in zip(*seconds[WAYS[0]], strict=True)]
    for way, each in seconds.items():
        these = [list(values) for values in zip(*each, strict=True)]
        least = [f"{min(values):.1f}" for values in these]
        print(line([way, *least, *(ratios(a, t) for a, t in zip(alone, these, strict=True))]))


def sweep(options: argparse.Namespace, way: str) -> tuple[float, float]:
    """Measure the rounds of all jobs in this process, and the whole command in another."""
    began = perf_counter()
    rounds(options, way)
    loops = perf_counter() - began
    with TemporaryDirectory() as folder:
        began = perf_counter()
        subprocess.run(command(options, way, folder), check=True, stdout=subprocess.DEVNULL)
        whole = perf_counter() - began
        assert len(list(Path(folder).rglob("summary.json"))) == options.seeds
    return loops, whole


def rounds(options: argparse.Namespace, way: str) -> None:
    """Run all rounds of all jobs, steps traced, without evaluations."""
    cell = Cell("mlp", options.clients, H)
    sims = [
        replace(
            simulation(cell, local_sgd(LR, H), Vmapped(program="recorded")),
            seed=seed,
            rounds=options.steps // H,
        )
        for seed in range(options.seeds)
    ]
    if way != STACKED:
        for sim in sims:
            run(sim, initial_progress(sim))
        return
    batched = [replace(sim, runtime=BatchedRuntime(sim.runtime, {}), batched=True) for sim in sims]
    in_turns([run_turns(sim, initial_progress(sim)) for sim in batched], SweepBatcher().train)


def command(options: argparse.Namespace, way: str, folder: str) -> list[str]:
    """Run the sweep on the command line."""
    seeds = ",".join(map(str, range(options.seeds)))
    return [
        str(Path(sys.executable).parent / "fedlocal"), "-m", "dataset=digits", "model=mlp",
        f"K={options.clients}", f"H={H}", f"batch_size={BATCH}", f"steps={options.steps}",
        f"seed={seeds}", "partition=iid", f"hydra.sweep.dir={folder}",
        *(["hydra/launcher=stacked"] if way == STACKED else []),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
