"""Gradients over all of a client's data over nodes: in a first exchange, and in reports."""

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord

from fedlocal.flower.records import answer_array, bytes_array
from fedlocal.rounds.message_bytes import Header, dense_layout, pack
from strategies import mime, scaffold
from tests.flower.rig import Rig, in_process
from tests.flower.test_nodes import assert_same
from tests.flower.test_nodes_faults import NODES, Silent, lost_reply
from tests.ragged import simulation

MIME = mime(0.1, 3)


@pytest.mark.parametrize("strategy", [mime(0.1, 3, lite=True), scaffold(0.1, 3, option="I")])
@pytest.mark.parametrize("nodes", [1, 3])
def test_full_gradients_travel_with_the_upload(strategy, nodes):
    sim = simulation(strategy)
    assert_same(Rig(sim, nodes).run(), in_process(sim))


def test_a_lost_gradient_is_a_client_that_did_not_answer():
    here = in_process(simulation(MIME, faults=Silent(client=2, round_index=1)))
    # The first reply of the round is the one with the gradient.
    over = Rig(simulation(MIME), NODES, carry=lost_reply(2, 1), timeout_seconds=3).run()
    assert_same_run(over, here)


def assert_same_run(over, here):
    assert torch.equal(over[1].server.anchor, here[1].server.anchor)
    for ours, theirs in zip(over[1].server.correction, here[1].server.correction, strict=True):
        assert torch.equal(ours, theirs)
    assert over[2].uplink_bytes == here[2].uplink_bytes


def second_reply_lost(client: int, round_index: int):
    """Loses a node's second reply of a round: the one with the change."""
    seen = []

    def carry(message):
        data = message.metadata
        ours = data.message_type == "train" and data.group_id == str(round_index)
        if ours and data.reply_to_message_id and data.src_node_id % NODES == client:
            seen.append(message)
            return () if len(seen) == 2 else (message,)
        return (message,)

    return carry


def test_a_lost_change_leaves_the_gradient_that_came_before_it():
    sim = simulation(MIME, rounds=1)
    over = Rig(sim, NODES, carry=second_reply_lost(2, 0), timeout_seconds=3).run()
    here = in_process(sim)
    assert torch.equal(over[1].server.correction.mean, here[1].server.correction.mean)
    assert not torch.equal(over[1].server.anchor, here[1].server.anchor)
    record = over[2].records[0]
    assert (record.steps > 0).tolist() == [True, True, False, True, True]
    # The gradient did travel, the change did not.
    size = 8 * len(sim.start)
    others = record.uplink_bytes[record.steps > 0]
    assert size < record.uplink_bytes[2] < 2 * size < others.min()


@pytest.mark.parametrize("wrong", ["infinite", "short"])
def test_a_gradient_that_cannot_be_used_is_refused(wrong, caplog):
    sim = simulation(MIME)
    once = []

    def tamper(partition, kind, content):
        if partition != 2 or kind != "train" or once:
            return content
        once.append(answer_array(content, 2))
        vector = torch.full_like(sim.start, np.inf)
        data = pack(Header(2, 0), vector, dense_layout(vector), vector.dtype)
        data = data if wrong == "infinite" else data[:-1]
        content["uploads"] = ArrayRecord({"client-2": bytes_array(data)})
        return content

    over = Rig(sim, NODES, tamper=tamper).run()
    here = in_process(simulation(MIME, faults=Silent(client=2, round_index=0)))
    assert_same_run(over, here)
    assert "NaN or infinite" in caplog.text or "was expected" in caplog.text


def test_a_round_in_which_nobody_sends_a_gradient_changes_nothing():
    sim = simulation(MIME, rounds=2)

    def carry(message):
        data = message.metadata
        silent = data.message_type == "train" and data.reply_to_message_id
        return () if silent and data.group_id == "1" else (message,)

    over = Rig(sim, NODES, carry=carry, timeout_seconds=2).run()
    here = in_process(simulation(MIME, rounds=1))
    assert_same_run(over, here)
