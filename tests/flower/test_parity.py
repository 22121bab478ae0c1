"""One job on every engine: the same parameters, and the same ledger to the byte."""

from functools import cache
from pathlib import Path

import pytest
from safetensors.torch import load_file

from fedlocal.cli.run import run_job
from fedlocal.config.build import build
from fedlocal.config.compose import about, compose
from fedlocal.flower.app_bundle import write_app
from fedlocal.flower.deploy.local import LocalDeployment
from fedlocal.flower.engine import Engine, run_app
from fedlocal.flower.runtime import CLIENT_APP, SERVER_APP
from fedlocal.report.runs import read_rows
from tests.strategies_in_conf import NAMES

COMMON = "K=3 H=3 rounds=3 partition=label_blocks device=cpu evaluate.every=3"
MLP = "model.hidden=[8]"
# Averaged running statistics, dropout, a personal head that is trained first (FedRep), and a loss
# that is no mean.
OWN = (
    "strategy=local_sgd model=own model._target_=tests.flower.own_model.Net model.personal=[head]"
    " model.personal_steps=1 model.l2=0.01 loss=cross_entropy loss.class_weights=balanced"
    " loss.label_smoothing=0.1"
)
STRATEGIES = (
    "strategy=local_sgd",
    "strategy=vrl_sgd",
    "strategy=slowmo",
    "strategy=double_compression",
    # Each client starts from its own model.
    "strategy=easgd",
    # Nobody waits.
    "strategy=async_local_sgd",
    # Messages between neighbours, some of them a byte; and a round of two exchanges.
    "strategy=squarm_sgd strategy.threshold=100",
    "strategy=mime",
)
# Rounds among Flower's processes take seconds, so one strategy is there in float32 as well.
JOBS = [
    f"{COMMON} {MLP} {STRATEGIES[1]} dtype=float32",
    *(f"{COMMON} {MLP} {each} dtype=float64" for each in STRATEGIES),
    f"{COMMON} {OWN} dtype=float64",
]
# Real processes take longer still. Everything of a model beside plain parameters goes everywhere.
DEPLOYED, FEW = [*JOBS[:-3], JOBS[-1]], [JOBS[0], *JOBS[4:6], JOBS[-1]]
COUNTED = ("uplink_bytes", "downlink_bytes", "local_steps", "sim_seconds", "answered")


@cache
def run_here(folder: Path, runtime: str, line: str) -> Path:
    composed = compose(f"{line} runtime={runtime}")
    place = folder / runtime / str(JOBS.index(line))
    place.mkdir(parents=True)
    run_job(build(composed.cfg), place, about(composed), None)
    return place


def here(folder: Path, runtime: str, jobs: list[str] = JOBS) -> list[Path]:
    """The jobs in this process."""
    return [run_here(folder, runtime, line) for line in jobs]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("parity")


def app(folder: Path, jobs: list[str]) -> Path:
    """Jobs as one Flower run."""
    config = {"overrides": "\n".join(jobs), "folder": str(folder), "sweep": ""}
    return write_app(folder / "app", "parity", SERVER_APP, CLIENT_APP, config)


def assert_same(found: list[Path], expected: list[Path], jobs: list[str] = JOBS) -> None:
    for ours, theirs, line in zip(found, expected, jobs, strict=True):
        weights, reference = (load_file(place / "model.safetensors") for place in (ours, theirs))
        for key, value in reference.items():
            difference = float((weights[key] - value).abs().max())
            assert difference <= (1e-12 if "float64" in line else 1e-6), (line, key, difference)
        rows, records = read_rows(ours), read_rows(theirs)
        counted = [[row[key] for key in COUNTED] for row in rows]
        assert counted == [[row[key] for key in COUNTED] for row in records], line


def test_loop_and_vmapped(folder):
    assert_same(here(folder, "loop"), here(folder, "vmapped"))


@pytest.mark.flower
def test_simulation_engine(folder):
    place = folder / "simulation"
    run_app(app(place, JOBS), Engine(supernodes=2))
    assert_same([place / str(i) for i in range(len(JOBS))], here(folder, "vmapped"))


@pytest.mark.slow
@pytest.mark.flower
def test_every_strategy_on_the_simulation_engine(tmp_path):
    # Left out: its messages do not fit into a round of Flower's, where it is refused.
    jobs = [
        f"{COMMON} {MLP} strategy={name} rounds=2 dtype=float64"
        for name in NAMES
        if name != "dynamic_averaging"
    ]
    place, expected = tmp_path / "simulation", []
    run_app(app(place, jobs), Engine(supernodes=2))
    for index, line in enumerate(jobs):
        composed = compose(line)
        expected.append(tmp_path / "here" / str(index))
        expected[-1].mkdir(parents=True)
        run_job(build(composed.cfg), expected[-1], about(composed), None)
    assert_same([place / str(i) for i in range(len(jobs))], expected, jobs)


@pytest.mark.flower
@pytest.mark.parametrize("jobs", [FEW, pytest.param(DEPLOYED, marks=pytest.mark.slow)], ids=len)
def test_deployment_with_tls_and_authentication(folder, jobs):
    place = folder / f"deployment{len(jobs)}"
    configs = [{"worker": str(folder / f"w{i}"), "state": str(folder / f"s{i}")} for i in range(3)]
    with LocalDeployment(place / "keys", 3, configs) as deployment:
        for line in deployment.run(app(place, jobs)):
            print(line)
    found = [place / str(i) for i in range(len(jobs))]
    assert_same(found, here(folder, "vmapped", jobs), jobs)
