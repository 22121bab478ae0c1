"""The ledger against the bytes: every upload and every broadcast of a run is really packed.

Each client here is a replica that lives on bytes alone: it unpacks what it is sent, adds the change
or takes the model, and must hold the server's anchor to the bit.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch

import fedlocal.rounds.synchronous
from fedlocal import DropOut
from fedlocal.rounds.ledger import Ledger, RoundRecord
from fedlocal.rounds.message_bytes import Header, dense_layout, pack, unpack
from fedlocal.rounds.server import server_round
from fedlocal.runtime import Loop
from fedlocal.slots.compress import (
    QSGD,
    Natural,
    PerLayer,
    QuantisedTopK,
    RandomK,
    ScaledSign,
    TopK,
)
from fedlocal.slots.sampling import UniformSampling
from fedlocal.vectors.rng import Purpose, generator
from fedlocal.vectors.trees import take
from strategies.double_compression import double_compression
from strategies.fedavg import fedavg
from strategies.local_sgd import local_sgd
from strategies.qsparse_local_sgd import qsparse_local_sgd
from strategies.vrl_sgd import vrl_sgd
from tests.problems import half_squared_error, simulate, two_layers

ROUNDS, SEED = 8, 3


@dataclass
class Wire:
    """A runtime that keeps the uploads, and a server round that keeps the broadcasts."""

    uploads: list = field(default_factory=list)
    before: list = field(default_factory=list)
    after: list = field(default_factory=list)
    messages: list = field(default_factory=list)
    strategy: object = None
    loop: object = None
    about = "kept"

    def runner(self, client, ahead):
        return replace(self, loop=Loop().runner(client, ahead))

    def run(self, states, inbox, plan):
        states, uploads = self.loop.run(states, inbox, plan)
        self.uploads.append((plan, uploads))
        return states, uploads

    def server_round(self, strategy, state, *rest):
        after, message = server_round(strategy, state, *rest)
        self.strategy = strategy
        self.before.append(state)
        self.after.append(after)
        self.messages.append(message)
        return after, message


def run(monkeypatch, strategy, dtype, **options):
    wire = Wire()
    monkeypatch.setattr(fedlocal.rounds.synchronous, "server_round", wire.server_round)
    problem = two_layers()
    result = fedlocal.simulate(
        problem.model(),
        problem.clients,
        strategy,
        rounds=ROUNDS,
        batch_size=3,
        loss=half_squared_error,
        seed=SEED,
        runtime=wire,
        device="cpu",
        dtype=dtype,
        **options,
    )
    return result, wire


def packed_uploads(wire, t, size, dtype):
    plan, uploads = wire.uploads[t]
    for row, client in enumerate(plan.clients):
        mine = take(uploads, row)
        reports = (mine.inner, mine.correction)
        header = Header(int(client), t, 9, int(plan.steps[row]), float(mine.loss))
        layout = (wire.strategy.uplink.layout(size), dense_layout(reports))
        yield int(client), pack(header, (mine.message, reports), layout, dtype)


def packed_broadcast(wire, t, current, dtype):
    """What a client is sent at the beginning of round t, and how it reads it."""
    state, size = wire.before[t], wire.before[t].anchor.shape[1]
    controls = (state.inner, state.correction)
    dense = (dense_layout(state.anchor[0]), dense_layout(controls))
    whole = pack(Header(0, t), (state.anchor[0], controls), dense, dtype)
    if not current:
        return whole, dense, False
    layout = (wire.strategy.downlink.layout(size), dense_layout(controls))
    message = (take(wire.messages[t - 1], 0), controls)
    change = pack(Header(0, t), message, layout, dtype)
    return (change, layout, True) if len(change) < len(whole) else (whole, dense, False)


STRATEGIES = {
    "double_compression": double_compression(0.05, 2, TopK(0.2), TopK(0.2)),
    "double_compression, random": double_compression(0.05, 2, RandomK(0.2), QSGD(4), momentum=0.9),
    "double_compression, layers": double_compression(
        0.05, 2, PerLayer(ScaledSign()), PerLayer(TopK(0.2))
    ),
    "double_compression, longer than dense": double_compression(0.05, 2, Natural(), TopK(1.0)),
    "qsparse_local_sgd": qsparse_local_sgd(0.05, 2, QuantisedTopK(TopK(0.3), QSGD(4))),
    "local_sgd, average": local_sgd(0.05, 3, momentum=0.9, buffers="average"),
    "fedavg": fedavg(0.05, epochs=1),
}
TAKING_PART = {
    "all": {},
    "half": {"participation": 0.5},
    "half, faulty": {"participation": 0.6, "faults": DropOut(0.3)},
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("options", TAKING_PART.values(), ids=TAKING_PART)
@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
def test_the_ledger_counts_real_bytes(monkeypatch, strategy, options, dtype):
    check(monkeypatch, strategy, options, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_ledger_counts_real_bytes_of_vrl_sgd(monkeypatch, dtype):
    check(monkeypatch, vrl_sgd(0.05, 3), {}, dtype)


def check(monkeypatch, strategy, options, dtype):
    result, wire = run(monkeypatch, strategy, dtype, **options)
    records, size = result.ledger.records, len(result.params)
    assert len(wire.uploads) == len(records) == ROUNDS  # somebody answered in every round
    up = down = 0
    held = {}  # client -> (round, anchor) it received last
    for t, record in enumerate(records):
        sent = dict(packed_uploads(wire, t, size, dtype))
        for i, client in enumerate(record.clients.tolist()):
            assert record.uplink_bytes[i] == len(sent.get(client, b""))
            up += len(sent.get(client, b""))

            current = client in held and held[client][0] == t - 1
            data, layout, is_change = packed_broadcast(wire, t, current, dtype)
            assert record.downlink_bytes[i] == len(data)
            down += len(data)
            message = unpack(data, layout, dtype)[1][0]
            if is_change:
                count = wire.strategy.downlink.noise_size(size)
                draws = generator(SEED, Purpose.DOWNLINK, 0, t - 1).random(count)
                noise = torch.from_numpy(draws).to(dtype)
                message = held[client][1] + wire.strategy.downlink.decode(message, noise, size)
            held[client] = (t, message)
            assert torch.equal(message, wire.before[t].anchor[0])
        assert set(sent) <= set(record.clients.tolist())
        row = result.history[t]
        assert (row["uplink_bytes"], row["downlink_bytes"]) == (up, down)
    assert (result.ledger.uplink_bytes, result.ledger.downlink_bytes) == (up, down)
    assert torch.equal(wire.after[-1].anchor[0], result.params)


def test_the_cases_above_hold_what_they_are_for(monkeypatch):
    """Missed rounds, faults, and a broadcast that is shorter as a model than as a change."""
    faulty, _ = run(
        monkeypatch, STRATEGIES["double_compression"], torch.float32, **TAKING_PART["half, faulty"]
    )
    records = faulty.ledger.records
    assert len({int(n) for r in records[1:] for n in r.downlink_bytes}) == 2
    assert any(0 in r.uplink_bytes for r in records)
    longer = STRATEGIES["double_compression, longer than dense"]
    result, _ = run(monkeypatch, longer, torch.float32)
    size = len(result.params)
    assert result.ledger.downlink_bytes == ROUNDS * 5 * (32 + 4 * size)


def test_two_rounds_by_hand():
    """P = 24 in float64: 32 + 192 bytes of model, 5 values and 5 indices of 5 bits = 32 + 44."""
    result = simulate(two_layers(), STRATEGIES["double_compression"], 2)
    first, second = result.ledger.records
    assert first.clients.tolist() == [0, 1, 2, 3, 4] and first.steps.tolist() == [2] * 5
    assert first.downlink_bytes.tolist() == [224] * 5  # nobody holds a model yet
    assert first.uplink_bytes.tolist() == [76] * 5
    assert second.downlink_bytes.tolist() == [76] * 5
    assert second.uplink_bytes.tolist() == [76] * 5
    assert [row["uplink_bytes"] for row in result.history] == [380, 760]
    assert [row["downlink_bytes"] for row in result.history] == [1120, 1500]


def test_averaged_buffers_double_both_links():
    plain = simulate(two_layers(), local_sgd(0.05, 2, momentum=0.9), 2).ledger
    shared = simulate(two_layers(), local_sgd(0.05, 2, momentum=0.9, buffers="average"), 2).ledger
    for before, after in zip(plain.records, shared.records, strict=True):
        assert before.uplink_bytes.tolist() == before.downlink_bytes.tolist() == [32 + 192] * 5
        assert after.uplink_bytes.tolist() == after.downlink_bytes.tolist() == [32 + 2 * 192] * 5


def test_who_missed_a_round_is_sent_the_whole_model():
    strategy = STRATEGIES["double_compression"]
    result = simulate(two_layers(), strategy, 12, participation=0.4, seed=SEED)
    last: dict[int, int] = {}
    kinds = set()
    for t, record in enumerate(result.ledger.records):
        assert record.clients.tolist() == UniformSampling().cohort(5, 0.4, SEED, t).tolist()
        for client, got in zip(record.clients.tolist(), record.downlink_bytes, strict=True):
            fresh = last.get(client) == t - 1 and t > 0
            assert got == (76 if fresh else 224)
            kinds.add(fresh)
            last[client] = t
    assert kinds == {True, False}


def test_who_does_not_answer_costs_a_broadcast_and_nothing_else():
    faults = DropOut(0.5)
    result = simulate(two_layers(), local_sgd(0.05, 2), 10, faults=faults, seed=SEED)
    seen = set()
    for record in result.ledger.records:
        silent = ~np.isin(
            record.clients, faults.answering(record.clients, SEED, record.round_index)
        )
        assert record.downlink_bytes.tolist() == [224] * 5
        assert (record.uplink_bytes == np.where(silent, 0, 224)).all()
        assert (record.steps == np.where(silent, 0, 2)).all()
        seen |= set(silent.tolist())
    assert seen == {True, False}


def test_a_round_in_which_nobody_answers():
    result = simulate(two_layers(), local_sgd(0.05, 2), 3, faults=DropOut(1.0))
    assert result.ledger.uplink_bytes == 0
    assert result.ledger.downlink_bytes == 3 * 5 * 224
    assert torch.equal(result.params, torch.from_numpy(two_layers().start))


def test_totals():
    counts = np.array([1, 2])
    record = RoundRecord(0, np.array([0, 1]), counts, 10 * counts, 100 * counts)
    ledger = Ledger((record, record))
    assert (ledger.uplink_bytes, ledger.downlink_bytes) == (60, 600)
    assert (Ledger().uplink_bytes, Ledger().downlink_bytes) == (0, 0)
    assert isinstance(ledger.uplink_bytes, int)
