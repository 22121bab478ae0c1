"""Messages that are sent only when there is enough to say; compressors that are safe to track."""

import math
import pickle

import pytest
import torch

from fedlocal.rounds.message_bytes import Header, each_nbytes, nbytes, pack, unpack
from fedlocal.slots import Field, OptionalField, compress
from fedlocal.slots.compress import (
    QSGD,
    Contractive,
    ErrorFeedback,
    Identity,
    PerLayer,
    QuantisedTopK,
    RandomK,
    ScaledSign,
    TernGrad,
    TopK,
    Triggered,
    contraction,
    has_error_feedback,
)
from fedlocal.vectors.trees import stack, take
from tests.compress import zoo
from tests.compress.zoo import (
    DTYPES,
    PLAIN,
    SIZE,
    SIZES,
    SPEC,
    bits,
    layered,
    name,
    normals,
    sent,
    tensors,
    uniforms,
)

INSIDE = [Identity(), TopK(0.3), RandomK(0.3), ScaledSign(), Contractive(QSGD(4)), PLAIN[-2]]
each = pytest.mark.parametrize("inside", [*INSIDE, layered(TopK(0.3))], ids=name)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
HEADER = Header(0, 0)


def number(x: float) -> torch.Tensor:
    return torch.tensor(x, dtype=torch.float64)


def after(trigger: Triggered, steps=1, lr=0.1, like=None):
    """The state of a client that has taken so many steps of this size."""
    x = torch.zeros(SIZE, dtype=torch.float64) if like is None else like
    total = torch.tensor(steps * lr, dtype=x.dtype)
    return trigger.observe(trigger.init(x), torch.tensor(float(steps), dtype=x.dtype), total)


def said(trigger: Triggered, v, state, noise):
    """Whether it was sent, and what arrived."""
    message, _ = trigger.encode(v, state, noise)
    return bool(message.flag), trigger.decode(message, noise, len(v))


@each
@each_dtype
def test_what_is_sent_is_the_compressors_message_and_what_is_not_is_zeros(inside, dtype):
    v, noise = normals(SIZE, dtype=dtype), uniforms(inside.noise_size(SIZE), dtype=dtype)
    square = float(v @ v)
    for share, wanted in [(0.9, True), (1.1, False)]:
        trigger = Triggered(inside, share * square / 0.01)
        flag, arrived = said(trigger, v, after(trigger, like=v), noise)
        assert flag is wanted
        assert bits(arrived) == bits(sent(inside, v, noise) if wanted else torch.zeros_like(v))
        assert arrived.dtype == dtype


def test_as_far_as_the_threshold_is_not_farther():
    v = torch.tensor([3.0, 4.0], dtype=torch.float64)
    none = torch.zeros(0)
    for threshold, wanted in [(100.0, False), (99.99, True)]:
        trigger = Triggered(Identity(), threshold)
        assert said(trigger, v, after(trigger, lr=0.5, like=v), none)[0] is wanted


@pytest.mark.parametrize("exponent", [0.0, 0.5, 0.9])
def test_the_threshold_grows_with_all_the_steps_so_far(exponent):
    trigger = Triggered(Identity(), 2.0, exponent)
    state = trigger.init(torch.zeros(1, dtype=torch.float64))
    for steps, lr, total in [(3, 0.2, 3), (1, 0.1, 4), (5, 0.3, 9)]:
        state = trigger.observe(state, number(steps), number(steps * lr))
        edge = math.sqrt(2.0 * total**exponent) * lr
        for scale, wanted in [(1 - 1e-12, False), (1 + 1e-12, True)]:
            v = torch.tensor([-scale * edge], dtype=torch.float64)
            assert said(trigger, v, state, torch.zeros(0))[0] is wanted
            # A message changes nothing of what decides about the next.
            assert trigger.encode(v, state, torch.zeros(0))[1] == state


def test_the_step_size_that_counts_is_the_mean_of_the_last_round():
    trigger = Triggered(Identity(), 1.0)
    state = after(trigger, steps=4, lr=0.7)
    state = trigger.observe(state, number(2), number(0.3 + 0.1))
    assert float(state.steps) == 6 and float(state.lr) == pytest.approx(0.2, rel=1e-15)


@pytest.mark.parametrize("lr", [0.0, 0.1, 1e3])
@pytest.mark.parametrize("exponent", [0.0, 0.5])
def test_threshold_zero_sends_always_and_infinity_never(lr, exponent):
    v = normals(SIZE)
    always, never = (Triggered(TopK(0.3), c, exponent) for c in (0.0, math.inf))
    assert said(always, v, after(always, lr=lr), torch.zeros(0))[0]
    assert not said(never, 1e100 * v, after(never, lr=lr), torch.zeros(0))[0]
    assert not said(always, 0 * v, after(always, lr=lr), torch.zeros(0))[0]


