"""Models and losses that reach tensors or values by unusual ways."""

from copy import deepcopy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fedlocal import simulate
from fedlocal.api import finish
from fedlocal.config.build import build
from fedlocal.config.compose import compose
from fedlocal.config.errors import ConfigError
from fedlocal.objective.losses import CrossEntropy
from fedlocal.rounds import run_loop
from fedlocal.runtime import Vmapped
from strategies import local_sgd
from tests.usercode import mine, plain

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
    return simulate(
        plain.seeded(make), clients(), local_sgd(plain.RATE, plain.STEPS), rounds=rounds,
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


# The tensors that a pattern selects by any name of the tied one.
TIED = {
    "out": ["into.weight", "out.bias"],
    "out.w*": ["into.weight"],
    "into.weight": ["into.weight"],
}


@pytest.mark.parametrize("pattern", TIED)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_any_name_of_a_tied_parameter_makes_it_personal(runtime, pattern):
    model, loss = plain.seeded(Tied), F.cross_entropy
    expected = plain.local_sgd(model, clients(), loss, rounds=3, personal=TIED[pattern])
    result = run(Tied, RUNTIMES[runtime], personal=[pattern])
    ours = result.personal_tensors()
    assert set(ours) == set(TIED[pattern])
    for name, rows in ours.items():
        theirs = torch.stack([kept[name] for kept in expected.clients])
        assert float((rows - theirs).abs().max()) <= 1e-12
        assert float((rows[0] - rows[1]).abs().max()) > 1e-3
    one = result.client_model(1)
    assert one.out.weight is one.into.weight
    assert torch.equal(one.out.weight, ours["into.weight"][1])


@pytest.mark.parametrize("pattern", TIED)
def test_any_name_of_a_tied_parameter_freezes_it(pattern):
    result, before = run(Tied, "loop", frozen=[pattern]), plain.seeded(Tied)
    assert not set(TIED[pattern]) & set(result.layout.shared.names)
    assert torch.equal(result.model.out.weight, before.into.weight)
    assert result.model.out.weight is result.model.into.weight
    assert not torch.equal(result.model.last.weight, before.last.weight)


class Turning(nn.Module):
    """`mine.Rotary` with real numbers: each pair of inputs times a rotation."""

    def __init__(self, like: mine.Rotary) -> None:
        super().__init__()
        self.last = deepcopy(like.last)
        self.register_buffer("cos", like.turn.real.clone())
        self.register_buffer("sin", like.turn.imag.clone())

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.reshape(-1, 2, 2).unbind(-1)
        turned = [a * self.cos - b * self.sin, a * self.sin + b * self.cos]
        return self.last(torch.stack(turned, -1).flatten(1))


def rotary() -> mine.Rotary:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return mine.Rotary((4,), 3)


# The complex dtype of each real one, and what rounding allows.
PRECISIONS = {torch.float32: (torch.complex64, 1e-6), torch.float64: (torch.complex128, 1e-12)}


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_complex_buffers_keep_their_imaginary_part(runtime, dtype):
    of_buffer, allowed = PRECISIONS[dtype]
    real = Turning(rotary()).double()
    expected = plain.local_sgd(real, clients(), F.cross_entropy, rounds=3)
    result = simulate(
        rotary(), clients(), local_sgd(plain.RATE, plain.STEPS), rounds=3,
        batch_size=plain.BATCH, runtime=RUNTIMES[runtime], device="cpu", dtype=dtype,
    )  # fmt: skip
    assert result.model.turn.dtype == of_buffer and result.model.last.weight.dtype == dtype
    assert torch.equal(result.model.turn.to(torch.complex64), rotary().turn)
    for ours, theirs in ((result.model.last.weight, expected.model.last.weight),):
        assert float((ours.double() - theirs).detach().abs().max()) <= allowed
    assert expected.moved > 0.01


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_complex_buffers_on_the_command_line(dtype):
    file, name = "tests.usercode.mine", str(dtype).removeprefix("torch.")
    given = f"K=2 H=2 rounds=2 partition=iid dataset=own dataset._target_={file}.data lr=0.1"
    chosen = f"model=own model._target_={file}.Rotary dtype={name} device=cpu"
    sim = build(compose(f"{given} {chosen}").cfg).simulation
    result = finish(sim, run_loop.run(sim, run_loop.initial_progress(sim), lambda _: None))
    of_buffer, allowed = PRECISIONS[dtype]
    assert result.model.turn.dtype == of_buffer and result.model.turn.imag.abs().min() > 0.2
    x, y = sim.objective.x.double(), sim.objective.y
    pairs = [(x[rows], y[rows]) for rows in map(sim.clients.examples, range(2))]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        real = Turning(mine.Rotary((4,), 3)).double()
    expected = plain.local_sgd(real, pairs, F.cross_entropy, rounds=2, steps=2, size=32, rate=0.1)
    assert expected.moved > 0.01
    ours, theirs = result.model.last.weight, expected.model.last.weight
    assert float((ours.double() - theirs).detach().abs().max()) <= allowed


class Masked(nn.Module):
    """A mask of -inf, a frozen parameter or a buffer."""

    def __init__(self, parameter: bool) -> None:
        super().__init__()
        self.score = nn.Linear(4, 4)
        self.last = nn.Linear(4, 3)
        mask = torch.full((4,), 0.0)
        mask[1] = -torch.inf
        if parameter:
            self.mask = nn.Parameter(mask, requires_grad=False)
        else:
            self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.last((self.score(x) + self.mask).softmax(1) * x)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_frozen_mask_may_be_infinite(runtime):
    assert close_to_plain(lambda: Masked(False), runtime)
    ends = [run(lambda p=p: Masked(p), RUNTIMES[runtime]).params for p in (False, True)]
    assert torch.equal(*ends)


def test_clients_are_numbers():
    result = run(Tied, "loop", rounds=1)
    for wrong in ("a", 1.0, -1, 3):
        with pytest.raises(IndexError, match=f"there is no client {wrong!r}; clients are 0 to 2"):
            result.client_model(wrong)


class Words(nn.Module):
    """Looks vectors up and never trains them."""

    def __init__(self) -> None:
        super().__init__()
        self.vectors = nn.Embedding(5, 4, sparse=True)
        self.last = nn.Linear(4, 3)
        self.mask = nn.Parameter(torch.tensor([0.0, -torch.inf, 0.0]), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.vectors((x.abs() * 10).long() % 5).mean(1)) + 0 * self.mask.exp()


def test_what_is_frozen_may_be_sparse_or_infinite():
    assert run(Words, "loop", frozen=["vectors"]).history[-1]["train_loss"] > 0
    with pytest.raises(ValueError, match="the gradient of the parameter vectors"):
        run(Words, "loop")


def test_a_machine_with_one_example(tmp_path):
    file = tmp_path / "mine.npz"
    np.savez(file, x=mine.features()[:1].numpy(), y=mine.labels()[:1].numpy())
    line = (
        f"dataset=on_nodes dataset.own={file} dataset.input_shape=[4] dataset.num_classes=3 K=2"
        " model=own model._target_=tests.usercode.mine"
    )
    assert len(build(compose(f"{line}.Net").cfg).simulation.clients) == 2
    with pytest.raises(ConfigError, match="take a larger batch_size and clients with more exam"):
        build(compose(f"{line}.Normalised").cfg)


@pytest.mark.parametrize(
    "loss", [CrossEntropy(ignore_index=-1), nn.CrossEntropyLoss(ignore_index=-1)]
)
def test_labels_below_0_are_skipped_as_the_refusal_says(loss):
    pairs = [(x, y - 1) for x, y in clients()]
    result = simulate(
        plain.seeded(lambda: nn.Linear(4, 3)), pairs, local_sgd(0.1, 2), 1, loss=loss, test=pairs[0]
    )
    assert result.history[-1]["test_loss"] > 0


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
    ends = []
    for runtime in RUNTIMES.values():
        loss = Annealed()
        ends.append(run(lambda: Deep(False), runtime, loss, on_round=loss.lower).params)
    assert max(float((end - ends[0]).abs().max()) for end in ends) <= 1e-14
