"""What every compressor promises, wrapped or not."""

import pickle
from dataclasses import FrozenInstanceError, fields

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedlocal.slots import Field, compress
from fedlocal.slots.compress import (
    QSGD,
    ErrorFeedback,
    Identity,
    PerLayer,
    QuantisedTopK,
    RandomK,
    ScaledSign,
    TernGrad,
    TopK,
    error_feedback,
    link,
)
from fedlocal.vectors.trees import tree_map
from tests.choices import in_one_item
from tests.compress.zoo import (
    ALL,
    DTYPES,
    FEEDBACK,
    LAYERED,
    PLAIN,
    SIZE,
    SIZES,
    SPEC,
    bits,
    contraction,
    layered,
    name,
    normals,
    residual,
    sent,
    tensors,
    uniforms,
)

each = pytest.mark.parametrize("compressor", ALL, ids=name)
each_plain = pytest.mark.parametrize("compressor", PLAIN, ids=name)
each_feedback = pytest.mark.parametrize("compressor", FEEDBACK, ids=name)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


SPIKE = torch.full((SIZE,), 0.01, dtype=torch.float64)
SPIKE[3] = 5.0
CONSTANTS = [normals(SIZE, seed=3), torch.ones(SIZE, dtype=torch.float64), SPIKE]


def fields_of(layout):
    if isinstance(layout, Field):
        yield layout
    else:
        for part in layout:
            yield from fields_of(part)


@in_one_item
@each
@each_dtype
def test_message_is_what_the_layout_declares(compressor, dtype):
    v, noise = normals(SIZE, dtype=dtype), uniforms(compressor.noise_size(SIZE), dtype=dtype)
    message, _ = compressor.encode(v, compressor.init(v), noise)
    for tensor, field in zip(tensors(message), fields_of(compressor.layout(SIZE)), strict=True):
        assert tensor.shape == (field.length,)
        if field.bits == 0:
            assert tensor.dtype == dtype
        else:
            assert (
                not tensor.is_floating_point()
                and torch.iinfo(tensor.dtype).max >= 2**field.bits - 1
            )
            assert 0 <= int(tensor.min()) and int(tensor.max()) < 2**field.bits
    decoded = compressor.decode(message, noise, SIZE)
    assert decoded.shape == (SIZE,) and decoded.dtype == dtype


def roundings(compressor) -> int:
    """By how many units of the last place a batch may differ from its rows one by one.

    Processors add the terms of a batched product in another order, and QR multiplies that by the
    condition of its columns; 19 units were seen here, of float32 and of float64 alike.
    """
    return 64 if "PowerSGD" in repr(compressor) else 8


@in_one_item
@each
@each_dtype
def test_rows_at_once_equal_one_by_one(compressor, dtype):
    rows, rounds = 3, 2
    states = torch.vmap(compressor.init)(torch.zeros(rows, SIZE, dtype=dtype))
    singles = [compressor.init(torch.zeros(SIZE, dtype=dtype)) for _ in range(rows)]
    for t in range(rounds):
        v = normals(rows, SIZE, seed=t, dtype=dtype)
        v[1] = v[1].round()  # ties in magnitude, and zeros
        v[2] = 0.0
        noise = uniforms(rows, compressor.noise_size(SIZE), seed=t, dtype=dtype)
        messages, states = torch.vmap(compressor.encode)(v, states, noise)
        decoded = torch.vmap(lambda m, n: compressor.decode(m, n, SIZE))(messages, noise)
        for i in range(rows):
            message, singles[i] = compressor.encode(v[i], singles[i], noise[i])
            alone = compressor.decode(message, noise[i], SIZE)
            scale = float(v[i].abs().max())
            tolerance = roundings(compressor) * torch.finfo(dtype).eps * scale
            assert torch.allclose(decoded[i], alone, rtol=0, atol=tolerance)
            mine = tensors(tree_map(lambda t, i=i: t[i], states))
            for a, b in zip(mine, tensors(singles[i]), strict=True):
                assert a.shape == b.shape and a.dtype == b.dtype == dtype
                assert torch.allclose(a, b, rtol=0, atol=(t + 1) * tolerance)


