"""Inner optimisers against torch.optim, and what becomes of buffers at a synchronisation."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedlocal.slots import Round
from fedlocal.slots.inner.base import ConstantRate
from fedlocal.slots.inner.lr_schedules import StepRate
from fedlocal.slots.inner.sgd import SGD, AdamState, AdamW, Momentum, MomentumState, sgd

SIZE, STEPS = 11, 40
INFO = Round(
    round_index=0,
    read=torch.zeros(2, 2),
    weights=torch.tensor([0.25, 0.75], dtype=torch.float64),
    fraction=0.5,
    lr=torch.tensor(0.1),
    steps=torch.tensor([1.0, 1.0]),
    step_sums=torch.tensor([0.1, 0.1]),
)


def gradients(seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(
        rng.standard_normal((STEPS, SIZE)) * 10 ** rng.uniform(-3, 1, (STEPS, 1))
    )


def rates():
    return [0.1 / (1 + t // 10) for t in range(STEPS)]


def torch_path(make, start):
    x = start.clone().requires_grad_()
    optimiser = make([x])
    for grad, lr in zip(gradients(), rates(), strict=True):
        optimiser.param_groups[0]["lr"] = lr
        x.grad = grad.clone()
        optimiser.step()
        yield x.detach().clone()


def our_path(inner, start):
    x, state = start, inner.init(start)
    for grad, lr in zip(gradients(), rates(), strict=True):
        x, state = inner.step(x, grad, state, torch.tensor(lr, dtype=torch.float64))
        yield x


def start():
    return torch.from_numpy(np.random.default_rng(5).standard_normal(SIZE))


def check(inner, make):
    for t, (ours, theirs) in enumerate(
        zip(our_path(inner, start()), torch_path(make, start()), strict=True)
    ):
        assert torch.allclose(ours, theirs, rtol=1e-13, atol=1e-13), f"step {t}"


@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_sgd_is_torch_sgd(momentum, weight_decay):
    options = {"momentum": momentum, "weight_decay": weight_decay}
    check(sgd(0.1, **options), lambda p: torch.optim.SGD(p, lr=0.1, **options))


@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
@pytest.mark.parametrize("momentum", [0.5, 0.9])
def test_nesterov_is_torch_nesterov(momentum, weight_decay):
    options = {"momentum": momentum, "nesterov": True, "weight_decay": weight_decay}
    check(sgd(0.1, **options), lambda p: torch.optim.SGD(p, lr=0.1, **options))


@pytest.mark.parametrize("weight_decay", [0.0, 0.01, 0.3])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.9), (0.5, 0.0)])
@pytest.mark.parametrize("eps", [1e-8, 1e-3])
def test_adamw_is_torch_adamw(betas, weight_decay, eps):
    options = {"betas": betas, "eps": eps, "weight_decay": weight_decay}
    check(AdamW(0.1, **options), lambda p: torch.optim.AdamW(p, lr=0.1, **options))


def test_defaults_are_torchs():
    check(AdamW(0.1), lambda p: torch.optim.AdamW(p, lr=0.1))
    check(SGD(0.1), lambda p: torch.optim.SGD(p, lr=0.1))


def test_momentum_zero_is_plain():
    """`sgd` leaves the buffer out where momentum is 0; the steps are those with it."""
    kept = Momentum(0.1, weight_decay=0.05, momentum=0.0)
    plain = sgd(0.1, momentum=0.0, weight_decay=0.05)
    assert plain == SGD(0.1, weight_decay=0.05) and plain.init(start()) == ()
    for a, b in zip(our_path(plain, start()), our_path(kept, start()), strict=True):
        assert torch.equal(a, b)


def test_sgd_with_momentum_is_the_piece_with_a_buffer():
    assert sgd(0.1, "reset", 0.9, True, 0.01) == Momentum(0.1, "reset", 0.01, 0.9, True)


PIECES = [
    SGD(0.1),
    Momentum(0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    AdamW(0.1),
    AdamW(StepRate(0.1, {2: 0.5})),
]


@pytest.mark.parametrize("inner", PIECES, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_many_clients_step_as_one_does(inner, dtype):
    x, lr = gradients(1)[:5].to(dtype), torch.tensor(0.1, dtype=dtype)
    states = torch.vmap(inner.init)(x)
    singles = [inner.init(row) for row in x]
    many, alone = x, list(x)
    for grad in gradients(2)[:20].reshape(4, 5, SIZE).to(dtype):
        many, states = torch.vmap(inner.step, in_dims=(0, 0, 0, None))(many, grad, states, lr)
        for i in range(5):
            alone[i], singles[i] = inner.step(alone[i], grad[i], singles[i], lr)
    assert many.dtype == dtype
    torch.testing.assert_close(many, torch.stack(alone), rtol=4 * torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("inner", PIECES, ids=repr)
def test_a_step_changes_none_of_its_inputs(inner):
    x, lr = start(), torch.tensor(0.1, dtype=torch.float64)
    _, state = inner.step(x, gradients()[0], inner.init(x), lr)
    inputs = (x, gradients()[1], *state)
    before = [t.clone() for t in inputs]
    inner.step(x, inputs[1], state, lr)
    assert all(torch.equal(a, b) for a, b in zip(before, inputs, strict=True))


@pytest.mark.parametrize("inner", PIECES, ids=repr)
def test_an_inner_optimiser_is_a_value(inner):
    again = pickle.loads(pickle.dumps(inner))
    assert again == inner and hash(again) == hash(inner)


def momentum_state(*values):
    return MomentumState(torch.tensor(values, dtype=torch.float64))


def test_kept_buffers_stay_on_the_client():
    inner, state = Momentum(0.1, "keep", momentum=0.9), momentum_state(1.0, 2.0)
    assert inner.begin(state, ()) is state
    assert inner.control(start()) == inner.report(state) == inner.combine((), (), INFO) == ()


def test_reset_buffers_begin_every_round_at_zero():
    inner, state = Momentum(0.1, "reset", momentum=0.9), momentum_state(1.0, 2.0)
    assert inner.begin(state, ()).velocity.tolist() == [0.0, 0.0]
    assert state.velocity.tolist() == [1.0, 2.0]
    assert inner.control(start()) == inner.report(state) == inner.combine((), (), INFO) == ()


def test_averaged_buffers_travel():
    inner, state = Momentum(0.1, "average", momentum=0.9), momentum_state(1.0, 2.0)
    first = inner.control(start())
    assert torch.equal(first.velocity, torch.zeros(SIZE, dtype=torch.float64))
    assert inner.begin(state, first) is first
    assert inner.report(state) is state
    reports = MomentumState(torch.tensor([[1.0, 2.0], [3.0, -2.0]], dtype=torch.float64))
    assert inner.combine(first, reports, INFO).velocity.tolist() == [2.5, -1.0]


def test_buffers_of_adam_include_the_count():
    adam = AdamW(0.1, "reset")
    _, state = adam.step(start(), gradients()[0], adam.init(start()), torch.tensor(0.1).double())
    assert float(state.taken) == 1
    cleared = adam.begin(state, ())
    assert all(float(t.abs().sum()) == 0 for t in cleared)
    shared = AdamW(0.1, "average")
    both = AdamState(*(torch.stack([t, 3 * t]) for t in state))
    assert float(shared.combine((), both, INFO).taken) == 2.5
    assert shared.report(state) is state


@given(
    lr=st.floats(1e-6, 10),
    drops=st.dictionaries(st.integers(0, 20), st.floats(0.1, 1.0), max_size=4),
    t=st.integers(0, 25),
    steps=st.integers(1, 5),
)
def test_rates_come_from_the_schedule(lr, drops, t, steps):
    for inner in (SGD(StepRate(lr, drops)), AdamW(StepRate(lr, drops))):
        expected = lr * np.prod([f for start, f in drops.items() if t >= start])
        assert inner.rates(t, 0, steps) == pytest.approx([expected] * steps)
    assert SGD(lr).rates(t, 3, steps).tolist() == ConstantRate(lr).at(t, 3, steps).tolist()
    assert SGD(lr).rates(t, 3, steps).tolist() == [lr] * steps


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: SGD(0.0), "lr must be positive, got 0.0; for example lr=0.1"),
        (lambda: SGD(float("inf")), "lr must be finite, got inf"),
        (lambda: AdamW(-1.0), "lr must be positive, got -1.0"),
        (lambda: SGD(0.1, "mean"), "buffers must be keep, reset or average, got 'mean'"),
        (lambda: sgd(0.1, momentum=1.0), r"momentum must be in \[0, 1\), got 1.0"),
        (lambda: Momentum(0.1, momentum=-0.1), r"momentum must be in \[0, 1\), got -0.1"),
        (lambda: SGD(0.1, weight_decay=-1.0), "weight_decay must be >= 0, got -1.0"),
        (lambda: AdamW(0.1, betas=(0.9, 1.0)), r"each of betas must be in \[0, 1\), got 1.0"),
    ],
)
def test_wrong_parameters_are_refused(build, text):
    with pytest.raises(ValueError, match=text):
        build()
