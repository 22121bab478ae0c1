"""Buffers, random layers, personal heads and weighted losses on nodes: the run in one process."""

from dataclasses import replace
from itertools import cycle

import numpy as np
import pytest
import torch

from fedlocal.api import finish, prepare
from fedlocal.flower.node import Node, clients_of
from fedlocal.flower.records import read_state
from fedlocal.objective.losses import CrossEntropy
from fedlocal.objective.options import ModelOptions
from fedlocal.rounds.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fedlocal.rounds.client import ClientState
from fedlocal.rounds.clock import Clock
from fedlocal.rounds.deadline import Deadline
from fedlocal.rounds.definition import Environment, Method, Observation, Problem
from fedlocal.rounds.diagnostics import OF_GRADIENTS
from fedlocal.rounds.faults import DropOut
from fedlocal.rounds.fingerprint import run_digest
from fedlocal.rounds.message_formats import MessageFormats
from fedlocal.rounds.payload import check_messages
from fedlocal.rounds.run_loop import initial_progress, run
from fedlocal.rounds.state import Simulation
from fedlocal.runtime import Loop, Vmapped
from fedlocal.vectors.trees import concatenate, leaves, take
from strategies import async_local_sgd, double_compression, fedavg, local_sgd, mime
from tests.flower.own_model import made, spread
from tests.flower.rig import Rig
from tests.flower.test_nodes_faults import Silent, forgetful, lost_reply
from tests.ragged import SIZES, ragged_clients

NODES = 3
EMPTY = ("train_loss", "test_loss", "test_accuracy")


COUNTED = (local_sgd(0.1, 3), double_compression(0.1, 3))
WEIGHTS = [0.5, 2.0, 1.0]
# Layers, the loss, and what becomes of the model's parts.
KINDS = {
    "averaged": (["batch_norm"], CrossEntropy(), ModelOptions()),
    "averaged_inputs": (["inputs"], CrossEntropy(), ModelOptions()),
    "personal_buffers": (["batch_norm"], CrossEntropy(), ModelOptions(buffers="personal")),
    "frozen_buffers": (["batch_norm"], CrossEntropy(), ModelOptions(buffers="frozen")),
    "dropout": (["dropout"], CrossEntropy(), ModelOptions()),
    "personal_head": ([], CrossEntropy(), ModelOptions(personal=["head"])),
    "two_phases": (["dropout"], CrossEntropy(), ModelOptions(personal=["head"], personal_steps=2)),
    "frozen_layer": (["batch_norm"], CrossEntropy(), ModelOptions(frozen=["body.1"])),
    "class_weights": ([], CrossEntropy(WEIGHTS), ModelOptions()),
    "balanced": ([], CrossEntropy("balanced"), ModelOptions()),
    "whole_batch": ([], spread, ModelOptions()),
    "all": (
        ["batch_norm", "dropout"],
        CrossEntropy(WEIGHTS),
        ModelOptions(personal=["head"], l2=1e-2),
    ),
    "all_personal": (
        ["batch_norm", "dropout"],
        CrossEntropy("balanced"),
        ModelOptions(personal=["head"], buffers="personal"),
    ),
}


def simulation(
    kind: str,
    strategy,
    runtime=None,
    rounds: int = 3,
    participation: float = 1.0,
    diagnostics=(),
    **given,
) -> Simulation:
    layers, loss, options = KINDS[kind]
    clients = ragged_clients()
    return prepare(
        Problem(made(layers), clients, loss, clients[0], options),
        Method(strategy, rounds, 6, participation, 3),
        Environment(runtime or Loop(), "cpu", torch.float64, **given),
        Observation(diagnostics=diagnostics),
    )


def over_nodes(rig: Rig):
    with rig.grid.running():
        sim = rig.over_nodes()
        return run(sim, initial_progress(sim))


