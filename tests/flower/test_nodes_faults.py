"""What goes wrong between server and nodes: a round is counted once or not at all."""

import struct
import zlib
from dataclasses import dataclass

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, MetricRecord

from fedlocal.rounds.faults import DropOut
from fedlocal.utils.arrays import IntArray
from fedlocal.vectors.trees import leaves
from strategies import double_compression, local_sgd, squarm_sgd, vrl_sgd
from tests.flower.rig import Rig, in_process
from tests.ragged import simulation

NODES = 5
STATEFUL = double_compression(0.1, 3, momentum=0.9)


@dataclass(frozen=True)
class Silent(DropOut):
    """One client that does not answer in one round, for the run in one process."""

    client: int = 0
    round_index: int = 0

    def answering(self, clients: IntArray, seed: int, round_index: int) -> IntArray:
        return clients[(clients != self.client) | (round_index != self.round_index)]


def lost_reply(client: int, round_index: int, times: int = 1):
    """A network that loses a node's reply of one round; one client lives on each node."""
    left = [times]

    def carry(message):
        data = message.metadata
        ours = data.message_type == "train" and data.group_id == str(round_index)
        partition = data.src_node_id % NODES
        if ours and data.reply_to_message_id and partition == client and left[0]:
            left[0] -= 1
            return ()
        return (message,)

    return carry


def twice(message):
    return (message, message)


def params(run) -> np.ndarray:
    return run[1].server.anchor.numpy()


def assert_equal_clients(rig: Rig, over, here):
    """The states that the nodes hold now are those of the run in one process."""
    np.testing.assert_array_equal(params(over), params(here))
    for ours, theirs in zip(leaves(over[1].server), leaves(here[1].server), strict=True):
        assert bool((ours == theirs).all())


@pytest.mark.parametrize("strategy", [local_sgd(0.1, 3, momentum=0.9), STATEFUL])
def test_a_lost_reply_is_a_client_that_did_not_answer(strategy, caplog):
    # Rounds after the loss show that the client's residual and buffer were rolled back.
    here = in_process(simulation(strategy, rounds=6, faults=Silent(client=2, round_index=1)))
    sim = simulation(strategy, rounds=6)
    rig = Rig(sim, NODES, carry=lost_reply(2, 1), timeout_seconds=3)
    over = rig.run()
    assert_equal_clients(rig, over, here)
    assert over[2].uplink_bytes == here[2].uplink_bytes
    # The server cannot know that the broadcast did arrive, so it sends the anchor itself.
    down, expected = (run[2].records[2].downlink_bytes for run in (over, here))
    assert (down[[0, 1, 3, 4]] == expected[[0, 1, 3, 4]]).all() and down[2] >= expected[2]
    assert "has not answered" in caplog.text


@pytest.mark.parametrize("strategy", [vrl_sgd(0.1, 3), squarm_sgd(0.1, 3)])
def test_a_method_that_needs_everyone_asks_again(strategy, caplog):
    sim = simulation(strategy, rounds=5)
    here = in_process(sim)
    rig = Rig(sim, NODES, carry=lost_reply(4, 2, times=2), timeout_seconds=3)
    rig.patience_seconds = 60
    over = rig.run()
    assert_equal_clients(rig, over, here)
    assert caplog.text.count("has not answered") == 2
    sent = [m.metadata for m in rig.messages if m.metadata.message_type == "train"]
    asked = [data for data in sent if data.group_id == "2" and not data.reply_to_message_id]
    # Only the node whose reply was lost is asked again.
    assert len(asked) == NODES + 2


def test_a_method_that_needs_everyone_gives_up_in_words():
    in_process(simulation(vrl_sgd(0.1, 3), rounds=1))
    rig = Rig(simulation(vrl_sgd(0.1, 3)), NODES, carry=lost_reply(4, 0, times=99))
    rig.timeout_seconds, rig.patience_seconds = 2, 3
    with pytest.raises(RuntimeError, match=r"partitions \[4\] gave no answer"):
        rig.run()


def test_messages_and_replies_that_come_twice_change_nothing():
    sim = simulation(STATEFUL)
    rig = Rig(sim, 2, carry=twice)
    over, here = rig.run(), in_process(sim)
    assert_equal_clients(rig, over, here)
    assert over[2].uplink_bytes == here[2].uplink_bytes


def forgetful(rig: Rig, partition: int, after_round: int):
    """A node that is restarted without what it kept."""

    def carry(message):
        if message.metadata.group_id == str(after_round + 1):
            node = list(rig.grid._nodes.values())[partition]
            if not getattr(rig, "forgot", False):
                rig.forgot = True
                node.context.state.clear()
        return (message,)

    return carry


def test_a_restarted_node_that_keeps_nothing(caplog):
    # Its anchor is gone too, so the change that was sent first is of no use to it.
    rig = Rig(simulation(STATEFUL, rounds=6), NODES)
    rig.carry = forgetful(rig, partition=3, after_round=2)
    over = rig.run()
    assert "what clients [3] keep between rounds is gone here" in caplog.text
    assert "its clients [3] begin anew" in caplog.text
    assert "a change since round 2 came, and the anchor here is of round -1" in caplog.text
    answered = [int((record.steps > 0).sum()) for record in over[2].records]
    assert answered == [NODES] * 6


@pytest.mark.parametrize("strategy", [vrl_sgd(0.1, 3), squarm_sgd(0.1, 3)])
def test_half_of_a_pair_is_not_invented(strategy):
    rig = Rig(simulation(strategy), NODES)
    rig.carry = forgetful(rig, partition=3, after_round=1)
    with pytest.raises(RuntimeError, match=r"clients \[3\].*is gone here.*state=FOLDER"):
        rig.run()


