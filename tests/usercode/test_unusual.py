"""Models and losses that reach tensors or values by unusual ways."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fedlocal import simulate
from fedlocal.runtime import Vmapped
from strategies import local_sgd
from tests.usercode import plain

RUNTIMES = {
    "loop": "loop",
    "direct": Vmapped(program="direct"),
    "recorded": Vmapped(program="recorded"),
}


class Deep(nn.Module):
    """Two blocks, of which the first may be computed again in the backward pass."""

    def __init__(self, again: bool, dropout: float = 0.0) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(dropout))
        self.last = nn.Linear(8, 3)
        self.again = again

    def forward(self, x: Tensor) -> Tensor:
        if self.again:
            return self.last(checkpoint(self.first, x, use_reentrant=False))
        return self.last(self.first(x))


class Listed(nn.Module):
    """Parameters that `forward` reaches by a Python list."""

    def __init__(self, listed: int) -> None:
        super().__init__()
        self.w1 = nn.Parameter(torch.randn(6, 4) / 2)
        self.w2 = nn.Parameter(torch.randn(3, 6) / 2)
        self.weights = [self.w1, self.w2][:listed]

    def forward(self, x: Tensor) -> Tensor:
        w1, w2 = self.weights + [self.w1, self.w2][len(self.weights) :]
        return torch.tanh(x @ w1.T) @ w2.T


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Linear(4, 4)
        self.out = nn.Linear(4, 4)
        self.out.weight = self.into.weight
        self.last = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.out(torch.tanh(self.into(x))))


class Assigns(nn.Module):
    """A buffer that `forward` replaces and does not write to."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 3)
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return self.last(x - self.mean)


def clients() -> plain.Pairs:
    rng = torch.Generator().manual_seed(5)
    return [
        (
            torch.randn(n, 4, generator=rng, dtype=torch.float64) + 0.3 * i,
            torch.cat([torch.arange(3), torch.randint(0, 3, (n - 3,), generator=rng)]),
        )
        for i, n in enumerate(plain.SIZES)
    ]


def run(make, runtime, loss=F.cross_entropy, rounds=3, **given):
    model = make() if isinstance(make(), Rotary) else plain.seeded(make)
    return simulate(
        model, clients(), local_sgd(plain.RATE, plain.STEPS), rounds=rounds,
        batch_size=plain.BATCH, loss=loss, runtime=runtime, device="cpu", **given,
    )  # fmt: skip


def close_to_plain(make, runtime, loss=F.cross_entropy) -> bool:
    expected = plain.local_sgd(plain.seeded(make), clients(), loss, rounds=3)
    result = run(make, RUNTIMES[runtime], loss)
    assert expected.moved > 0.01
    return plain.largest(dict(result.model.state_dict()), expected.tensors) <= 1e-12


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_checkpoint_changes_nothing(runtime):
    once, again = (
        run(lambda again=again: Deep(again), RUNTIMES[runtime]).params for again in (False, True)
    )
    assert float((once - again).abs().max()) <= 1e-14


@pytest.mark.parametrize("make", [Tied, Assigns])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_tied_weights_and_replaced_buffers(runtime, make):
    assert close_to_plain(make, runtime)


class Rotary(nn.Module):
    """A complex buffer, as rotary position embeddings have."""

    def __init__(self) -> None:
        super().__init__()
        angles = torch.tensor([0.3, 1.1], dtype=torch.float64)
        self.register_buffer("turn", torch.polar(torch.ones_like(angles), angles))
        self.last = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        pairs = torch.view_as_complex(x.reshape(-1, 2, 2).contiguous())
        return self.last(torch.view_as_real(pairs * self.turn).reshape(-1, 4))


@pytest.mark.parametrize("dtype", [None, torch.float32, torch.float64])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_complex_buffers_stay_complex(runtime, dtype):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        # Not `.double()`, which would drop the imaginary part before fedlocal sees it.
        model = Rotary()
    model.last.double()
    expected = plain.local_sgd(model, clients(), F.cross_entropy, rounds=3)
    result = run(lambda: model, RUNTIMES[runtime], dtype=dtype)
    weight = result.model.last.weight
    assert weight.dtype == dtype or dtype is None
    apart = float((weight.detach().double() - expected.model.last.weight).abs().max())
    assert apart <= (1e-6 if dtype is torch.float32 else 1e-12)


@pytest.mark.parametrize("pattern", ["out", "out.weight", "into.weight"])
def test_a_pattern_may_be_any_name_of_a_tied_parameter(pattern):
    result = run(Tied, "loop", personal=[pattern])
    names = set(result.personal_tensors())
    assert names == {"into.weight"} | ({"out.bias"} if pattern == "out" else set())
    frozen = run(Tied, "loop", frozen=[pattern])
    assert not set(frozen.layout.shared.names) & names
    weight = dict(plain.seeded(Tied).named_parameters())["into.weight"]
    assert (
        torch.equal(frozen.model.out.weight, weight)
        and frozen.model.out.weight is frozen.model.into.weight
    )


def ranked(output: Tensor, target: Tensor) -> Tensor:
    """A loss whose intermediate sizes depend on values."""
    return output[target == 1].mean() - output[target != 1].square().mean().sqrt()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_sizes_that_depend_on_values(runtime):
    assert close_to_plain(lambda: Deep(False), runtime, ranked)
    executor = run(lambda: Deep(False), RUNTIMES[runtime], ranked).executor
    assert runtime == "loop" or "local steps direct" in executor


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: Listed(2), "the gradient for w1 is not the one that backward() gives: forward"),
        (lambda: Listed(1), "the gradient for w1 is not the one that backward() gives: forward"),
        (
            lambda: Deep(True, 0.5),
            "the backward pass draws random numbers (bernoulli_), as activation checkpointing",
        ),
    ],
)
def test_refused_in_one_line(make, line):
    with pytest.raises(ValueError) as refusal:
        run(make, "loop")
    assert str(refusal.value).startswith(line) and "\n" not in str(refusal.value)


class Annealed:
    """A loss with a temperature that the caller lowers."""

    def __init__(self) -> None:
        self.temperature = 1.0

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(output / self.temperature, target)

    def lower(self, row: object) -> None:
        self.temperature *= 0.9


def test_a_loss_that_the_caller_changes():
    """Steps that are not recorded follow the change; recorded ones are refused, never wrong."""
    ends = []
    for runtime in ("loop", "direct"):
        loss = Annealed()
        result = run(lambda: Deep(False), RUNTIMES[runtime], loss, on_round=loss.lower)
        ends.append(result.params)
    assert float((ends[0] - ends[1]).abs().max()) <= 1e-14
    loss = Annealed()
    with pytest.raises(RuntimeError, match="reads a Python value that has changed since; run with"):
        run(lambda: Deep(False), RUNTIMES["recorded"], loss, on_round=loss.lower)