@each
def test_rows_at_once_equal_one_by_one(inside):
    trigger, rows = Triggered(inside, 1000.0, 0.2), 6
    states = torch.vmap(trigger.init)(torch.zeros(rows, SIZE, dtype=torch.float64))
    singles = [trigger.init(torch.zeros(SIZE, dtype=torch.float64)) for _ in range(rows)]
    flags = []
    for t in range(3):
        steps = torch.arange(1.0, rows + 1).double()
        v = normals(rows, SIZE, seed=t)
        noise = uniforms(rows, inside.noise_size(SIZE), seed=t)
        states = torch.vmap(trigger.observe)(states, steps, 0.1 * steps)
        messages, states = torch.vmap(trigger.encode)(v, states, noise)
        decoded = torch.vmap(lambda m, n: trigger.decode(m, n, SIZE))(messages, noise)
        for i in range(rows):
            singles[i] = trigger.observe(singles[i], steps[i], 0.1 * steps[i])
            message, singles[i] = trigger.encode(v[i], singles[i], noise[i])
            assert int(message.flag) == int(messages.flag[i])
            alone = trigger.decode(message, noise[i], SIZE)
            assert torch.allclose(decoded[i], alone, rtol=0, atol=1e-14)
            pairs = zip(tensors(take(states, i)), tensors(singles[i]), strict=True)
            assert all(torch.allclose(a, b, rtol=0, atol=1e-14) for a, b in pairs)
            flags.append(int(message.flag))
    assert 0 < sum(flags) < len(flags)


@each
@each_dtype
def test_on_the_wire_silence_is_one_byte(inside, dtype):
    v, noise = normals(SIZE, dtype=dtype), uniforms(inside.noise_size(SIZE), dtype=dtype)
    lengths, messages = [], []
    for threshold in (0.0, math.inf):
        trigger = Triggered(inside, threshold)
        message, _ = trigger.encode(v, after(trigger, like=v), noise)
        data = pack(HEADER, message, trigger.layout(SIZE), dtype)
        _, back = unpack(data, trigger.layout(SIZE), dtype)
        arrived = trigger.decode(message, noise, SIZE)
        assert bits(trigger.decode(back, noise, SIZE)) == bits(arrived)
        assert type(back) is OptionalField
        lengths.append(len(data))
        messages.append(message)
    layout = Triggered(inside, 0.0).layout(SIZE)
    assert layout.flag == Field(1, bits=1)
    assert lengths == [nbytes(inside.layout(SIZE), dtype) + 1, nbytes((), dtype) + 1]
    for message, length in zip(messages, lengths, strict=True):
        assert each_nbytes(stack([message]), layout, dtype, 1).tolist() == [length]


@pytest.mark.parametrize(
    "make",
    [
        lambda c: ErrorFeedback(Triggered(TopK(0.3), c)),
        lambda c: ErrorFeedback(Triggered(QSGD(4), c)),
        lambda c: ErrorFeedback(PerLayer(Triggered(ScaledSign(), c))).bind(SPEC),
        lambda c: PerLayer(ErrorFeedback(Triggered(ScaledSign(), c))).bind(SPEC),
    ],
    ids=["top", "qsgd", "layers inside", "layers outside"],
)
def test_feedback_around_a_trigger_owes_what_it_kept_to_itself(make):
    """Both ends of the wire learn the steps through every wrapping."""
    link = make(2000.0)
    state = link.init(torch.zeros(SIZE, dtype=torch.float64))
    total, arrived, flags = 0.0, 0.0, []
    for t in range(12):
        v, noise = normals(SIZE, seed=t), uniforms(link.noise_size(SIZE), seed=t)
        state = link.observe(state, number(2.0), number(0.2))
        message, state = link.encode(v, state, noise)
        total, arrived = total + v, arrived + link.decode(message, noise, SIZE)
        flags += [int(leaf) for leaf in flags_of(message)]
        assert torch.allclose(arrived + zoo.residual(state), total, rtol=0, atol=1e-12)
    assert 0 < sum(flags) < len(flags)


def flags_of(message):
    if isinstance(message, OptionalField):
        yield message.flag
    elif isinstance(message, tuple):
        for part in message:
            yield from flags_of(part)


def test_feedback_inside_a_trigger_is_refused():
    for inside in (ErrorFeedback(TopK(0.3)), PerLayer(ErrorFeedback(TopK(0.3)))):
        with pytest.raises(ValueError, match=r"use ErrorFeedback\(Triggered\(...\)\)"):
            Triggered(inside, 1.0)


@pytest.mark.parametrize(
    ("threshold", "exponent", "text"),
    [
        (-1.0, 0.0, "threshold must be >= 0, got -1.0; 0 sends always"),
        (math.nan, 0.0, "threshold must be >= 0, got nan"),
        (1.0, 1.0, r"must be in \[0, 1\), got 1.0; 0 is constant"),
        (1.0, -0.5, r"must be in \[0, 1\), got -0.5"),
        (1.0, math.nan, r"must be in \[0, 1\), got nan"),
    ],
)
def test_wrong_thresholds_are_refused(threshold, exponent, text):
    with pytest.raises(ValueError, match=text):
        Triggered(TopK(0.3), threshold, exponent)


