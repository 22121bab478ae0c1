"""Clients on Flower's nodes do what clients in one process do, to the bit and to the byte."""

from itertools import cycle

import numpy as np
import pytest
import torch

from fedlocal.rounds.faults import DropOut
from fedlocal.rounds.message_bytes import OVERHEAD
from fedlocal.runtime import Vmapped
from fedlocal.slots.compress import TopK
from fedlocal.vectors.trees import leaves
from strategies import double_compression, local_sgd, squarm_sgd
from tests.choices import sample
from tests.flower.rig import Rig, in_process
from tests.ragged import SIZES, simulation
from tests.strategies_in_conf import NAMES, strategy_of


def assert_same(over_nodes, here, tolerance=0.0):
    (_, state, ledger), (_, expected, records) = over_nodes, here
    for ours, theirs in zip(leaves(state.server), leaves(expected.server), strict=True):
        assert ours.shape == theirs.shape
        assert not ours.numel() or float((ours - theirs).abs().max()) <= tolerance
    for ours, theirs in zip(ledger.records, records.records, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)
    assert state.sim_seconds == expected.sim_seconds


def rig_of(sim, nodes):
    """The clients on nodes, unless the method has messages that do not travel so."""
    if sim.strategy.mixing.polls:
        with pytest.raises(ValueError, match="in the middle of a round"):
            Rig(sim, nodes)
        pytest.skip("refused over nodes")
    return Rig(sim, nodes)


# Two nodes and one for each client are below.
@pytest.mark.parametrize(("name", "nodes"), sample(zip(NAMES, cycle([1, 3, 7]), strict=False), 2))
def test_every_strategy(name, nodes):
    sim = simulation(strategy_of(name), rounds=3)
    rig = rig_of(sim, nodes)
    over, here = rig.run(), in_process(sim)
    assert_same(over, here)
    models = rig.models(*over[:2])
    assert torch.equal(models, sim.population.models(sim, here[1]))


def test_each_client_its_own_row():
    # The threshold lets some pass and not others, whose messages are shorter.
    sim = simulation(squarm_sgd(0.1, 3, compressor=TopK(0.4), threshold=300.0), rounds=6)
    rig = Rig(sim, 3)
    over, here = rig.run(), in_process(sim)
    assert len(over[1].server.anchor) == len(SIZES)
    assert len({int(up) for record in over[2].records for up in record.uplink_bytes}) == 2
    assert_same(over, here)
    assert torch.equal(rig.models(*over[:2]), sim.population.models(sim, here[1]))


def test_averaged_iterates_come_from_the_clients():
    sim = simulation(local_sgd(0.1, 3, average_shift=2.0))
    rig = Rig(sim, 3)
    over, here = rig.run(), in_process(sim)
    assert_same(over, here)
    assert torch.equal(rig.models(*over[:2]), sim.population.models(sim, here[1]))


# By default one of each kind: plain, drift correction, residuals, own models, neighbours, surveys.
VMAPPED = {"local_sgd", "vrl_sgd", "double_compression", "easgd", "squarm_sgd", "mime"}


@pytest.mark.parametrize(
    "name",
    [name if name in VMAPPED else pytest.param(name, marks=pytest.mark.slow) for name in NAMES],
)
def test_vmapped_on_every_node(name):
    sim = simulation(strategy_of(name), rounds=3, runtime=Vmapped())
    assert_same(rig_of(sim, 2).run(), in_process(sim), tolerance=1e-12)


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
    # One client on each node: then nothing is shared on the way. The second round sends changes.
    sim = simulation(strategy_of(name), rounds=2)
    rig = rig_of(sim, len(SIZES))
    _, state, ledger = rig.run()
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
    assert up > OVERHEAD * len(SIZES)
    if sim.strategy.mixing.links(0, len(SIZES)) is None:
        assert (up, down) == (state.uplink_bytes, state.downlink_bytes)
    else:
        # Relayed here, and counted as what neighbours would send each other.
        assert up == sum(sent_once(sim, record).sum() for record in ledger.records)
        assert state.uplink_bytes == state.downlink_bytes


def sent_once(sim, record):
    links = sim.strategy.mixing.links(record.round_index, len(SIZES))
    return record.uplink_bytes // links.sum(1)
