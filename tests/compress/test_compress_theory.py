"""Bias, variance and contraction: what the convergence proofs take from a compressor.

Monte Carlo with fixed seeds. A mean of n draws is held against its expectation with six of its own
standard errors, so a correct compressor passes except once in 10^8 and a wrong one is seen.
"""

from math import sqrt

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedlocal.slots.compress import (
    QSGD,
    ErrorFeedback,
    Natural,
    QuantisedTopK,
    RandomK,
    ScaledSign,
    TernGrad,
    TopK,
)
from tests.choices import sample
from tests.compress.zoo import (
    BIASED,
    FEEDBACK,
    SIZE,
    UNBIASED,
    contraction,
    layered,
    name,
    normals,
    sent,
    uniforms,
)

DRAWS = 2000


def vectors():
    worst = torch.full((SIZE,), 1.0, dtype=torch.float64)  # of TernGrad: one large, many smaller
    worst[5] = (SIZE - 1) / (sqrt(SIZE) - 1)
    sparse = torch.zeros(SIZE, dtype=torch.float64)
    sparse[[2, 12, 19]] = torch.tensor([3.0, -0.5, 1e-3]).double()
    thirds = 4 / 3 * 2.0 ** torch.arange(-4, SIZE - 4).double()  # of Natural
    return {"normal": normals(SIZE), "worst": worst, "sparse": sparse, "thirds": thirds}


each_vector = pytest.mark.parametrize("v", vectors().values(), ids=vectors().keys())


def draws(compressor, v):
    """[DRAWS, P], independent."""
    noise = uniforms(DRAWS, compressor.noise_size(len(v)), seed=7)
    return torch.vmap(lambda n: sent(compressor, v, n))(noise)


def squared_errors(compressor, v):
    return ((draws(compressor, v) - v) ** 2).sum(1)


def standard_error(samples):
    return samples.std(0) / sqrt(DRAWS)


@pytest.mark.parametrize(
    ("compressor", "v"),
    [(c, v) for c in UNBIASED for v in vectors().values()]
    + [(layered(c), vectors()["normal"]) for c in UNBIASED],
)
def test_unbiased_and_within_its_variance(compressor, v):
    samples = draws(compressor, v)
    off = (samples.mean(0) - v).abs()
    # A coordinate that is kept once in 10^4 draws has no sample deviation to speak of.
    least = v.norm() * sqrt(compressor.variance(SIZE) / DRAWS) / 3
    assert (off <= 6 * standard_error(samples) + least + 1e-14 * v.abs().max()).all()
    whole = 6 * sqrt(compressor.variance(SIZE) / DRAWS) + 1e-14
    assert off.norm() <= whole * v.norm()

    errors = ((samples - v) ** 2).sum(1)
    limit = compressor.variance(SIZE) * float(v @ v)
    assert errors.mean() <= limit + 6 * standard_error(errors) + 1e-28 * float(v @ v)


@pytest.mark.parametrize(
    ("compressor", "v"),
    [
        (RandomK(0.3), vectors()["normal"]),
        (TernGrad(), vectors()["worst"]),
        (Natural(), vectors()["thirds"]),
    ],
    ids=["RandomK", "TernGrad", "Natural"],
)
def test_these_variances_are_reached(compressor, v):
    errors = squared_errors(compressor, v)
    limit = compressor.variance(SIZE) * float(v @ v)
    assert abs(float(errors.mean()) - limit) <= 6 * float(standard_error(errors))


@given(v=hnp.arrays("f8", st.integers(1, 40), elements=st.floats(-1e3, 1e3)))
def test_terngrad_variance_holds_for_every_vector(v):
    exact = np.abs(v).max() * np.abs(v).sum() - v @ v
    assert exact <= TernGrad().variance(len(v)) * (v @ v) * (1 + 1e-12) + 1e-300


@given(
    v=hnp.arrays("f8", st.integers(1, 40), elements=st.floats(-1e3, 1e3)),
    levels=st.integers(1, 300),
)
def test_qsgd_variance_holds_for_every_vector(v, levels):
    norm = np.linalg.norm(v)
    share = levels * np.abs(v) / (norm or 1.0)
    up = share - np.floor(share)
    exact = (norm / levels) ** 2 * (up * (1 - up)).sum()
    assert exact <= QSGD(levels).variance(len(v)) * (v @ v) * (1 + 1e-9) + 1e-300


def test_omega_by_hand():
    assert QSGD(4).variance(16) == 1.0  # 16 / 16 and sqrt(16) / 4
    assert QSGD(2).variance(64) == 4.0  # sqrt(64) / 2 < 64 / 4
    assert QSGD(8).variance(16) == 0.25  # 16 / 64 < 4 / 8
    assert TernGrad().variance(25) == 2.0
    assert TernGrad().variance(1) == 0.0
    assert Natural().variance(10**6) == 1 / 8
    assert RandomK(0.1).variance(50) == 9.0
    assert RandomK(0.1, unbiased=False).variance(50) == 0.0
    assert all(c.variance(50) == 0 for c in (TopK(0.1), ScaledSign(), ErrorFeedback(QSGD(4))))


@pytest.mark.parametrize("compressor", sample(UNBIASED + BIASED, 2), ids=name)
@each_vector
def test_error_feedback_applies_a_contraction(compressor, v):
    errors = squared_errors(ErrorFeedback(compressor), v)
    limit = (1 - contraction(compressor, SIZE)) * float(v @ v)
    assert errors.mean() <= limit + 6 * standard_error(errors) + 1e-12 * float(v @ v)


@pytest.mark.parametrize("compressor", FEEDBACK, ids=name)
def test_a_contraction_is_one_and_not_more(compressor):
    assert 0 < contraction(compressor, SIZE) <= 1


@each_vector
def test_documented_deltas(v):
    """TopK and RandomK k / P; QTopK k / (P (1 + omega_k)), without error feedback."""
    square = float(v @ v)
    biased = RandomK(0.3, unbiased=False)
    errors = squared_errors(biased, v)
    assert abs(float(errors.mean()) - (1 - 6 / 20) * square) <= 6 * float(standard_error(errors))
    compressor = QuantisedTopK(TopK(0.3), QSGD(4))
    errors = squared_errors(compressor, v)
    delta = 6 / 20 / (1 + QSGD(4).variance(6))
    assert errors.mean() <= (1 - delta) * square + 6 * standard_error(errors)
    assert contraction(compressor, SIZE) == delta


@given(
    v=hnp.arrays("f8", st.integers(1, 60), elements=st.floats(-1e3, 1e3, width=32)),
    ratio=st.floats(0.001, 1),
)
def test_deterministic_deltas_hold_for_every_vector(v, ratio):
    x = torch.from_numpy(v)
    none = torch.zeros(0, dtype=torch.float64)
    top = TopK(ratio)
    lost = float(((x - sent(top, x, none)) ** 2).sum())
    assert lost <= (1 - top.kept(len(v)) / len(v)) * (v @ v) * (1 + 1e-12)
    lost = float(((x - sent(ScaledSign(), x, none)) ** 2).sum())
    assert lost == pytest.approx(
        v @ v - np.abs(v).sum() ** 2 / len(v), rel=1e-9, abs=1e-9 * (v @ v)
    )