@in_one_item
@each
def test_inputs_are_not_changed(compressor):
    v, noise = normals(SIZE), uniforms(compressor.noise_size(SIZE))
    _, state = compressor.encode(v, compressor.init(v), noise)
    before = [bits(t) for t in (v, noise, *tensors(state))]
    message, _ = compressor.encode(v, state, noise)
    sent_bits = [bits(t) for t in tensors(message)]
    compressor.decode(message, noise, SIZE)
    assert [bits(t) for t in (v, noise, *tensors(state))] == before
    assert [bits(t) for t in tensors(message)] == sent_bits


@in_one_item
@each
@each_dtype
def test_a_zero_vector_arrives_as_zeros(compressor, dtype):
    zero = torch.zeros(SIZE, dtype=dtype)
    for value in (0.0, 0.5, 1 - 2**-24):
        noise = torch.full((compressor.noise_size(SIZE),), value, dtype=dtype)
        arrived = sent(compressor, zero, noise)
        assert torch.equal(arrived, zero)


@in_one_item
@each
def test_lossless_is_said_of_what_loses_nothing_and_of_nothing_else(compressor):
    v, noise = normals(SIZE), uniforms(compressor.noise_size(SIZE))
    assert compressor.lossless == torch.equal(sent(compressor, v, noise), v)


@in_one_item
@pytest.mark.parametrize("compressor", [*PLAIN, *map(ErrorFeedback, PLAIN)], ids=name)
@pytest.mark.parametrize("x", [-3.7, 2.0, 1e-30, 1e30])
def test_a_single_scalar(compressor, x):
    v = torch.tensor([x], dtype=torch.float64)
    noise = torch.full((compressor.noise_size(1),), 1 - 2**-24, dtype=torch.float64)
    arrived = sent(compressor, v, noise)
    kept = compressor.compressor if isinstance(compressor, ErrorFeedback) else compressor
    # One scalar fills the norm, the maximum and the k, so only deliberate scaling is left.
    if isinstance(kept, QuantisedTopK):
        kept = kept.quantiser
        scale = 1 / (1 + kept.variance(1))
    else:
        scale = 1 / (1 + kept.variance(1)) if isinstance(compressor, ErrorFeedback) else 1.0
    if isinstance(kept, compress.Natural):
        # Uniforms this large round down.
        assert abs(x) * scale / 2 < abs(float(arrived)) <= abs(x) * scale * (1 + 1e-15)
    elif isinstance(kept, TernGrad) and kept.clip is not None and kept.clip < 1:
        assert float(arrived) == pytest.approx(kept.clip * scale * x, rel=1e-14)
    else:
        assert float(arrived) == pytest.approx(scale * x, rel=1e-14)


SCALES = [2.0**-100, 2.0**-60, 2.0**60, 2.0**100]


@in_one_item
@pytest.mark.parametrize("compressor", [*PLAIN, *LAYERED], ids=name)
@pytest.mark.parametrize("scale", SCALES)
def test_huge_and_tiny_vectors_lose_no_more_than_others(compressor, scale):
    """In float32 the squares of 2^100 and 2^-100 do not exist."""
    v = normals(SIZE, dtype=torch.float32)
    noise = uniforms(compressor.noise_size(SIZE), dtype=torch.float32)
    assert bits(sent(compressor, scale * v, noise)) == bits(scale * sent(compressor, v, noise))


