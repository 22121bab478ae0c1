"""Large populations: rounds, memory and partitions at 1,000 to 10,000 clients.

    uv run python benchmarks/scale.py

Rounds: 10,000 clients of whom 1 % take part against 100 who all do, so cohorts are equal: 100
clients, H = 10, batch 16, MLP 64-128-10 (9,610 parameters), float32, random data of 40 examples a
client. Clients' states are as after 400 rounds. All rows of a strategy take turns, round by round,
in one process with one thread; CPU seconds stand beside wall seconds because neighbours disturb
them less.
"""

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import numpy as np
import torch

import partitions
from fedlocal.api import prepare
from fedlocal.data.clients import Clients
from fedlocal.models import mlp, resnet18_gn
from fedlocal.rounds.definition import Environment, Method, Observation, Problem
from fedlocal.rounds.run_loop import advance
from fedlocal.rounds.scoring import Evaluate
from fedlocal.rounds.state import RunState, Simulation, initial_state
from fedlocal.runtime import Vmapped
from fedlocal.vectors.trees import repeat
from strategies.local_sgd import local_sgd
from strategies.scaffold import scaffold
from strategies.vrl_sgd import vrl_sgd

H, BATCH, EACH, LR = 10, 16, 40, 0.1
NEVER = 10**9
FEW, MANY = (100, 1.0), (10_000, 0.01)
STRATEGIES = {
    "local_sgd": local_sgd(LR, H),
    "local_sgd, momentum 0.9": local_sgd(LR, H, momentum=0.9),
    "scaffold": scaffold(LR, H),
}
SCHEMES = (
    ("iid", {}), ("dirichlet", {}), ("dirichlet_prior", {}), ("shards", {}), ("label_blocks", {}),
    ("classes_per_client", {}), ("quantity", {}), ("similarity", {}), ("natural", {}),
    ("redundant", {"mu": 0.001}), ("redundant", {"mu": 0.01}), ("redundant", {"mu": 0.25}),
)  # fmt: skip


def pool(num_clients: int, each: int, shape: tuple[int, ...]) -> Clients:
    rng = torch.Generator().manual_seed(0)
    count = num_clients * each
    x = torch.randn(count, *shape, generator=rng)
    y = torch.randint(0, 10, (count,), generator=rng)
    shares = tuple((rows,) for rows in np.arange(count).reshape(num_clients, each))
    return Clients(x, y, shares, np.full(num_clients, float(each)))


def population(strategy, num_clients, participation, spill=None) -> Simulation:
    torch.manual_seed(0)
    return prepare(
        Problem(mlp((64,), 10), pool(num_clients, EACH, (64,))),
        Method(strategy, NEVER, BATCH, participation),
        Environment(Vmapped(), "cpu", spill=spill),
        Observation(Evaluate(every=NEVER)),
    )


def seasoned(sim: Simulation) -> RunState:
    """Return the state of a run whose table of clients has seen 400 rounds.

    The states in it are fresh ones, of as many bytes.
    """
    state = initial_state(sim)
    table, count = state.clients, len(sim.clients)
    for turn in range(400 if sim.participation < 1 else 1):
        ids = sim.strategy.sampling.cohort(count, sim.participation, 1, turn)
        table = table.put(ids, repeat(table.fresh, len(ids)), sim.population.spill)
    return state._replace(clients=table)


def in_turns(sims: list[Simulation], rounds: int) -> tuple[list[list[tuple]], list[RunState]]:
    """Wall and CPU seconds of every round but the first two, and the last states."""
    states = [seasoned(sim) for sim in sims]
    seconds: list[list[tuple]] = [[] for _ in sims]
    for turn in range(rounds + 2):
        for i, sim in enumerate(sims):
            began = perf_counter(), process_time()
            states[i], _, _ = advance(sim, states[i])
            if turn >= 2:
                seconds[i].append((perf_counter() - began[0], process_time() - began[1]))
    return seconds, states


def rounds_table(rounds: int) -> None:
    print("| strategy | population | least ms wall | least ms CPU | median CPU / that of 100 |")
    print("|---|---|---|---|---|")
    for name, strategy in STRATEGIES.items():
        with TemporaryDirectory() as folder:
            sims = [
                population(strategy, *FEW),
                population(strategy, *MANY),
                population(strategy, *MANY, spill=folder),
            ]
            seconds, _ = in_turns(sims, rounds)
        base = np.array(seconds[0])
        for label, each in zip(("100", "10,000", "10,000, spilled"), seconds, strict=True):
            wall, cpu = 1e3 * np.min(each, axis=0)
            ratio = np.median(np.array(each)[:, 1] / base[:, 1])
            print(f"| {name} | {label} | {wall:.1f} | {cpu:.1f} | {ratio:.2f} |", flush=True)


