"""Couplings of examples that show only at values that a run reaches later: never padded.

Each is a plain mean over the examples as long as a threshold is not reached.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedlocal import Evaluate, simulate
from fedlocal.objective.interpretation import DependsOnValues, interpret
from fedlocal.objective.rowwise_check import is_rowwise
from fedlocal.runtime import Vmapped
from strategies import local_sgd
from tests.usercode import plain

Loss = Callable[[Tensor, Tensor], Tensor]
Map = Callable[[Tensor], Tensor]
FAR = 1e3


def clients() -> plain.Pairs:
    drawn = torch.Generator().manual_seed(1)
    w = torch.randn(5, 3, generator=drawn).double()
    pairs = []
    for n in (5, 9, 14, 22, 31, 47, 60):
        x = torch.randn(n, 5, generator=drawn).double()
        pairs.append((x, (x @ w).argmax(1)))
    return pairs


def executor(model: nn.Module, loss: Loss) -> str:
    return simulate(
        model, clients(), local_sgd(0.1, 1), 1, 16, loss=loss,
        runtime=Vmapped(program="direct"), device="cpu",
    ).executor  # fmt: skip


def linear() -> nn.Module:
    return plain.seeded(lambda: nn.Linear(5, 3))


def each(o: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(o, y, reduction="none")


def per_class(o: Tensor, y: Tensor) -> Tensor:
    return torch.zeros(3, dtype=o.dtype).index_add(0, y, each(o, y)) / len(o)


def relu(x: Tensor) -> Tensor:
    return F.relu(x - FAR).mean()


# Terms that are 0 at all values up to 1e3.
TERMS: dict[str, Loss] = {
    "products of pairs": lambda o, y: relu(o @ o.t()),
    "einsum": lambda o, y: relu(torch.einsum("bi,ci->bc", o, o)),
    "distances": lambda o, y: relu(torch.cdist(o, o)),
    "differences": lambda o, y: relu((o[:, None] - o[None]).abs()),
    "pairs of one class": lambda o, y: ((y[:, None] == y[None]) * F.relu(o @ o.t() - FAR)).mean(),
    "the example before": lambda o, y: relu(o - o.roll(1, 0)),
    "the first example": lambda o, y: relu(o - o[:1]),
    "the first example only": lambda o, y: relu(o[0]),
    "the last example only": lambda o, y: relu(o[-1]),
    "the example across": lambda o, y: relu((o * o.flip(0)).sum(1)),
    "a sum so far": lambda o, y: relu(o.cumsum(0)),
    "a convolution": lambda o, y: relu(F.conv1d(o.t()[None], torch.ones(3, 3, 3).double())),
    "windows": lambda o, y: relu(o.unfold(0, 2, 1).mean(-1)),
    "a softmax over examples": lambda o, y: F.relu(o.softmax(0) - 2).sum(),
    "logsumexp over examples": lambda o, y: relu(o.logsumexp(0)),
    "a transform over examples": lambda o, y: relu(torch.fft.fft(o, dim=0).abs()),
    "a covariance": lambda o, y: relu(torch.cov(o.t())),
    "a norm of the batch": lambda o, y: relu(torch.linalg.matrix_norm(o, 2)),
    "a quantile": lambda o, y: relu(o.quantile(0.9, dim=0)),
    "a sum instead of a mean": lambda o, y: F.relu(o.norm(dim=1) - FAR).sum(),
    "the number of examples": lambda o, y: relu(o * len(o)),
    "attention": lambda o, y: relu(F.scaled_dot_product_attention(o[None], o[None], o[None])),
    "vmap": lambda o, y: torch.vmap(lambda a: relu((a - o).norm(dim=-1)))(o).mean(),
    "a gradient's length": lambda o, y: relu(
        torch.func.grad(lambda z: F.cross_entropy(z, y))(o).norm()
    ),
    "a loss of a class": lambda o, y: relu(per_class(o, y)),
    "written in place": lambda o, y: o.mean(0).mul(1.0).sub_(FAR).relu_().sum(),
    "clamp": lambda o, y: o.mean(0).clamp(min=FAR).sum(),
    "for eight examples or more": lambda o, y: relu(o @ o.t()) * (len(o) >= 8),
    "the eight largest": lambda o, y: F.relu(o - FAR).flatten().topk(min(8, len(o)))[0].mean(),
    "the largest against a constant": lambda o, y: (
        torch.cat([o.mean(0), torch.tensor([FAR]).double()]).topk(1)[0] - FAR
    ).sum(),
    "a softmax with a constant": lambda o, y: (
        torch.cat([o.mean(0), torch.tensor([60.0]).double()]).softmax(0)[0] * o.mean()
    ),
    "a softmax as a switch": lambda o, y: (
        torch.stack([0 * o.mean(), 100 * (o.mean() - 25)]).softmax(0)[1] * o.mean()
    ),
    "a rare label": lambda o, y: ((y == 2) * F.relu(o.mean() - FAR)).mean(),
    "a rare event": lambda o, y: F.cross_entropy(
        torch.where(torch.rand(()) < 1e-6, o.roll(1, 0), o), y
    ),
    "floor": lambda o, y: torch.floor(o.mean(0).square() / FAR).sum(),
    "div to whole numbers": lambda o, y: (
        o.mean(0).square().div(FAR, rounding_mode="floor") * o.mean(0)
    ).sum(),
}  # fmt: skip
# Factors that are 1 at all values up to 1e3.
FACTORS: dict[str, Loss] = {
    "the largest loss": lambda o, y: 1 + (each(o, y).detach().max() > FAR),
    "any": lambda o, y: 1 + (o > FAR).any(),
    "count_nonzero": lambda o, y: 1 + (torch.count_nonzero(o > FAR) > 0),
    "median": lambda o, y: 1 + (each(o, y).detach().median() > FAR),
    "product": lambda o, y: 1 + F.relu(each(o, y).prod() - 1e30),
    "an index": lambda o, y: torch.tensor([1.0, 0.5])[
        (F.cross_entropy(o, y).detach() / FAR).long().clamp(0, 1)
    ],
    "a bucket": lambda o, y: torch.tensor([1.0, 0.5])[
        torch.bucketize(o.mean().detach(), torch.tensor([FAR]).double())
    ],
    "a choice": lambda o, y: torch.tensor([0.5, 1.0])[
        torch.stack([o.mean().detach(), torch.tensor(FAR).double()]).argmax()
    ],
    "order": lambda o, y: 1 + (o.argsort(0)[0].max() > FAR),
    "masked_fill": lambda o, y: torch.ones(()).masked_fill(o.mean() > FAR, 0.0),
    "sign": lambda o, y: F.cross_entropy(o, y).detach().sign(),
    "the sum of labels": lambda o, y: 1 + (y.sum() > FAR),
    "the largest label": lambda o, y: 1 + (y.max() > FAR),
    "a label": lambda o, y: 1 + (y > FAR).any(),
    "one class": lambda o, y: 1 + (F.one_hot(y, 3).sum(0) > FAR).any(),
}
# Functions of the mean over examples that are the mean itself up to 1e3.
OF_MEANS: dict[str, Map] = {
    "flooding": lambda mean: (mean - 1e-3).abs() + 1e-3,
    "clamp": lambda mean: mean.clamp(max=FAR),
    "leaky_relu": lambda mean: F.leaky_relu(mean, 0.1),
    "elu": F.elu,
    "maximum": lambda mean: torch.maximum(mean, torch.tensor(1e-9)),
    "where": lambda mean: torch.where(mean.isfinite(), mean, 0 * mean),
    "nan_to_num": lambda mean: mean.nan_to_num(0.0),
    "remainder": lambda mean: mean.remainder(FAR),
    "l1_loss": lambda mean: F.l1_loss(mean, torch.zeros(())),
    "smooth_l1_loss": lambda mean: F.smooth_l1_loss(mean + 1, torch.zeros(()), beta=0.5),
    "huber_loss": lambda mean: F.huber_loss(mean + 1, 0 * mean.detach(), delta=0.5),
    "a root of a square": lambda mean: mean.square().sqrt(),
}
# Backward passes that return the gradient g for lengths of g up to 1e3, or from 1e-3.
BACKWARDS: dict[str, Map] = {
    "centred if small": lambda g: torch.where(g.norm() < 1 / FAR, g - g.mean(0), g),
    "centred if large": lambda g: torch.where(g.norm() > FAR, g - g.mean(0), g),
    "shifted": lambda g: g + 1e-3 * (g.abs().max() < 1 / FAR),
    "divided by the number of examples": lambda g: torch.where(
        g.norm() < 1 / FAR, g / len(g), g
    ),
    "clipped together": lambda g: g * torch.clamp(FAR / g.norm(), max=1.0),
    "clipped by the mean length": lambda g: g * torch.clamp(FAR / g.norm(dim=1).mean(), max=1.0),
    "clipped by the number of examples": lambda g: g.clamp(-FAR / len(g), FAR / len(g)),
    "sorted": lambda g: torch.where(g.abs().max() < 1 / FAR, g.sort(0)[0], g),
    "reversed": lambda g: torch.where(g.abs().max() < 1 / FAR, g.flip(0), g),
}  # fmt: skip
# Changes of a hidden layer h that are 0 at all values up to 1e3.
SHIFTS: dict[str, Map] = {
    "mean": lambda h: F.relu(h.mean(0) - FAR),
    "the example before": lambda h: F.relu(h - h.roll(1, 0) - FAR),
    "products of pairs": lambda h: F.relu(h @ h.t() - FAR).mean(1, keepdim=True),
    "batch statistics": lambda h: h * F.relu(h.std(0, correction=0) - FAR),
    "the largest": lambda h: h * (h.detach().amax() > FAR),
    "the first example": lambda h: F.relu(h - h[:1] - FAR),
    "the last example": lambda h: F.relu(h - h[-1:] - FAR),
    "the number of examples": lambda h: F.relu(h * len(h) - FAR),
}


@pytest.mark.parametrize("name", TERMS)
def test_terms(name):
    assert "differ in size" in executor(
        linear(), lambda o, y: F.cross_entropy(o, y) + TERMS[name](o, y)
    )


@pytest.mark.parametrize("name", FACTORS)
def test_factors(name):
    loss = lambda o, y: F.cross_entropy(o, y) * FACTORS[name](o, y)  # noqa: E731
    # `vmap` refuses some of them.
    assert "vectorised" not in executor(linear(), loss)


@pytest.mark.parametrize("name", OF_MEANS)
def test_functions_of_the_mean(name):
    loss = lambda o, y: OF_MEANS[name](F.cross_entropy(o, y))  # noqa: E731
    assert "differ in size" in executor(linear(), loss)


class Between(nn.Module):
    """Two layers with a function between them."""

    def __init__(self, between: Map) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 6), nn.Linear(6, 3)
        self.between = [between]

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.between[0](self.first(x).tanh()))


def backward(change: Map) -> Map:
    """Return the identity, whose gradient is changed."""

    class Identity(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x):
            return x.clone()

        @staticmethod
        def setup_context(ctx, inputs, output):
            pass

        @staticmethod
        def backward(ctx, g):
            return change(g)

    return Identity.apply


def hooked(change: Map) -> Map:
    def identity(h: Tensor) -> Tensor:
        if h.requires_grad:
            h.register_hook(change)
        return h

    return identity


@pytest.mark.parametrize("how", [backward, hooked])
@pytest.mark.parametrize("name", BACKWARDS)
def test_backward_passes(name, how):
    changed = how(BACKWARDS[name])
    assert "vectorised" not in executor(plain.seeded(lambda: Between(changed)), F.cross_entropy)
    loss = lambda o, y: F.cross_entropy(changed(o), y)  # noqa: E731
    assert "vectorised" not in executor(linear(), loss)


# Padding keeps the first example.
@pytest.mark.parametrize("name", sorted(SHIFTS.keys() - {"the first example"}))
def test_models(name):
    model = plain.seeded(lambda: Between(lambda h: h + SHIFTS[name](h)))
    assert "differ in size" in executor(model, F.cross_entropy)


@pytest.mark.parametrize("name", SHIFTS)
def test_models_are_evaluated_at_once(name):
    model = plain.seeded(lambda: Between(lambda h: h + SHIFTS[name](h)))
    assert not is_rowwise(model.eval(), clients()[-1][0])


def test_equal_examples_hide_no_coupling():
    pairs = [(torch.zeros_like(x), y) for x, y in clients()]
    found = simulate(
        linear(), pairs, local_sgd(0.1, 1), 1, 16, runtime=Vmapped(program="direct"), device="cpu",
        loss=lambda o, y: F.cross_entropy(o, y) + relu(o @ o.t()),
    )  # fmt: skip
    assert "differ in size" in found.executor


def test_a_value_that_marks_missing_targets_is_not_missed():
    """One target of twenty is 0, among more different ones than are tried."""
    drawn = torch.Generator().manual_seed(3)
    pairs = []
    for n in (5, 47, 60, 6000):
        y = torch.randn(n, 1, generator=drawn).double()
        y[torch.rand(n, 1, generator=drawn) < 0.05] = 0.0
        pairs.append((torch.randn(n, 5, generator=drawn).double(), y))

    def present(o: Tensor, y: Tensor) -> Tensor:
        m = (y != 0).to(o)
        return (m * (o - y).square()).sum() / (m.sum() + 1e-12)

    model = plain.seeded(lambda: nn.Linear(5, 1))
    runtime = Vmapped(program="direct")
    found = simulate(model, pairs, local_sgd(0.1, 1), 1, 64, loss=present, runtime=runtime)
    assert "differ in size" in found.executor


@pytest.mark.parametrize("of", [lambda o: o.median(0)[0], lambda o: o.topk(3, 0)[0][2]])
def test_selections_over_the_batch_are_evaluated_at_once(of):
    model = plain.seeded(lambda: Between(lambda h: h - F.relu(of(h) - 0.99)))
    assert not is_rowwise(model.eval(), clients()[-1][0])


def test_a_model_that_branches_on_a_value_is_evaluated_at_once():
    class Rescaled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            o = super().forward(x)
            return o / o.abs().max() if o.abs().max() > FAR else o

    assert not is_rowwise(plain.seeded(lambda: Rescaled(5, 3)).eval(), clients()[-1][0])


def test_a_model_of_single_examples_is_evaluated_in_parts():
    model = plain.seeded(lambda: Between(lambda h: h + F.relu(h.abs().amax(1, True) - FAR)))
    assert is_rowwise(model.eval(), clients()[-1][0])


def test_a_run_that_reaches_the_threshold():
    def loss(o: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(o, y) + 0.02 * F.relu(o @ o.t() - 25).mean()

    ends = [
        simulate(
            linear(), clients(), local_sgd(0.5, 5), 50, 16, loss=loss, runtime=runtime, device="cpu"
        ).params
        for runtime in ("loop", Vmapped(program="direct"))
    ]
    assert (ends[0] - ends[1]).abs().max() < 1e-13 * ends[0].abs().max() * 50


def test_evaluations_do_not_depend_on_the_batch_size():
    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = self.last(x)
            return h - F.relu(h.mean(0) - 1.5)

    runs = [
        simulate(
            plain.seeded(Late), clients(), local_sgd(0.5, 5), 15, 16, loss=F.cross_entropy,
            test=clients()[-1], runtime="loop", device="cpu", evaluate=Evaluate(batch_size=size),
        )
        for size in (1, 7, 1000)
    ]  # fmt: skip
    losses = [[row["train_loss"] for row in run.history] for run in runs]
    assert losses[0] == losses[1] == losses[2]


def test_values_that_become_indices_have_no_interpretation():
    x, table = torch.rand(4), torch.rand(3)
    assert interpret(lambda: [table[(x * 3).long()]], [x]) is None
    with pytest.raises(DependsOnValues):
        interpret(lambda: [x if x.sum() > 0 else -x], [x])


def test_a_tensor_of_the_user_is_not_written_to():
    x, kept = torch.rand(4), torch.zeros(4)
    assert interpret(lambda: [kept.add_(x)], [x]) is None
    assert not kept.any()
    inside = interpret(lambda: [torch.zeros(4).add_(x)], [x])
    assert inside is not None and torch.equal(inside[0], x)


def test_images_as_targets_are_padded():
    pairs = [(x, torch.rand(len(x), 3, 20, 20).double()) for x, _ in clients()]
    model = plain.seeded(lambda: nn.Sequential(nn.Linear(5, 1200), nn.Unflatten(1, (3, 20, 20))))
    found = simulate(
        model, pairs, local_sgd(0.1, 1), 1, 16, loss=nn.MSELoss(),
        runtime=Vmapped(program="direct"), device="cpu",
    )  # fmt: skip
    assert found.executor.startswith("vectorised: 7 clients at once")


@pytest.mark.parametrize(("label", "kept"), [(7, True), (2, False)])
def test_a_comparison_of_targets_is_kept_if_it_comes_out_alike_for_all(label, kept):
    y, every, x = torch.tensor([0, 1]), torch.tensor([0, 1, 2, 2]), torch.rand(2)
    found = interpret(lambda: [x * (y == label)], [x], y, every)
    assert found is not None and bool((found[0] == 0).all()) is kept


def test_targets_are_taken_as_they_are():
    y, x = torch.tensor([0, 2, 1]), torch.rand(3, 3)
    found = interpret(lambda: [x[torch.arange(3), y.clamp(max=1)]], [x], y)
    assert found is not None and torch.equal(found[0], x[torch.arange(3), y.clamp(max=1)])
