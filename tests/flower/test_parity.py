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
JOBS = [
    *(f"{COMMON} {MLP} {each} dtype={t}" for t in ("float32", "float64") for each in STRATEGIES),
    f"{COMMON} {OWN} dtype=float64",
]
# Flower's rounds take seconds: there, each strategy in float64 and one in float32, and among real
# processes a few of these. Everything of a model beside plain parameters goes everywhere.
ENGINE = [1, *range(len(STRATEGIES), len(JOBS))]
DEPLOYED, FEW = [*ENGINE[:-3], ENGINE[-1]], [ENGINE[0], *ENGINE[4:6], ENGINE[-1]]
COUNTED = ("uplink_bytes", "downlink_bytes", "local_steps", "sim_seconds", "answered")


@cache
def here(folder: Path, runtime: str) -> list[Path]:
    """The jobs in this process."""
    folders = []
    for index, line in enumerate(JOBS):
        composed = compose(f"{line} runtime={runtime}")
        place = folder / runtime / str(index)
        place.mkdir(parents=True)
        run_job(build(composed.cfg), place, about(composed), None)
        folders.append(place)
    return folders


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
    place, jobs = folder / "simulation", [JOBS[i] for i in ENGINE]
    run_app(app(place, jobs), Engine(supernodes=2))
    expected = here(folder, "vmapped")
    found = [place / str(i) for i in range(len(jobs))]
    assert_same(found, [expected[i] for i in ENGINE], jobs)


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
@pytest.mark.parametrize("chosen", [FEW, pytest.param(DEPLOYED, marks=pytest.mark.slow)], ids=len)
def test_deployment_with_tls_and_authentication(folder, chosen):
    place = folder / f"deployment{len(chosen)}"
    jobs = [JOBS[i] for i in chosen]
    configs = [{"worker": str(folder / f"w{i}"), "state": str(folder / f"s{i}")} for i in range(3)]
    with LocalDeployment(place / "keys", 3, configs) as deployment:
        for line in deployment.run(app(place, jobs)):
            print(line)
    expected = here(folder, "vmapped")
    found = [place / str(i) for i in range(len(jobs))]
    assert_same(found, [expected[i] for i in chosen], jobs)
