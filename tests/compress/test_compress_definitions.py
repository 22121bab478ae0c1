"""Each compressor against its definition, written out in numpy with the same uniforms."""

from fractions import Fraction
from math import ceil, frexp

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedlocal.slots.compress import (
    QSGD,
    Natural,
    QuantisedTopK,
    RandomK,
    ScaledSign,
    TernGrad,
    TopK,
)
from tests.compress.zoo import normals, sent, uniforms

SEEDS = range(20)


def qsgd(v, u, s):
    norm = np.sqrt(np.sum(v * v))
    out = np.empty_like(v)
    for i in range(len(v)):
        share = abs(v[i]) / norm * s
        low = np.floor(share)
        level = low + 1 if u[i] < share - low else low
        out[i] = norm * np.sign(v[i]) * level / s
    return out


def terngrad(v, u, clip=None):
    if clip is not None:
        sigma = np.sqrt(np.mean(v**2))
        v = np.clip(v, -clip * sigma, clip * sigma)
    s = np.max(np.abs(v))
    return s * np.sign(v) * (u < np.abs(v) / s)


def natural(x, u):
    a, sign = abs(x), -1.0 if x < 0 else 1.0
    if a < 2.0**-126:
        return sign * (2.0**-126 if u < a * 2.0**126 else 0.0)
    low = 2.0 ** (frexp(a)[1] - 1)  # the largest power of two <= a
    high = 2 * low
    nearest = high if u < (a - low) / (high - low) else low
    return sign * min(nearest, 2.0**127)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("levels", [1, 3, 16, 1000])
def test_qsgd(seed, levels):
    v, u = normals(50, seed=seed), uniforms(50, seed=seed)
    ours = sent(QSGD(levels), v, u)
    assert np.allclose(ours, qsgd(v.numpy(), u.numpy(), levels), rtol=1e-13, atol=0)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("clip", [None, 0.5, 1.0, 2.5])
def test_terngrad(seed, clip):
    v, u = normals(50, seed=seed), uniforms(50, seed=seed)
    ours = sent(TernGrad(clip), v, u)
    assert np.allclose(ours, terngrad(v.numpy(), u.numpy(), clip), rtol=1e-13, atol=0)


def test_terngrad_clips_outliers_only():
    v = normals(400)
    v[7] = 100.0
    bound = 2.5 * float(v.pow(2).mean().sqrt())
    message, _ = TernGrad(2.5).encode(v, (), uniforms(400))
    assert float(message.scale) == pytest.approx(bound, rel=1e-13)
    assert bound < 20  # the outlier was 100
    message, _ = TernGrad(1000.0).encode(v, (), uniforms(400))
    assert float(message.scale) == 100.0


@given(
    x=st.one_of(
        st.floats(width=32, allow_nan=False, allow_infinity=False),
        st.floats(allow_nan=False, allow_infinity=False),
        st.integers(-130, 130).map(lambda e: 2.0**e),
        st.floats(-(2.0**-125), 2.0**-125),
    ),
    u=st.one_of(st.floats(0, 1, exclude_max=True), st.just(0.0), st.just(0.5)),
)
def test_natural(x, u):
    v, noise = torch.tensor([x], dtype=torch.float64), torch.tensor([u], dtype=torch.float64)
    assert float(sent(Natural(), v, noise)) == natural(x, u)


@given(
    x=st.floats(width=32, allow_nan=False, allow_infinity=False), u=st.floats(0, 0.875, width=32)
)
def test_natural_in_float32_is_the_same_and_finite(x, u):
    v, noise = torch.tensor([x], dtype=torch.float32), torch.tensor([u], dtype=torch.float32)
    arrived = float(sent(Natural(), v, noise))
    assert arrived == natural(x, u)
    assert abs(arrived) <= 2.0**127


def test_natural_leaves_powers_of_two_alone():
    exponents = torch.arange(-126, 128)
    for dtype in (torch.float32, torch.float64):
        v = torch.ldexp(torch.ones(len(exponents), dtype=dtype), exponents)
        for u in (0.0, 0.5, 0.999):
            noise = torch.full_like(v, u)
            assert torch.equal(sent(Natural(), v, noise), v)
            assert torch.equal(sent(Natural(), -v, noise), -v)


@given(v=hnp.arrays("f8", st.integers(1, 30), elements=st.floats(-1e3, 1e3)))
def test_scaled_sign(v):
    ours = sent(ScaledSign(), torch.from_numpy(v), uniforms(0))
    expected = np.abs(v).sum() / len(v) * np.where(v >= 0, 1.0, -1.0)
    assert np.allclose(ours, expected, rtol=1e-13, atol=0)


def test_the_sign_of_zero_is_plus_one():
    v = torch.tensor([0.0, -0.0, 4.0, -4.0], dtype=torch.float64)
    assert sent(ScaledSign(), v, uniforms(0)).tolist() == [2.0, 2.0, 2.0, -2.0]


@given(
    v=hnp.arrays("f8", st.integers(1, 60), elements=st.floats(-1e3, 1e3)),
    thousandths=st.integers(1, 1000),
)
def test_top_k_keeps_the_largest(v, thousandths):
    top = TopK(thousandths / 1000)
    k = max(1, ceil(Fraction(thousandths, 1000) * len(v)))
    message, _ = top.encode(torch.from_numpy(v), (), uniforms(0))
    kept = message.indices.numpy()
    assert len(set(kept.tolist())) == k
    assert np.array_equal(message.values, v[kept])
    left = np.delete(np.abs(v), kept)
    assert left.max(initial=0.0) <= np.abs(v[kept]).min()
    expected = np.where(np.isin(np.arange(len(v)), kept), v, 0.0)
    assert np.array_equal(top.decode(message, uniforms(0), len(v)), expected)