def test_a_client_without_state_loses_nothing(caplog):
    sim = simulation(local_sgd(0.1, 3))
    rig = Rig(sim, NODES)
    rig.carry = forgetful(rig, partition=3, after_round=1)
    np.testing.assert_array_equal(params(rig.run()), params(in_process(sim)))
    assert "gone" not in caplog.text


def test_a_folder_keeps_the_state_of_a_restarted_node(tmp_path, caplog):
    sim = simulation(vrl_sgd(0.1, 3))
    rig = Rig(sim, NODES, state_folder=str(tmp_path))
    rig.carry = forgetful(rig, partition=3, after_round=1)
    assert_equal_clients(rig, rig.run(), in_process(sim))
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        *map(str, range(NODES)),
        *["run.npz"] * NODES,
    ]
    assert "gone" not in caplog.text


# What an answer may be instead of what it should be; gets the sound payload.
def _replaced(data: bytes, at: int, new: bytes) -> bytes:
    changed = data[:at] + new + data[at + len(new) :]
    head, body = changed[:28], changed[32:]
    return head + struct.pack("<I", zlib.crc32(body, zlib.crc32(head))) + body


def _array(data: bytes, **fields) -> Array:
    sound = {
        "dtype": "uint8",
        "shape": (len(data),),
        "stype": "fedlocal.payload",
        "data": data,
    }
    return Array(**(sound | fields))


WRONG = {
    "dtype": (lambda d: _array(d, dtype="float32"), "was expected"),
    "shape": (lambda d: _array(d[:-8]), "was expected"),
    "huge": (lambda d: _array(d, shape=(10**15,)), "was expected"),
    "declared": (lambda d: _array(d[:-8], shape=(len(d),)), "it holds"),
    "checksum": (lambda d: _array(d[:-8] + b"\0" * 8), "checksum"),
    "nan": (lambda d: _array(_replaced(d, 40, struct.pack("<d", float("nan")))), "NaN"),
    "version": (lambda d: _array(_replaced(d, 2, b"\x09")), "version 1"),
    "precision": (lambda d: _array(_replaced(d, 3, b"\x01")), "dtype code"),
    "client": (lambda d: _array(_replaced(d, 4, b"\x02")), "was expected, got one of 2"),
    "round": (lambda d: _array(_replaced(d, 8, b"\x07")), "in round 7"),
    "steps": (lambda d: _array(_replaced(d, 16, b"\x63")), "local steps was expected, got 99"),
    "numpy": (lambda d: Array(np.zeros(3)), "was expected"),
    "absent": (lambda d: None, "nothing of client 3"),
}


def spoiled(change, round_index: int):
    def tamper(partition, kind, content):
        if kind != "train" or partition != 3:
            return content
        tamper.calls += 1
        if tamper.calls != round_index + 1:
            return content
        array = change(content.array_records["uploads"]["client-3"].data)
        arrays = {} if array is None else {"client-3": array}
        content["uploads"] = ArrayRecord(arrays)
        return content

    tamper.calls = 0
    return tamper


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_upload_is_refused_and_the_run_goes_on(wrong, caplog):
    change, says = WRONG[wrong]
    strategy = local_sgd(0.1, 3, momentum=0.9)
    over = Rig(simulation(strategy), NODES, tamper=spoiled(change, 1)).run()
    here = in_process(simulation(strategy, faults=Silent(client=3, round_index=1)))
    np.testing.assert_array_equal(params(over), params(here))
    line = next(r.getMessage() for r in caplog.records if "is refused" in r.getMessage())
    assert line.startswith("client 3 in round 1 is refused: ") and says in line


def test_a_wrong_upload_is_asked_for_again_where_everyone_is_needed(caplog):
    sim = simulation(vrl_sgd(0.1, 3))
    over = Rig(sim, NODES, tamper=spoiled(WRONG["checksum"][0], 1)).run()
    np.testing.assert_array_equal(params(over), params(in_process(sim)))
    assert "checksum" in caplog.text


def test_another_version_of_the_reply(caplog):
    def tamper(partition, kind, content):
        if kind == "train" and partition == 1:
            content["about"] = MetricRecord({"version": 2, "seconds": 0.0})
        return content

    rig = Rig(simulation(local_sgd(0.1, 3), rounds=1), NODES, tamper=tamper)
    _, _, ledger = rig.run()
    assert ledger.records[0].steps.tolist() == [3, 0, 3, 3, 3]
    assert "a reply of version 1 was expected, got 2" in caplog.text


def test_a_machine_with_another_strategy_is_left_out(caplog):
    rig = Rig(
        simulation(local_sgd(0.1, 3)),
        2,
        digest=lambda partition, digest: "0" * 64 if partition else digest,
    )
    rig.patience_seconds = 1
    with pytest.raises(TimeoutError, match=r"partitions \[1\] of 2"):
        rig.run()
    assert "both need the same fedlocal, the same overrides" in caplog.text


def test_a_failing_client_app_is_a_client_that_did_not_answer(caplog):
    def tamper(partition, kind, content):
        if kind == "train" and partition == 0:
            raise OSError("the disk is full")
        return content

    _, _, ledger = Rig(simulation(local_sgd(0.1, 3), rounds=1), NODES, tamper=tamper).run()
    assert ledger.records[0].steps.tolist() == [0, 3, 3, 3, 3]
    assert "its ClientApp failed" in caplog.text and "the disk is full" in caplog.text