def test_bind_reaches_the_layers():
    for wrapped in (Triggered(PerLayer(TopK(0.3)), 1.0), Contractive(PerLayer(TopK(0.3)))):
        inside = wrapped.bind(SPEC).compressor
        assert isinstance(inside, PerLayer) and inside.sizes == SIZES


@pytest.mark.parametrize("outside", [lambda c: Triggered(c, 2.0, 0.5), Contractive])
@pytest.mark.parametrize("inside", PLAIN, ids=name)
def test_is_a_value_that_claims_no_more_than_it_does(outside, inside):
    compressor = outside(inside)
    again = pickle.loads(pickle.dumps(compressor))
    assert again == compressor and hash(again) == hash(compressor)
    assert eval(repr(compressor), vars(compress)) == compressor
    assert compressor.noise_size(SIZE) == inside.noise_size(SIZE)
    assert compressor.lossless == (inside.lossless and isinstance(compressor, Contractive))


# What a compressor loses at most.

KNOWN = [c for c in PLAIN if not (isinstance(c, TernGrad) and c.clip is not None)]


@pytest.mark.parametrize("inside", [*KNOWN, *map(layered, KNOWN)], ids=name)
def test_contractive_loses_no_more_than_its_delta_says(inside):
    compressor, draws = Contractive(inside), 200
    delta = contraction(compressor, SIZE)
    assert 0 < delta <= 1
    spike = torch.full((SIZE,), 0.01, dtype=torch.float64)
    spike[3] = 5.0
    for v in (normals(SIZE), spike, torch.ones(SIZE, dtype=torch.float64)):
        noise = uniforms(draws, inside.noise_size(SIZE))
        arrived = torch.vmap(lambda n, v=v: sent(compressor, v, n))(noise)
        lost = ((arrived - v) ** 2).sum(1).mean()
        assert lost <= (1 - delta) * (v @ v) * 1.1 + 1e-12


@pytest.mark.parametrize(
    ("compressor", "delta"),
    [
        (Identity(), 1.0),
        (TopK(0.25), 0.25),
        (RandomK(0.25), 0.25),
        (RandomK(0.25, unbiased=False), 0.25),
        (ScaledSign(), 1 / 20),
        (QSGD(4), 1 / (1 + math.sqrt(20) / 4)),
        (QSGD(10), 1 / 1.2),
        (QuantisedTopK(TopK(0.25), QSGD(1)), 0.25 / (1 + math.sqrt(5))),
        (QuantisedTopK(TopK(0.25), ScaledSign()), 1 / 20),
        (layered(TopK(0.5)), 0.5),
    ],
    ids=name,
)
def test_deltas_by_hand(compressor, delta):
    assert contraction(compressor, SIZE) == pytest.approx(delta, rel=1e-12)


@pytest.mark.parametrize(
    "compressor", [TernGrad(2.5), ErrorFeedback(TopK(0.3)), layered(TernGrad(0.5))], ids=name
)
def test_nothing_is_claimed_of_the_others(compressor):
    with pytest.raises(ValueError, match="loses at most is not known; give gossip_step a number"):
        contraction(compressor, SIZE)


def test_contractive_scales_unbiased_compressors_only():
    v, noise = normals(SIZE), uniforms(SIZE)
    for inside in PLAIN:
        scaled = sent(Contractive(inside), v, noise[: inside.noise_size(SIZE)])
        plain = sent(inside, v, noise[: inside.noise_size(SIZE)])
        assert torch.allclose(scaled * (1 + inside.variance(SIZE)), plain, rtol=1e-14, atol=0)


def test_an_unbiased_compressor_that_is_not_scaled_runs_away_from_what_it_tracks():
    """x-hat <- x-hat + C(x - x-hat), which is all that gossip does with a compressor."""
    x = normals(SIZE)
    ends = []
    for link in (RandomK(0.1), Contractive(RandomK(0.1))):
        belief = torch.zeros_like(x)
        for t in range(60):
            belief = belief + sent(link, x - belief, uniforms(SIZE, seed=t))
        ends.append(float((x - belief).norm() / x.norm()))
    assert ends[0] > 100 and ends[1] < 0.3


def test_error_feedback_is_found_through_every_wrapping():
    feedback = ErrorFeedback(TopK(0.3))
    wrapped = (feedback, PerLayer(feedback), Contractive(PerLayer(feedback)))
    assert all(map(has_error_feedback, wrapped))
    without = (*PLAIN, Triggered(TopK(0.3), 1.0), PerLayer(TopK(0.3)))
    assert not any(map(has_error_feedback, without))