@in_one_item
@each
@each_dtype
def test_the_ends_of_the_number_range(compressor, dtype):
    info = torch.finfo(dtype)
    denormal = info.smallest_normal * info.eps * 5
    noise = uniforms(compressor.noise_size(SIZE), dtype=dtype)
    for extreme in (info.max / 64, denormal):
        v = normals(SIZE, dtype=dtype).clamp(-1, 1) * extreme
        arrived = sent(compressor, v, noise)
        assert torch.isfinite(arrived).all()
        # P / k is the largest factor any of them applies; below 2^-126 Natural rounds up to it.
        assert float(arrived.abs().max()) <= max(4 * SIZE * extreme, 2.0**-126)


@in_one_item
@each_feedback
@each_dtype
def test_what_is_sent_and_what_is_owed_make_up_the_input(compressor, dtype):
    state = compressor.init(torch.zeros(SIZE, dtype=dtype))
    owed, given_, arrived_ = residual(state), 0.0, 0.0
    assert torch.equal(owed, torch.zeros(SIZE, dtype=dtype))
    eps = torch.finfo(dtype).eps
    for t in range(6):
        v = normals(SIZE, seed=t, dtype=dtype)
        noise = uniforms(compressor.noise_size(SIZE), seed=t, dtype=dtype)
        message, state = compressor.encode(v, state, noise)
        arrived = compressor.decode(message, noise, SIZE)
        size = max(1.0, float((v + owed).abs().max()), float(arrived.abs().max()))
        assert torch.allclose(arrived + residual(state), v + owed, rtol=0, atol=4 * eps * size)
        owed, given_, arrived_ = residual(state), given_ + v, arrived_ + arrived
    # So nothing is lost for good.
    assert torch.allclose(arrived_ + owed, given_, rtol=0, atol=64 * eps * size)


