"""The functions in which rounds spend their time, one by one.

    uv run pytest -n 0 benchmarks/test_hot_functions.py

The ordinary tests do not collect this. Compare two commits with --benchmark-autosave and
`uv run pytest-benchmark compare`, by the column Min.
"""

import numpy as np
import pytest
import torch

from benchmarks.problems import BATCH, Cell
from benchmarks.rows import simulation
from fedlocal.rounds.message_bytes import Header, dense_layout, pack, unpack
from fedlocal.rounds.message_formats import link_noise
from fedlocal.rounds.population import work_of
from fedlocal.rounds.server import server_round
from fedlocal.rounds.state import initial_state
from fedlocal.rounds.synchronous import plan_round, round_info
from fedlocal.slots.compress import QSGD, PowerSGD, RandomK, ScaledSign, TopK
from fedlocal.vectors.flat import ParamSpec
from fedlocal.vectors.rng import Purpose
from partitions import dirichlet
from strategies import local_sgd, vrl_sgd

K, H = 64, 10
MODELS = ("mlp", "lenet5", "logistic")


@pytest.fixture(scope="module")
def sim():
    return simulation(Cell("mlp", K, H), local_sgd(0.1, H), "vmapped")


@pytest.mark.parametrize("model", MODELS)
def test_gradients_of_one_local_step(benchmark, model):
    sim = simulation(Cell(model, K, H), local_sgd(0.1, H), "vmapped")
    points = sim.start.repeat(K, 1)
    indices = torch.randint(len(sim.objective.x), (K, BATCH))
    step = torch.vmap(lambda x, rows: sim.objective.step(x, rows, (), ()))
    grads, _ = benchmark(step, points, indices)
    assert grads.shape == points.shape


def test_batches_of_a_client(benchmark, sim):
    drawn = benchmark(sim.clients.batches, 3, H, BATCH, 0, 0)
    assert drawn.shape == (H, BATCH)


def test_plan_of_a_round(benchmark, sim):
    plan = benchmark(work_of, sim, plan_round(sim, initial_state(sim)))
    assert len(plan.indices) == K


@pytest.mark.parametrize("make", [local_sgd, vrl_sgd], ids=lambda make: make.__name__)
def test_server_round(benchmark, make):
    sim = simulation(Cell("mlp", K, H), make(0.1, H), "vmapped")
    state = initial_state(sim)
    order = plan_round(sim, state)
    _, answers = sim.population.train(sim, state, order)
    rows = np.arange(len(state.server.anchor))
    noise = link_noise(sim.strategy.downlink, Purpose.DOWNLINK, rows, 0, 0, sim.start)
    members = torch.from_numpy(answers.members)
    info = round_info(sim, state, order, answers.members)
    given = sim.strategy, state.server, answers.uploads, members, answers.noise, noise, info
    server, _ = benchmark(server_round, *given)
    assert server.anchor.shape == state.server.anchor.shape


@pytest.mark.parametrize(
    "link",
    [TopK(0.01), RandomK(0.01), QSGD(), ScaledSign(), PowerSGD()],
    ids=lambda link: type(link).__name__,
)
def test_encode(benchmark, sim, link):
    link = link.bind(ParamSpec.of(sim.objective.model))
    vectors = torch.randn(K, len(sim.start))
    states = torch.vmap(link.init)(vectors)
    noise = torch.rand(K, link.noise_size(len(sim.start)))
    benchmark(torch.vmap(link.encode), vectors, states, noise)


def test_pack(benchmark, sim):
    layout = dense_layout(sim.start)
    packed = benchmark(pack, Header(0, 0), sim.start, layout, torch.float32)
    assert len(packed) > 4 * len(sim.start)


def test_unpack(benchmark, sim):
    layout = dense_layout(sim.start)
    packed = pack(Header(0, 0), sim.start, layout, torch.float32)
    _, vector = benchmark(unpack, packed, layout, torch.float32)
    assert torch.equal(vector, sim.start)


@pytest.mark.parametrize("clients", [100, 1000])
def test_partition_dirichlet(benchmark, clients):
    labels = np.random.default_rng(0).integers(10, size=50_000)
    parts = benchmark(dirichlet, labels, clients, seed=0, alpha=0.3)
    assert len(parts.chunks) == clients
