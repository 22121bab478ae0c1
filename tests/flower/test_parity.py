"""One job on every engine: the same parameters, and the same ledger to the byte.

A deployment with TLS and authentication runs `FEW` of the jobs in tests/deploy/test_deployment.py.
"""

from pathlib import Path

import pytest

from fedlocal.cli.run import run_job
from fedlocal.config.build import build
from fedlocal.config.compose import about, compose
from fedlocal.flower.client_app import app as client_app
from fedlocal.flower.deploy.local import LocalDeployment
from fedlocal.flower.engine import Engine, run_app
from fedlocal.flower.inprocess import run_in_process
from fedlocal.flower.server_app import app as server_app
from tests.flower.parity import (
    COMMON,
    FEW,
    JOBS,
    MLP,
    app,
    assert_same,
    config_of,
    here,
    there,
)
from tests.strategies_in_conf import NAMES


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("parity")


def test_loop_and_vmapped(folder):
    assert_same(here(folder, "loop", JOBS), here(folder, "vmapped", JOBS), JOBS)


def test_nodes_in_this_process(folder):
    place = folder / "in_process"
    run_in_process(server_app, client_app, 2, config_of(place, JOBS, "vmapped"))
    assert_same(there(place, JOBS), here(folder, "vmapped", JOBS), JOBS)


@pytest.mark.flower
@pytest.mark.parametrize("jobs", [FEW, pytest.param(JOBS, marks=pytest.mark.slow)], ids=len)
def test_simulation_engine(folder, jobs):
    place = folder / f"simulation{len(jobs)}"
    # Two nodes, and one process that works for both: it takes longest to import.
    run_app(app(place, jobs), Engine(supernodes=2, cpus=2))
    assert_same(there(place, jobs), here(folder, "vmapped", jobs), jobs)


@pytest.mark.slow
@pytest.mark.flower
def test_every_strategy_on_the_simulation_engine(tmp_path):
    # Left out: its messages do not fit into a round of Flower's, where it is refused.
    jobs = [
        f"{COMMON} {MLP} strategy={name} dtype=float64"
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
    assert_same(there(place, jobs), expected, jobs)


@pytest.mark.slow  # a few of the jobs are part of another deployment
@pytest.mark.flower
def test_deployment_with_tls_and_authentication(folder):
    place = folder / "deployment"
    configs = [{"worker": str(folder / f"w{i}"), "state": str(folder / f"s{i}")} for i in range(3)]
    with LocalDeployment(place / "keys", 3, configs) as deployment:
        for line in deployment.run(app(place, JOBS)):
            print(line)
    assert_same(there(place, JOBS), here(folder, "vmapped", JOBS), JOBS)