@in_one_item
# Each way of wrapping takes its turn.
@pytest.mark.parametrize("compressor", [c for i, c in enumerate(FEEDBACK) if i % 3 == i // 3 % 3])
def test_the_residual_stays_bounded(compressor):
    """|e| <= 2 |v| / delta for a delta-contraction (in the mean, where it is a random one)."""
    repeats, rounds = 4, 32
    x = torch.stack(CONSTANTS).repeat_interleave(repeats, dim=0)
    state = torch.vmap(compressor.init)(x)
    noise = uniforms(rounds, len(x), compressor.noise_size(SIZE))
    encode, sizes = torch.vmap(compressor.encode), []
    for t in range(rounds):
        _, state = encode(x, state, noise[t])
        owed = torch.vmap(residual)(state).norm(dim=1) / x.norm(dim=1)
        sizes.append(owed.reshape(-1, repeats).mean(1))
    assert torch.stack(sizes).max() <= 2 / contraction(compressor, SIZE)
    # The bound is generous to the cautious ones: nor may most of what is given pile up.
    assert (sizes[-1] - sizes[rounds // 2 - 1] < rounds / 4).all()


def test_feedback_scales_unbiased_compressors_down():
    v, noise = normals(SIZE), uniforms(SIZE)
    for inside in (QSGD(2), TernGrad(), RandomK(0.3)):
        scaled = sent(ErrorFeedback(inside), v, noise) * (1 + inside.variance(SIZE))
        assert torch.allclose(scaled, sent(inside, v, noise), rtol=1e-14)


def test_per_layer_is_each_layer_by_itself():
    v = normals(SIZE)
    for inside in PLAIN:
        compressor = layered(inside)
        noise = uniforms(compressor.noise_size(SIZE))
        cuts = [inside.noise_size(n) for n in SIZES]
        parts = [
            sent(inside, part, own)
            for part, own in zip(v.split(list(SIZES)), noise.split(cuts), strict=True)
        ]
        assert torch.equal(sent(compressor, v, noise), torch.cat(parts))
        assert compressor.variance(SIZE) == max(inside.variance(n) for n in SIZES)


@given(
    v=hnp.arrays("f8", SIZE, elements=st.floats(-1e6, 1e6, allow_subnormal=False)),
    seed=st.integers(0, 2**32),
)
def test_feedback_around_layers_equals_layers_around_feedback(v, seed):
    """For compressors without a scale of their own it is the same thing."""
    x, noise = torch.from_numpy(v), uniforms(SIZE, seed=seed)
    for inside in (TopK(0.3), ScaledSign(), RandomK(0.3, unbiased=False)):
        outside = ErrorFeedback(PerLayer(inside)).bind(SPEC)
        within = layered(ErrorFeedback(inside))
        n = noise[: outside.noise_size(SIZE)]
        a, b = outside.init(x), within.init(x)
        for _ in range(3):
            one, a = outside.encode(x, a, n)
            two, b = within.encode(x, b, n)
            assert torch.equal(outside.decode(one, n, SIZE), within.decode(two, n, SIZE))
            assert torch.equal(residual(a), residual(b))


@in_one_item
@each
def test_a_compressor_is_a_value(compressor):
    again = pickle.loads(pickle.dumps(compressor))
    assert again == compressor and hash(again) == hash(compressor)
    assert eval(repr(compressor), vars(compress)) == compressor
    if fields(compressor):
        with pytest.raises(FrozenInstanceError):
            setattr(compressor, fields(compressor)[0].name, None)


def test_different_compressors_are_different_values():
    assert len(set(ALL)) == len(ALL)
    assert len({repr(c) for c in ALL}) == len(ALL)


def test_bind_reaches_through_every_wrapping():
    assert PerLayer(TopK(0.3)).sizes == ()
    assert PerLayer(TopK(0.3)).bind(SPEC).sizes == SIZES
    inner = ErrorFeedback(PerLayer(TopK(0.3))).bind(SPEC).compressor
    assert isinstance(inner, PerLayer) and inner.sizes == SIZES
    for compressor in PLAIN:
        assert compressor.bind(SPEC) == compressor


def test_feedback_is_wrapped_once():
    assert error_feedback(TopK(0.3)) == ErrorFeedback(TopK(0.3))
    assert error_feedback(PerLayer(TopK(0.3))) == ErrorFeedback(PerLayer(TopK(0.3)))
    for done in (ErrorFeedback(TopK(0.3)), PerLayer(ErrorFeedback(TopK(0.3)))):
        assert error_feedback(done) is done


def test_link_composes_one_direction():
    assert link(QSGD(4)) == QSGD(4)
    assert link(QSGD(4), error_feedback=True) == ErrorFeedback(QSGD(4))
    assert link(QSGD(4), per_layer=True) == PerLayer(QSGD(4))
    assert link(QSGD(4), True, True) == ErrorFeedback(PerLayer(QSGD(4)))


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: TopK(0.0), r"ratio must be in \(0, 1\], got 0.0; 0.01 keeps one coordinate in"),
        (lambda: TopK(1.5), r"ratio must be in \(0, 1\], got 1.5"),
        (lambda: RandomK(-0.1), r"ratio must be in \(0, 1\], got -0.1"),
        (lambda: TopK(float("nan")), r"ratio must be in \(0, 1\], got nan"),
        (lambda: QSGD(0), "levels must be a whole number >= 1, got 0; 16 takes 6 bits a scalar"),
        (
            lambda: TernGrad(0.0),
            "clip must be positive, got 0.0; the paper's is 2.5, null clips nothing",
        ),
        (lambda: TernGrad(float("nan")), "clip must be positive, got nan"),
    ],
)
def test_wrong_parameters_are_refused(build, text):
    with pytest.raises(ValueError, match=text):
        build()


def test_the_example_in_the_error_of_qsgd_is_true():
    field = QSGD(16).layout(10).codes
    assert field.bits == 6 and field.length == 10


def test_identity_keeps_the_bits():
    v = torch.tensor([0.0, -0.0, 1e-310, 1e300, float("inf")], dtype=torch.float64)
    assert bits(sent(Identity(), v, uniforms(0))) == bits(v)
