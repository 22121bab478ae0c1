"""Seconds and peak memory of a round: the runtimes against a plain sequential PyTorch loop.

    uv run python benchmarks/round_speed.py

Work: K = 64 clients of digits (Dirichlet 0.1), H = 10, batch 16, MLP 64-128-10, float32. All
variants take turns, round by round, in one process, so that a slow minute of the machine hits all
of them alike; ratios are what counts. Peak memory is that of a process that runs one variant only.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from time import perf_counter

import torch
from torch import nn

from fedlocal.clients import Clients
from fedlocal.data import digits
from fedlocal.evaluate import Evaluate
from fedlocal.losses import cross_entropy
from fedlocal.models import mlp
from fedlocal.rounds.advance import advance
from fedlocal.runtime import Loop, Vmapped
from fedlocal.simulate import prepare
from fedlocal.simulation import initial_state
from partitions.dirichlet import dirichlet
from strategies.local_sgd import local_sgd
from strategies.vrl_sgd import vrl_sgd

K, H, BATCH, LR = 64, 10, 16, 0.1
NEVER = 10**9


def problem() -> tuple[Clients, nn.Module]:
    data = digits()
    parts = dirichlet(data.y_train.numpy(), K, seed=0, alpha=0.1)
    torch.manual_seed(0)
    clients = Clients(data.x_train, data.y_train, parts.chunks, parts.credit())
    return clients, mlp(data.input_shape, data.num_outputs)


def ours(strategy, runtime) -> Callable[[], None]:
    clients, model = problem()
    sim = prepare(
        model, clients, strategy, NEVER, BATCH, cross_entropy, None, 1.0, 0, runtime,
        "cpu", None, None, None, Evaluate(every=NEVER),
    )  # fmt: skip
    state = [initial_state(sim)]

    def one_round() -> None:
        state[0], _, _ = advance(sim, state[0])

    return one_round


def plain() -> Callable[[], None]:
    """What a researcher writes by hand: a module and a torch optimiser per client, in turn."""
    clients, model = problem()
    shares = [torch.from_numpy(chunks[0]) for chunks in clients.chunks]

    def one_round() -> None:
        total = [torch.zeros_like(p) for p in model.parameters()]
        for share in shares:
            local = deepcopy(model)
            optimiser = torch.optim.SGD(local.parameters(), lr=LR)
            for _ in range(H):
                rows = share[torch.randperm(len(share))[:BATCH]]
                optimiser.zero_grad()
                loss = nn.functional.cross_entropy(local(clients.x[rows]), clients.y[rows])
                loss.backward()
                optimiser.step()
            with torch.no_grad():
                for sum_, p in zip(total, local.parameters(), strict=True):
                    sum_ += p / K
        with torch.no_grad():
            for p, mean in zip(model.parameters(), total, strict=True):
                p.copy_(mean)

    return one_round


VARIANTS = {
    "plain PyTorch loop": plain,
    "vmapped, local_sgd": partial(ours, local_sgd(LR, H), Vmapped()),
    "vmapped, vrl_sgd": partial(ours, vrl_sgd(LR, H), Vmapped()),
    "loop, local_sgd": partial(ours, local_sgd(LR, H), Loop()),
}


def timings(rounds: int) -> dict[str, list[float]]:
    steps = {name: make() for name, make in VARIANTS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 2):
        for name, step in steps.items():
            began = perf_counter()
            step()
            if turn >= 2:  # two rounds to warm up
                seconds[name].append(perf_counter() - began)
    return seconds


def peak_megabytes(name: str) -> tuple[float, float]:
    """Peak memory before and after ten rounds of one variant, in a process of its own."""
    command = [sys.executable, __file__, "--memory-of", name]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    before, after = json.loads(out)
    return before, after


def measure_memory(name: str) -> None:
    step = VARIANTS[name]()
    # Both kinds of gradient once on one example, so that the libraries are loaded.
    torch.func.grad(lambda x: (x * x).sum())(torch.ones(2))
    # Importing the libraries has a peak of its own; 5 makes the kernel (Linux) forget it.
    Path("/proc/self/clear_refs").write_text("5")
    before = _peak()
    for _ in range(10):
        step()
    print(json.dumps([before, _peak()]))


def _peak() -> float:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--memory-of", choices=VARIANTS)
    options = parser.parse_args()
    if options.memory_of:
        measure_memory(options.memory_of)
        return
    seconds = timings(options.rounds)
    memory = {name: peak_megabytes(name) for name in VARIANTS}
    base = seconds["plain PyTorch loop"]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.processor()}")
    print("| variant | ms a round (median) | least | plain loop / this | peak MB | of it rounds |")
    print("|---|---|---|---|---|---|")
    for name, each in seconds.items():
        ratio = statistics.median(b / e for b, e in zip(base, each, strict=True))
        before, after = memory[name]
        print(
            f"| {name} | {1e3 * statistics.median(each):.1f} | {1e3 * min(each):.1f}"
            f" | {ratio:.2f} | {after:.0f} | {after - before:.0f} |"
        )


if __name__ == "__main__":
    main()
