"""Token indices on Flower's nodes: the numbers of a run in one process, to the bit."""

import numpy as np
import pytest
import torch

from fedlocal.api import prepare
from fedlocal.models import char_gru, char_transformer, text_cnn
from fedlocal.rounds.definition import Environment, Method, Observation, Problem
from fedlocal.runtime import Loop
from fedlocal.vectors.trees import leaves
from strategies import vrl_sgd
from tests.flower.rig import Rig, in_process

MODELS = {
    "char_gru": lambda: char_gru((6,), 3, 7, hidden=4),
    "char_transformer": lambda: char_transformer((6,), 3, 7, width=8),
    "text_cnn": lambda: text_cnn((6,), 3, 7, embedding=3, filters=2),
}


def simulation(name, dtype):
    rng = torch.Generator().manual_seed(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MODELS[name]()
    clients = [
        (torch.randint(0, 7, (n, 6), generator=rng), torch.randint(0, 3, (n,), generator=rng))
        for n in (9, 4, 7)
    ]
    return prepare(
        Problem(model, clients, test=clients[0]),
        Method(vrl_sgd(0.1, 2), 2, 5, seed=3),
        Environment(Loop(), "cpu", dtype),
        Observation(),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", MODELS)
def test_nodes_do_what_one_process_does(name, dtype):
    sim = simulation(name, dtype)
    for held in (sim.objective.x, sim.train.x, sim.test.x):
        assert held.dtype == torch.int64
    (_, state, ledger), (_, expected, records) = Rig(sim, 2).run(), in_process(sim)
    for ours, theirs in zip(leaves(state.server), leaves(expected.server), strict=True):
        assert torch.equal(ours, theirs)
    assert not torch.equal(state.server.anchor[0], sim.start)
    for ours, theirs in zip(ledger.records, records.records, strict=True):
        np.testing.assert_array_equal(ours.uplink_bytes, theirs.uplink_bytes)