@given(decimals=st.integers(1, 4), numerator=st.integers(1, 10**4), size=st.integers(1, 2 * 10**9))
def test_kept_is_the_exact_ceiling(decimals, numerator, size):
    numerator = min(numerator, 10**decimals)
    exact = ceil(Fraction(numerator, 10**decimals) * size)
    for sparsifier in (TopK, RandomK):
        assert sparsifier(numerator / 10**decimals).kept(size) == exact


@pytest.mark.parametrize(
    ("ratio", "size", "k"),
    [
        (0.07, 100, 7),  # 0.07 * 100 = 7.000000000000001
        (0.28, 100, 28),
        (0.28, 10**8, 28 * 10**6),  # off by 3.7e-9
        (1 / 3, 3, 1),
        (1 / 49, 49, 1),
        (0.1 + 0.2, 10, 3),
        (0.01, 1, 1),
        (1e-9, 5, 1),
        (0.01, 101, 2),
        (0.999999, 10, 10),
        (1.0, 11_173_962, 11_173_962),
    ],
)
def test_kept_where_floating_point_would_miscount(ratio, size, k):
    assert TopK(ratio).kept(size) == k == RandomK(ratio).kept(size)


@pytest.mark.parametrize("unbiased", [True, False])
def test_random_k_keeps_the_coordinates_of_the_smallest_uniforms(unbiased):
    v, u = normals(30), uniforms(30)
    kept = np.argsort(u.numpy())[:9]
    expected = np.zeros(30)
    expected[kept] = v.numpy()[kept] * (30 / 9 if unbiased else 1.0)
    assert np.allclose(sent(RandomK(0.3, unbiased), v, u), expected, rtol=1e-15)


def test_random_k_draws_every_coordinate_equally_often():
    u = uniforms(4000, 20, seed=2)
    ones = torch.ones(20, dtype=torch.float64)
    kept = torch.vmap(lambda n: sent(RandomK(0.25, unbiased=False), ones, n))(u).sum(0)
    assert float(kept.sum()) == 4000 * 5
    deviation = (4000 * 0.25 * 0.75) ** 0.5
    assert ((kept - 1000).abs() < 5 * deviation).all()


def test_random_k_breaks_ties_by_position():
    v = normals(10)
    arrived = sent(RandomK(0.3, unbiased=False), v, torch.full((10,), 0.5, dtype=torch.float64))
    assert torch.equal(arrived, torch.cat([v[:3], torch.zeros(7, dtype=torch.float64)]))


@given(
    v=hnp.arrays(
        "f4",
        st.integers(1, 12),
        elements=st.one_of(
            st.floats(-1, 1, width=32), st.just(0.0), st.sampled_from([1e-30, 1e30, -1e30, 1e-44])
        ),
    ),
    levels=st.integers(1, 1000),
    u=st.sampled_from([0.0, 0.5, 1 - 2**-24]),
)
def test_levels_never_exceed_s(v, levels, u):
    compressor = QSGD(levels)
    message, _ = compressor.encode(torch.from_numpy(v), (), torch.full((len(v),), u))
    assert int(message.codes.max() // 2) <= levels
    assert int(message.codes.max()) < 2 ** compressor.layout(len(v)).codes.bits
    assert torch.isfinite(message.scale).all()


def test_qsgd_of_one_axis_is_exact():
    v = torch.zeros(9, dtype=torch.float64)
    v[4] = -0.3
    for levels in (1, 3, 7, 16):
        assert torch.equal(sent(QSGD(levels), v, torch.full((9,), 0.999).double()), v)


@pytest.mark.parametrize("seed", SEEDS)
def test_quantised_top_k_is_one_after_the_other(seed):
    v = normals(40, seed=seed).numpy()
    compressor = QuantisedTopK(TopK(0.25), QSGD(4))
    assert compressor.noise_size(40) == 10
    u = uniforms(10, seed=seed)
    message, _ = compressor.encode(torch.from_numpy(v), (), u)
    kept = message.indices.numpy()
    assert set(kept) == set(np.argsort(-np.abs(v))[:10])
    expected = np.zeros(40)
    expected[kept] = qsgd(v[kept], u.numpy(), 4) / (1 + min(10 / 16, np.sqrt(10) / 4))
    ours = compressor.decode(message, u, 40)
    assert np.allclose(ours, expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize("compressor", [TopK(1.0), RandomK(1.0), RandomK(1.0, unbiased=False)])
def test_ratio_one_is_the_identity(compressor):
    for dtype in (torch.float32, torch.float64):
        v = normals(33, dtype=dtype)
        arrived = sent(compressor, v, uniforms(compressor.noise_size(33), dtype=dtype))
        assert torch.equal(arrived, v)


@pytest.mark.parametrize(
    ("compressor", "bits_"),
    [
        (TopK(0.25), [0, 6]),
        (RandomK(0.25), [0]),
        (QSGD(1), [0, 2]),
        (QSGD(3), [0, 3]),
        (QSGD(4), [0, 4]),
        (TernGrad(), [0, 2]),
        (ScaledSign(), [0, 1]),
        (Natural(), [9]),
    ],
)
def test_bits_a_scalar(compressor, bits_):
    """K9: top-k ceil(log2 P), QSGD 1 + ceil(log2(s + 1)), TernGrad 2, sign 1, natural 9."""
    layout = compressor.layout(40)
    assert [field.bits for field in layout] == bits_


@pytest.mark.parametrize(("size", "bits_"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (256, 8)])
def test_an_index_has_just_enough_bits(size, bits_):
    assert TopK(0.5).layout(size).indices.bits == bits_