def memory_table() -> None:
    print("| rounds | clients that have taken part | rows held | MB held | MB of all 10,000 |")
    print("|---|---|---|---|---|")
    sim = population(scaffold(LR, 1), *MANY)
    row_bytes = 4 * len(sim.start)
    state = initial_state(sim)
    for done in range(1, 401):
        state, _, _ = advance(sim, state)
        if done in (1, 10, 50, 100, 200, 400):
            table = state.clients
            visited = np.count_nonzero(table.block >= 0)
            held, whole = (rows * row_bytes / 1e6 for rows in (table.rows_held, len(table)))
            print(f"| {done} | {visited} | {table.rows_held} | {held:.0f} | {whole:.0f} |")


def timed(work: Callable) -> tuple[float, object]:
    began = perf_counter()
    found = work()
    return perf_counter() - began, found


def partitions_table() -> None:
    count, num_clients = 1_000_000, 1000
    labels = np.random.default_rng(1).integers(0, 10, count)
    ids = np.random.default_rng(2).integers(0, 3 * num_clients, count)
    print("| scheme | indices | s split | s credit | s digest | s Clients and held |")
    print("|---|---|---|---|---|---|")
    for name, options in SCHEMES:
        make, column = getattr(partitions, name), ids if name == "natural" else labels
        split, found = timed(lambda m=make, c=column, o=options: m(c, num_clients, seed=0, **o))
        credit, counts = timed(found.credit)
        digest, _ = timed(found.digest)
        x = torch.zeros(count, 1)
        held, _ = timed(lambda f=found, x=x, c=counts: Clients(x, x, f.chunks, c).held)
        title = ", ".join([name, *(f"{key} {value}" for key, value in options.items())])
        stored = sum(map(len, found))
        print(
            f"| {title} | {stored:,} | {split:.2f} | {credit:.2f} | {digest:.2f} | {held:.2f} |",
            flush=True,
        )


def large_model(strategy, clients_per_batch: int) -> Simulation:
    torch.manual_seed(0)
    shape = (3, 32, 32)
    return prepare(
        Problem(resnet18_gn(shape, 10), pool(8, 4, shape)),
        Method(strategy, NEVER, 2),
        Environment(Vmapped(clients_per_batch), "cpu"),
        Observation(Evaluate(every=NEVER)),
    )


def measure_large(name: str, clients_per_batch: int) -> None:
    """Run two rounds in a process of its own; return its peak memory in units of [K, P]."""
    make = {"local_sgd": local_sgd, "vrl_sgd": vrl_sgd}[name]
    sim = large_model(make(LR, 1), clients_per_batch)
    state = initial_state(sim)
    # 5 makes the kernel (Linux) forget the peak of what came before.
    Path("/proc/self/clear_refs").write_text("5")
    before = _peak()
    for _ in range(2):
        state, _, _ = advance(sim, state)
    print(json.dumps([before, _peak(), 8 * len(sim.start) * 4 / 2**20]))


def _peak() -> float:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) / 1024


def large_table() -> None:
    print("| strategy | clients_per_batch | peak MiB | of it rounds | rounds / [K, P] |")
    print("|---|---|---|---|---|")
    for name in ("local_sgd", "vrl_sgd"):
        for size in (1, 2, 8):
            command = [sys.executable, __file__, "--large", name, str(size)]
            out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            before, after, unit = json.loads(out)
            added = after - before
            print(f"| {name} | {size} | {after:.0f} | {added:.0f} | {added / unit:.1f} |")


TABLES = {
    "rounds": ("Rounds", lambda options: rounds_table(options.rounds)),
    "rows": ("Rows held: scaffold, 10,000 clients, 1 % take part", lambda _: memory_table()),
    "large": ("ResNet-18-GN, K = 8, batch 2, H = 1", lambda _: large_table()),
    "partitions": ("1,000 clients of 1,000,000 examples", lambda _: partitions_table()),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--large", nargs=2, help="used by the benchmark itself")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.large:
        measure_large(options.large[0], int(options.large[1]))
        return
    print(f"torch {torch.__version__}, 1 thread, {platform.processor()}\n")
    for name in options.tables:
        title, table = TABLES[name]
        print(f"\n{title}\n")
        table(options)


if __name__ == "__main__":
    main()
