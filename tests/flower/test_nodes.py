"""Clients on Flower's nodes do what clients in one process do, to the bit and to the byte."""

import numpy as np
import pytest
import torch

from fedlocal.participation import DropOut
from fedlocal.runtime import Vmapped
from fedlocal.trees import leaves
from fedlocal.wire import OVERHEAD
from strategies import double_compression, local_sgd
from tests.flower.rig import Rig, in_process
from tests.ragged import SIZES, simulation
from tests.strategies_in_conf import NAMES, strategy_of
from tests.test_slots import GOSSIP


def assert_same(over_nodes, here, tolerance=0.0):
    (_, state, ledger), (_, expected, records) = over_nodes, here
    for ours, theirs in zip(leaves(state.server), leaves(expected.server), strict=True):
        assert ours.shape == theirs.shape
        assert not ours.numel() or float((ours - theirs).abs().max()) <= tolerance
    for ours, theirs in zip(ledger.records, records.records, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)
    assert state.sim_seconds == expected.sim_seconds


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("nodes", [1, 3, 5, 7])
def test_every_strategy(name, nodes):
    sim = simulation(strategy_of(name))
    rig = Rig(sim, nodes)
    over, here = rig.run(), in_process(sim)
    assert_same(over, here)
    models = rig.models(*over[:2])
    assert torch.equal(models, sim.population.models(sim, here[1]))


def test_each_client_its_own_row():
    sim = simulation(GOSSIP)
    rig = Rig(sim, 3)
    over, here = rig.run(), in_process(sim)
    assert len(over[1].server.anchor) == len(SIZES)
    assert_same(over, here)
    assert torch.equal(rig.models(*over[:2]), sim.population.models(sim, here[1]))


@pytest.mark.parametrize("name", NAMES)
def test_vmapped_on_every_node(name):
    sim = simulation(strategy_of(name), runtime=Vmapped())
    assert_same(Rig(sim, 2).run(), in_process(sim), tolerance=1e-12)


@pytest.mark.parametrize("make", [local_sgd, double_compression])
def test_sampled_and_dropped_clients(make):
    sim = simulation(
        make(0.1, 3), rounds=8, participation=0.6, faults=DropOut(0.4), dtype=torch.float32
    )
    over = Rig(sim, 3).run()
    assert_same(over, in_process(sim))
    answered = [int((record.steps > 0).sum()) for record in over[2].records]
    assert 0 < sum(answered) < 8 * 3


@pytest.mark.parametrize("name", NAMES)
def test_the_ledger_counts_what_travels(name):
    # One client on each node: then nothing is shared on the way.
    sim = simulation(strategy_of(name))
    rig = Rig(sim, len(SIZES))
    _, state, _ = rig.run()
    down, up = 0, 0
    for message in rig.messages:
        if message.metadata.message_type != "train":
            continue
        for record in message.content.array_records.values():
            sent = sum(len(array.data) for array in record.values())
            if message.metadata.reply_to_message_id:
                up += sent
            else:
                down += sent
    assert (up, down) == (state.uplink_bytes, state.downlink_bytes)
    assert up > OVERHEAD * len(SIZES)
