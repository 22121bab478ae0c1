"""Seconds of a deployed round: a SuperLink and two SuperNodes on this machine's loopback.

    uv run python benchmarks/deployed_round.py [--rounds 20] [--variants 2 3]

Work: K = 2 clients of digits, H = 10, MLP 64-128-10, with TLS and authentication. At this size a
round consists of Flower's programs finding each other. The first round is not counted.
"""

import argparse
import os
import platform
import statistics
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from fedlocal.flower import supernode
from fedlocal.flower.app_bundle import write_app
from fedlocal.flower.deploy import programs
from fedlocal.flower.deploy.local import LocalDeployment
from fedlocal.flower.runtime import CLIENT_APP, SERVER_APP
from fedlocal.report.runs import read_rows


@dataclass(frozen=True)
class Variant:
    name: str
    worker: bool
    # Also Flower's own: how often it looks for work.
    stock: bool = False


VARIANTS = (
    Variant("flower-supernode, no worker", worker=False, stock=True),
    Variant("flower-supernode, worker", worker=True, stock=True),
    Variant("fedlocal's SuperNode, worker", worker=True),
)


def seconds(variant: Variant, rounds: int) -> list[float]:
    """Measure the seconds of each round after the first."""
    program = partial(programs.supernode_program, stock=variant.stock)
    # A worker's socket needs a short path.
    with (
        TemporaryDirectory(prefix="dr") as place,
        patch.object(programs, "supernode_program", program),
    ):
        folder = Path(place)
        workers = [{"worker": str(folder / f"w{node}")} for node in range(2)]
        config = {
            "overrides": f"K=2 H=10 rounds={rounds + 1} evaluate.every=1000",
            "folder": str(folder / "run"),
            "sweep": "",
        }
        app = write_app(folder / "app", "fedlocal", SERVER_APP, CLIENT_APP, config)
        # Those of SuperNodes that are killed stay behind, so here.
        environment = {"TMPDIR": place}
        if variant.stock:
            environment[supernode.POLL] = "1.0"
        nodes = workers if variant.worker else ()
        with LocalDeployment(folder / "d", 2, nodes, environment=environment) as deployment:
            for _ in deployment.run(app):
                pass
        ends = [row["wall_seconds"] for row in read_rows(folder / "run")]
    return [end - before for before, end in pairwise(ends)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--variants", type=int, nargs="+", default=[1, 2, 3], choices=[1, 2, 3])
    options = parser.parse_args()
    print(f"flwr {version('flwr')}, Python {platform.python_version()}, {os.cpu_count()} cores")
    print("| variant | rounds | s a round (median) | least | most | load before, after |")
    print("|---|---|---|---|---|---|")
    for number in options.variants:
        variant = VARIANTS[number - 1]
        before = os.getloadavg()[0]
        each = seconds(variant, options.rounds)
        print(
            f"| {variant.name} | {len(each)} | {statistics.median(each):.2f} | {min(each):.2f}"
            f" | {max(each):.2f} | {before:.1f}, {os.getloadavg()[0]:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
