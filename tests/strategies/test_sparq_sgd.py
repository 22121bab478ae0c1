import math

import numpy as np
import pytest

from fedlocal.rounds.message_bytes import OVERHEAD, nbytes
from fedlocal.slots.compress import (
    ErrorFeedback,
    Identity,
    QuantisedTopK,
    ScaledSign,
    TopK,
)
from fedlocal.slots.inner.lr_schedules import StepRate
from strategies.sparq_sgd import sparq_sgd
from tests.choices import every_pair
from tests.oracles import sparq_sgd as oracle
from tests.oracles.compressors import identity, scaled_sign, top_k
from tests.problems import RUNTIMES, distance, least_squares, simulate

PROBLEM = least_squares()
K = len(PROBLEM.sizes)
ROUNDS = 8
RING = sum(np.roll(np.eye(K), shift, 0) for shift in (-1, 0, 1)) / 3


def sign_top_k(v):
    kept = np.argsort(-np.abs(v))[:3]
    out = np.zeros_like(v)
    out[kept] = scaled_sign(v[kept])
    return out


COMPRESSORS = {
    "identity": (Identity(), identity),
    "top": (TopK(0.4), top_k(0.4)),
    "sign": (ScaledSign(), scaled_sign),
    "sign_top": (QuantisedTopK(TopK(0.4), ScaledSign()), sign_top_k),
}


def check(runtime, strategy, etas, period, compress, c):
    """Equality with the paper's rule, and who sent: that many of some rounds and not of others."""
    result = simulate(PROBLEM, strategy, len(etas) // period, runtime=runtime)
    x, hat, sent = oracle.sparq_sgd(
        PROBLEM.gradients, PROBLEM.start, etas, period, RING, 0.3, compress, c
    )
    assert distance(result.client_params, x) < 1e-12
    assert distance(result.server_state.mixing.beliefs, hat) < 1e-12
    assert distance(result.client_states.mixing.belief, hat) < 1e-12
    return result, np.array(sent)


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("period", [1, 4])
@pytest.mark.parametrize("compressor", COMPRESSORS)
@pytest.mark.parametrize("c", [0.0, 300.0])
def test_follows_the_paper(runtime, period, compressor, c):
    ours, theirs = COMPRESSORS[compressor]
    strategy = sparq_sgd(0.05, period, "ring", 0.3, ours, threshold=c)
    _, sent = check(runtime, strategy, [0.05] * ROUNDS * period, period, theirs, lambda t: c)
    # Otherwise this would prove nothing of the trigger.
    assert sent.all() if c == 0 else 0 < sent.sum() < sent.size


def test_the_threshold_grows_and_the_rate_drops():
    c0, power = 20.0, 0.7
    strategy = sparq_sgd(
        StepRate(0.05, {4: 0.5}), 3, RING, 0.3, TopK(0.4), threshold=c0, threshold_exponent=power
    )
    etas = [0.05] * 12 + [0.025] * 12
    _, sent = check("vmapped", strategy, etas, 3, top_k(0.4), lambda t: c0 * t**power)
    assert 0 < sent.sum() < sent.size
    still = sparq_sgd(0.05, 3, RING, 0.3, TopK(0.4), c0)
    _, others = check("vmapped", still, [0.05] * 24, 3, top_k(0.4), lambda t: c0)
    assert others.sum() != sent.sum()


def test_silence_costs_a_byte():
    period, c = 4, 300.0
    strategy = sparq_sgd(0.05, period, "ring", 0.3, TopK(0.4), threshold=c)
    etas = [0.05] * ROUNDS * period
    result, sent = check("vmapped", strategy, etas, period, top_k(0.4), lambda t: c)
    # Three values of 8 bytes, three indices of 3 bits; a flag of one bit.
    spoken, silent = OVERHEAD + 1 + 24 + 2, OVERHEAD + 1
    assert spoken == nbytes((strategy.uplink.layout(7), ((), ())), result.params.dtype)
    for record, who in zip(result.ledger.records, sent, strict=True):
        bytes_ = np.where(who, spoken, silent)
        # To both neighbours, and from both.
        assert record.uplink_bytes.tolist() == (2 * bytes_).tolist()
        both = np.roll(bytes_, 1) + np.roll(bytes_, -1)
        assert record.downlink_bytes.tolist() == both.tolist()


def test_step_by_theory():
    delta = 1 / 7  # the worst vector for a sign
    rho = 1 - np.sort(abs(np.linalg.eigvalsh(RING)))[-2]
    beta = np.linalg.norm(np.eye(K) - RING, 2)
    gamma = 2 * rho * delta
    gamma /= 64 * rho + rho**2 + 16 * beta**2 + 8 * rho * beta**2 - 16 * rho * delta
    by_theory, given = (
        simulate(PROBLEM, sparq_sgd(0.05, 2, "ring", step, ScaledSign()), ROUNDS).client_params
        for step in ("theory", gamma)
    )
    assert distance(by_theory, given) < 1e-12


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ({"threshold": -1.0}, "threshold must be >= 0, got -1.0"),
        ({"threshold": math.nan}, "threshold must be >= 0, got nan"),
        ({"threshold": 1.0, "threshold_exponent": 1.0}, r"must be in \[0, 1\), got 1.0"),
        ({"threshold": 1.0, "threshold_exponent": -0.1}, r"must be in \[0, 1\), got -0.1"),
        ({"compressor": ErrorFeedback(TopK(0.4))}, "without error feedback"),
        ({"gossip_step": 0.0}, r"gossip_step must be in \(0, 1\]"),
    ],
)
def test_what_does_not_fit_is_refused(words, text):
    with pytest.raises(ValueError, match=text):
        sparq_sgd(0.1, 5, **words)