def kept(rig: Rig, remote) -> ClientState:
    """Return every client's state on its node after the last round that was counted."""
    found = []
    for partition, node in enumerate(rig.grid._nodes.values()):
        clients = clients_of(len(SIZES), partition, rig.num_nodes)
        fresh = Node(rig.sim, clients).init()
        state = read_state(node.context.state, remote.run, fresh)
        newer = state.rounds[1] == remote.counted[clients]
        assert (newer | (state.rounds[0] == remote.counted[clients])).all()
        rows = np.arange(len(clients)) + np.where(newer, len(clients), 0)
        found.append(take(state.states, torch.from_numpy(rows)))
    return concatenate(found)


def assert_same(ours, theirs, tolerance: float = 0.0) -> None:
    for a, b in zip(leaves(ours), leaves(theirs), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        assert not a.numel() or float((a - b).abs().max()) <= tolerance


def assert_same_run(rig: Rig, over, here, tolerance: float = 0.0) -> None:
    """Server, clients, rows and records of a run over nodes and of one in this process."""
    sim = rig.sim
    assert_same(over.state.server, here.state.server, tolerance)
    assert_same(kept(rig, over.state.clients), here.state.clients.everyone(), tolerance)
    absent = EMPTY if sim.has_personal else ()
    if sim.has_personal and sim.diagnostics:
        absent = (*absent, *sorted(OF_GRADIENTS))
    for ours, theirs in zip(over.history, here.history, strict=True):
        assert ours.keys() == theirs.keys()
        assert all(ours[key] is None and theirs[key] is not None for key in absent)
        for key in ours.keys() - {"wall_seconds", *absent}:
            assert ours[key] == pytest.approx(theirs[key], rel=tolerance, abs=tolerance), key
    for ours, theirs in zip(over.records, here.records, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


def trained_and_moved(sim: Simulation, here) -> None:
    """Fail if a part that should change in the run has not."""
    assert not torch.equal(here.state.server.anchor[0], sim.start)
    states = here.state.clients.everyone().own
    if sim.averaged_buffers != ():
        assert not torch.equal(here.state.server.buffers, sim.averaged_buffers)
    for part, start in zip(states.parts, sim.own, strict=True):
        assert part == () or all(not torch.equal(row, start) for row in part)


@pytest.mark.parametrize("strategy", [local_sgd(0.1, 3, momentum=0.9), double_compression(0.1, 3)])
@pytest.mark.parametrize("kind", KINDS)
def test_nodes_do_what_one_process_does(kind, strategy):
    sim = simulation(kind, strategy)
    rig = Rig(sim, NODES)
    over, here = over_nodes(rig), run(sim, initial_progress(sim))
    trained_and_moved(sim, here)
    assert_same_run(rig, over, here)


@pytest.mark.parametrize("kind", ["all", "all_personal"])
@pytest.mark.parametrize("nodes", [1, len(SIZES)])
def test_any_number_of_nodes(kind, nodes):
    sim = simulation(kind, fedavg(0.1, 2))
    rig = Rig(sim, nodes)
    assert_same_run(rig, over_nodes(rig), run(sim, initial_progress(sim)))


@pytest.mark.parametrize("kind", ["averaged", "all", "all_personal"])
def test_vmapped_on_every_node(kind):
    sim = simulation(kind, local_sgd(0.1, 3), runtime=Vmapped())
    rig = Rig(sim, 2)
    assert_same_run(rig, over_nodes(rig), run(sim, initial_progress(sim)), tolerance=1e-12)


@pytest.mark.parametrize("strategy", [local_sgd(0.1, 3, momentum=0.9), double_compression(0.1, 3)])
@pytest.mark.parametrize("kind", ["averaged", "all", "all_personal"])
def test_sampled_and_dropped_clients(kind, strategy):
    sim = simulation(kind, strategy, rounds=8, participation=0.6, faults=DropOut(0.4))
    rig = Rig(sim, NODES)
    over, here = over_nodes(rig), run(sim, initial_progress(sim))
    assert_same_run(rig, over, here)
    answered = [row["answered"] for row in over.history]
    assert 0 < sum(answered) < 8 * 3


@pytest.mark.parametrize("kind", ["averaged", "personal_head", "dropout"])
def test_diagnostics(kind):
    sim = simulation(kind, local_sgd(0.1, 3), diagnostics=True)
    rig = Rig(sim, NODES)
    assert_same_run(rig, over_nodes(rig), run(sim, initial_progress(sim)))


@pytest.mark.parametrize("kind", ["all", "all_personal"])
def test_late_clients(kind):
    clock = Clock("exponential", (0.01, 0.02, 0.05), 0.05, spread=0.3)
    sim = simulation(kind, local_sgd(0.1, 4), rounds=6)
    sim = replace(sim, clock=clock, deadline=Deadline(0.2, "next_round"))
    rig = Rig(sim, NODES)
    over = over_nodes(rig)
    assert_same_run(rig, over, run(sim, initial_progress(sim)))
    assert len({len(record.clients) for record in over.records}) > 1


@pytest.mark.parametrize("kind", ["all", "all_personal"])
def test_a_lost_reply_rolls_back_what_the_client_keeps(kind, caplog):
    strategy = local_sgd(0.1, 3, momentum=0.9)
    rig = Rig(simulation(kind, strategy), len(SIZES), carry=lost_reply(2, 1), timeout_seconds=3)
    over = over_nodes(rig)
    sim = simulation(kind, strategy, faults=Silent(client=2, round_index=1))
    here = run(sim, initial_progress(sim))
    assert_same(over.state.server, here.state.server)
    assert_same(kept(rig, over.state.clients), here.state.clients.everyone())
    assert "has not answered" in caplog.text


def test_nobody_waits_for_the_others():
    sim = simulation("all_personal", async_local_sgd(0.1, 3), rounds=12)
    rig = Rig(sim, NODES)
    over, here = over_nodes(rig), run(sim, initial_progress(sim))
    assert_same(over.state.server, here.state.server)
    assert [row["local_loss"] for row in over.history] == [r["local_loss"] for r in here.history]


@pytest.mark.parametrize("kind", ["personal_head", "personal_buffers", "all_personal"])
def test_surveys_of_gradients(kind):
    sim = simulation(kind, mime(0.1, 3))
    rig = Rig(sim, NODES)
    assert_same_run(rig, over_nodes(rig), run(sim, initial_progress(sim)))


def test_surveys_have_no_averaged_buffers():
    line = "asks for gradients before the round, in messages without the model's buffers"
    with pytest.raises(ValueError, match=line):
        check_messages(simulation("averaged", mime(0.1, 3)))


# Each kind with one of the two by default, in turn.
@pytest.mark.parametrize(
    ("kind", "strategy"),
    [
        *zip(KINDS, cycle(COUNTED), strict=False),
        *(
            pytest.param(kind, strategy, marks=pytest.mark.slow)
            for kind, strategy in zip(KINDS, cycle(reversed(COUNTED)), strict=False)
        ),
    ],
)
def test_the_ledger_counts_what_travels(kind, strategy):
    # One client on each node: then nothing is shared on the way. The second round sends changes.
    sim = simulation(kind, strategy, rounds=2)
    rig = Rig(sim, len(SIZES))
    state = over_nodes(rig).state
    sent = {True: 0, False: 0}
    for message in rig.messages:
        if message.metadata.message_type == "train":
            arrays = [a for r in message.content.array_records.values() for a in r.values()]
            size = sum(len(array.data) for array in arrays)
            sent[bool(message.metadata.reply_to_message_id)] += size
    assert sent == {True: state.uplink_bytes, False: state.downlink_bytes}


def test_personal_parts_are_in_no_message():
    sim = simulation("all_personal", local_sgd(0.1, 3))
    form: MessageFormats = sim.messages
    body = sum(p.numel() for p in sim.objective.model.body.parameters())
    for each in (form.upload, form.whole, form.change):
        assert sum(leaf.numel() for leaf in leaves(each.sample)) == body
    average = simulation("all", local_sgd(0.1, 3)).messages
    buffers = 6 + 6 + 1
    for each in (average.upload, average.whole):
        assert sum(leaf.numel() for leaf in leaves(each.sample)) == body + buffers


@pytest.mark.parametrize("kind", ["all", "all_personal"])
def test_a_server_goes_on_from_its_checkpoint(tmp_path, kind):
    sim = simulation(kind, local_sgd(0.1, 3, momentum=0.9), rounds=6)
    rig = Rig(sim, NODES)

    def stop(progress) -> None:
        # Saved a round ago, so that the nodes are a round ahead.
        if progress.state.round_index == 3:
            save_checkpoint(tmp_path, Checkpoint("", progress))
        if progress.state.round_index == 4:
            raise InterruptedError

    with rig.grid.running():
        remote = rig.over_nodes()
        with pytest.raises(InterruptedError):
            run(remote, initial_progress(remote), stop)
        saved = load_checkpoint(tmp_path, sim.start.device)
        assert saved is not None and len(saved.progress.history) == 3
        over = run(remote, saved.progress)
    assert_same_run(rig, over, run(sim, initial_progress(sim)))


@pytest.mark.parametrize("kind", ["personal_head", "personal_buffers"])
def test_personal_parts_that_are_gone_end_the_run(kind):
    rig = Rig(simulation(kind, local_sgd(0.1, 3)), len(SIZES))
    rig.carry = forgetful(rig, partition=3, after_round=1)
    with pytest.raises(RuntimeError, match=r"clients \[3\] keep.* is gone here.*state=FOLDER") as e:
        over_nodes(rig)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("kind", ["all", "all_personal"])
def test_a_folder_keeps_personal_parts(tmp_path, kind, caplog):
    sim = simulation(kind, local_sgd(0.1, 3))
    rig = Rig(sim, len(SIZES), state_folder=str(tmp_path))
    rig.carry = forgetful(rig, partition=3, after_round=1)
    assert_same(over_nodes(rig).state.server, run(sim, initial_progress(sim)).state.server)
    assert "gone" not in caplog.text


def test_averaged_buffers_are_lost_by_nobody(caplog):
    sim = simulation("averaged", local_sgd(0.1, 3))
    rig = Rig(sim, len(SIZES))
    rig.carry = forgetful(rig, partition=3, after_round=1)
    assert_same(over_nodes(rig).state.server, run(sim, initial_progress(sim)).state.server)
    assert "gone" not in caplog.text


def digest_of(change, options: ModelOptions, dtype: torch.dtype | None = None) -> str:
    """Fingerprint of a run whose model has been changed before it."""
    model = made(["batch_norm"])
    model.register_buffer("scale", torch.ones(2, dtype=torch.bfloat16))
    with torch.no_grad():
        change(model)
    sim = prepare(
        Problem(model, ragged_clients(), CrossEntropy(), options=options),
        Method(local_sgd(0.1, 3), 1, 6, seed=3),
        Environment(Loop(), "cpu", dtype),
        Observation(),
    )
    return run_digest(sim)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("head.bias", ModelOptions(personal=["head"])),
        ("head.bias", ModelOptions(frozen=["head"])),
        ("scale", ModelOptions()),
        ("body.2.running_var", ModelOptions()),
        ("body.2.running_var", ModelOptions(buffers="personal")),
        ("body.2.running_var", ModelOptions(buffers="frozen")),
    ],
)
def test_machines_whose_own_parts_differ_are_told_apart(name, options):
    def moved(model) -> None:
        tensors = dict(model.named_parameters()) | dict(model.named_buffers())
        tensors[name] += 0.5

    same = [digest_of(lambda model: None, options) for _ in range(2)]
    assert same[0] == same[1] != digest_of(moved, options)


def test_machines_with_other_phases_are_told_apart():
    options = [ModelOptions(personal=["head"], personal_steps=steps) for steps in (0, 1)]
    assert len({digest_of(lambda model: None, each) for each in options}) == 2


def test_a_finished_run_has_the_digest_that_it_had():
    # The model that it leaves shares its tensors with the objective.
    sim = simulation("all", local_sgd(0.1, 3), rounds=1)
    before = run_digest(sim)
    finish(sim, run(sim, initial_progress(sim)))
    assert run_digest(sim) == before
