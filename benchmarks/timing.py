"""Rows that take turns, what their times say of each other, and the table in Markdown."""

import os
import platform
import shlex
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from time import perf_counter

import torch

# Seconds of one round.
Timed = Callable[[], float]


def timed(one_round: Callable[[], None], device: str) -> Timed:
    """Return the round with a clock around it that waits for the device."""

    def seconds() -> float:
        began = perf_counter()
        one_round()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        return perf_counter() - began

    return seconds


def interleaved(rows: Mapping[str, Timed], rounds: int) -> dict[str, list[float]]:
    """Measure rounds of each row, the rows taking turns round by round.

    A slow minute of the machine then hits all of them alike.
    """
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(rounds):
        for name, row in rows.items():
            seconds[name].append(row())
    return seconds


def ratios(these: Sequence[float], those: Sequence[float]) -> str:
    """Return the median ratio over the pairs, and the ratio of the least times."""
    pairs = statistics.median(a / b for a, b in zip(these, those, strict=True))
    return f"{pairs:.2f} ({min(these) / min(those):.2f})"


def milliseconds(seconds: Sequence[float]) -> str:
    """Median and least."""
    return f"{1e3 * statistics.median(seconds):.1f} ({1e3 * min(seconds):.1f})"


def outside(steps: int, least: Mapping[int, float]) -> str:
    """Return the share of a round that is not its H local steps.

    What a round costs besides them is the time at one step less that of a step, which is the slope
    between one step and H (for one step: and the fewest more).

    Args:
        steps: H.
        least: The least seconds of a round, by H.
    """
    more = [h for h in sorted(least) if h > 1]
    if 1 not in least or not more or steps not in least:
        return ""
    other = steps if steps > 1 else more[0]
    slope = (least[other] - least[1]) / (other - 1)
    return f"{100 * max(0.0, least[1] - slope) / least[steps]:.0f} %"


def about(device: str) -> str:
    """Describe a table: command, date, machine, versions."""
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.machine()
    versions = ", ".join(f"{package} {version(package)}" for package in ("torch", "flwr", "numpy"))
    return (
        f"Command: `uv run python {shlex.join(sys.argv)}`, {datetime.now(UTC):%Y-%m-%d}. Machine:"
        f" {os.cpu_count()} cores, {name}, {torch.get_num_threads()} threads of torch, load"
        f" {os.getloadavg()[0]:.1f} before. Python {platform.python_version()}, {versions}."
    )


def heading(columns: Iterable[str]) -> str:
    """Return the first two lines of a table."""
    columns = list(columns)
    return line(columns) + "\n" + "|" + "---|" * len(columns)


def line(cells: Iterable[object]) -> str:
    """Return one line of a table."""
    return "| " + " | ".join(map(str, cells)) + " |"
