"""A finished run under another clock has the seconds that it would have had."""

from dataclasses import replace

import numpy as np
import pytest

from fedlocal import Clock, DropOut
from fedlocal.rounds.clock import Pareto
from fedlocal.rounds.deadline import Deadline
from fedlocal.rounds.ledger import Ledger, load_ledger, save_ledger
from fedlocal.rounds.retimed import clock_decided, replay
from fedlocal.slots.period import AdaComm
from strategies.anytime_minibatch import anytime_minibatch
from strategies.async_local_sgd import async_local_sgd
from strategies.dynamic_averaging import dynamic_averaging
from strategies.fedavg import fedavg
from strategies.local_sgd import local_sgd
from strategies.mime import mime
from strategies.overlap_local_sgd import overlap_local_sgd
from tests import ragged
from tests.problems import least_squares, simulate

PROBLEM = least_squares()
OTHER = Clock(
    law=Pareto(2.5), seconds_per_step=[0.02, 0.3], latency_seconds=0.4, bandwidth_bytes=900.0,
    spread=0.7,
)  # fmt: skip


def seconds(result) -> list[float]:
    return [row["sim_seconds"] for row in result.history]


@pytest.mark.parametrize(
    ("strategy", "options"),
    [
        (fedavg(0.05, 3), {"participation": 0.6, "faults": DropOut(0.3)}),
        (overlap_local_sgd(0.05, 3), {}),
        (dynamic_averaging(0.05, 3, 0.01), {}),
        (mime(0.05, 3), {"participation": 0.6}),
    ],
)
def test_a_replayed_run_lasts_as_long_as_one_under_that_clock(strategy, options, tmp_path):
    here = simulate(PROBLEM, strategy, 6, seed=4, **options)
    there = simulate(PROBLEM, strategy, 6, seed=4, clock=OTHER, **options)
    assert seconds(here) != seconds(there)
    save_ledger(here.ledger, tmp_path / "ledger.npz")
    kept = load_ledger(tmp_path / "ledger.npz")
    assert replay(kept, OTHER, 4) == pytest.approx(seconds(there), rel=1e-14)
    assert replay(kept, Clock(), 4) == pytest.approx(seconds(here), rel=1e-14)


def test_a_file_gives_back_every_record(tmp_path):
    ledger = simulate(PROBLEM, fedavg(0.05, 3), 5, participation=0.6, faults=DropOut(0.5)).ledger
    save_ledger(ledger, tmp_path / "ledger.npz")
    for before, after in zip(ledger.records, load_ledger(tmp_path / "ledger.npz").records,
                             strict=True):  # fmt: skip
        for old, new in zip(before, after, strict=True):
            assert np.array_equal(old, new)
    save_ledger(Ledger(), tmp_path / "none.npz")
    assert load_ledger(tmp_path / "none.npz") == Ledger()


def test_another_file_is_refused(tmp_path):
    np.savez(tmp_path / "ledger.npz", clients=np.arange(3))
    with pytest.raises(ValueError, match="is no ledger: it has no downlink_bytes"):
        load_ledger(tmp_path / "ledger.npz")


def test_where_the_clock_decided_it_is_said():
    for strategy, options, reason in [
        (local_sgd(0.1, 3), {}, ""),
        (local_sgd(0.1, AdaComm(4)), {}, ""),
        (local_sgd(0.1, AdaComm(4, unit="seconds")), {}, "the period followed"),
        (anytime_minibatch(), {}, "the period followed"),
        (async_local_sgd(0.1, 3), {}, "updates were applied in the order"),
        (local_sgd(0.1, 3), {"deadline": Deadline(0.1, "drop")}, "a deadline decided"),
    ]:
        said = clock_decided(replace(ragged.simulation(strategy), **options))
        assert said.startswith(reason) and bool(said) == bool(reason)
