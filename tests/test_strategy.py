"""Which slots do not go together, and how the refusal reads."""

from dataclasses import dataclass, replace

import pytest

from fedlocal.slots import Correction, OuterOptimiser, Timing
from fedlocal.slots.compress import QSGD, ErrorFeedback, TopK
from fedlocal.slots.outer.sgd import OuterSGD
from fedlocal.slots.period import ConstantPeriod, Epochs
from fedlocal.slots.strategy import Strategy
from strategies.d_pasgd import d_pasgd
from strategies.local_sgd import local_sgd
from strategies.slowmo import SlowMomentum
from strategies.vrl_sgd import DriftCorrection, vrl_sgd


@pytest.mark.parametrize(
    ("slot", "piece", "reason"),
    [
        ("outer", SlowMomentum(), "the next anchor is the weighted mean"),
        ("outer", OuterSGD(lr=0.5), "the next anchor is the weighted mean"),
        ("outer", OuterSGD(momentum=0.9), "the next anchor is the weighted mean"),
        ("downlink", ErrorFeedback(TopK(0.1)), "every client receives the anchor exactly"),
        ("downlink", QSGD(4), "every client receives the anchor exactly"),
        ("period", Epochs(1), "all clients take the same number of local steps"),
    ],
)
def test_drift_correction_refuses_what_breaks_its_sum(slot, piece, reason):
    with pytest.raises(ValueError, match=reason) as refusal:
        replace(vrl_sgd(0.1, 5), **{slot: piece})
    # Both pieces are named, so that the reader knows what to change.
    assert repr(piece) in str(refusal.value)
    assert "DriftCorrection()" in str(refusal.value)


def test_drift_correction_allows_what_does_not():
    kept = replace(vrl_sgd(0.1, 5), uplink=ErrorFeedback(TopK(0.1)), downlink=TopK(1.0))
    assert isinstance(kept.correction, DriftCorrection)


@dataclass(frozen=True)
class Silent(Correction):
    """Says nothing of what it needs."""


@dataclass(frozen=True)
class Mute(OuterSGD):
    breaks = OuterOptimiser.breaks


def test_a_piece_that_says_nothing_is_not_trusted_with_more_than_it_needs():
    plain = local_sgd(0.1, 5)
    with pytest.raises(ValueError, match=r"Silent.*needs: a server averages the models"):
        replace(d_pasgd(0.1, 5), correction=Silent())
    with pytest.raises(ValueError, match=r"Silent.*needs: a round begins when"):
        replace(plain, correction=Silent(), timing=Timing.ASYNCHRONOUS)
    with pytest.raises(ValueError, match=r"needs: the next anchor.*outer=Mute"):
        replace(vrl_sgd(0.1, 5), outer=Mute())
    assert replace(plain, correction=Silent(), outer=Mute()).outer == Mute()


def test_drift_correction_refuses_sampling():
    with pytest.raises(ValueError, match=r"participation is 0\.5.*Use participation=1"):
        vrl_sgd(0.1, 5).check_participation(0.5)
    vrl_sgd(0.1, 5).check_participation(1.0)
    local_sgd(0.1, 5).check_participation(0.5)


def test_period_must_be_a_whole_number_of_steps():
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match=r"whole number of local steps|must be a number, got"):
            ConstantPeriod(wrong)


def test_pieces_are_listed_by_slot():
    slots = [slot for slot, _ in local_sgd(0.1, 5).components()]
    assert slots == [
        "inner",
        "period",
        "correction",
        "uplink",
        "downlink",
        "mixing",
        "outer",
        "sampling",
    ]
    assert isinstance(local_sgd(0.1, 5), Strategy)
