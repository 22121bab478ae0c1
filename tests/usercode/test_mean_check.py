"""Losses that equal a mean over examples at some points only: batches are never padded."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedlocal import simulate
from fedlocal.objective.losses import MAE, MSE, CrossEntropy, Huber, cross_entropy, squared_error
from fedlocal.runtime import Vmapped
from strategies import local_sgd
from tests.usercode import plain

torch.manual_seed(0)
SIZES = (30, 7, 12)
Loss = Callable[[Tensor, Tensor], Tensor]


def classes(*shape: int) -> plain.Pairs:
    return [(torch.randn(n, *shape).double(), torch.randint(0, 3, (n,))) for n in SIZES]


def numbers() -> plain.Pairs:
    return [(x, x.sum(1, keepdim=True)) for x, _ in classes(4)]


def run(
    model: nn.Module, pairs: plain.Pairs, loss: Loss, program: Any = "direct", rounds: int = 2
) -> Any:
    runtime = Vmapped(program=program) if program != "loop" else "loop"
    return simulate(
        model, pairs, local_sgd(0.5, 3), rounds, 16, loss=loss, runtime=runtime, device="cpu"
    )


def linear(outputs: int = 3) -> nn.Module:
    return plain.seeded(lambda: nn.Linear(4, outputs))


def two_terms(o: Tensor, t: Tensor) -> Tensor:
    return 2 * F.cross_entropy(o, t) - 0.1 * o.square().sum() / len(o) + 1


MEANS = [
    (linear(), classes(4), F.cross_entropy),
    (linear(), classes(4), cross_entropy),
    (linear(), classes(4), CrossEntropy(label_smoothing=0.1)),
    (linear(), classes(4), nn.CrossEntropyLoss(label_smoothing=0.1)),
    (linear(), classes(4), two_terms),
    (linear(1), numbers(), MSE()),
    (linear(1), numbers(), MAE()),
    (linear(1), numbers(), Huber()),
    (linear(1), numbers(), squared_error),
    (linear(1), numbers(), nn.SmoothL1Loss()),
    (linear(1), [(x, (y > 0).double()) for x, y in numbers()], nn.BCEWithLogitsLoss()),
    (
        plain.seeded(
            lambda: nn.Sequential(
                nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                nn.Dropout(0.3), nn.LayerNorm(16), nn.Linear(16, 3),
            )
        ),
        classes(1, 6, 6),
        F.cross_entropy,
    ),
    (
        plain.seeded(
            lambda: nn.Sequential(
                nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), nn.Flatten(),
                nn.Linear(24, 3),
            )
        ),
        classes(6, 4),
        F.cross_entropy,
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(MEANS)))
def test_means_are_padded(case):
    model, pairs, loss = MEANS[case]
    padded = run(model, pairs, loss)
    assert padded.executor.startswith("vectorised: 3 clients at once")
    if not any(isinstance(module, nn.Dropout) for module in model.modules()):
        assert (padded.params - run(model, pairs, loss, "loop").params).abs().max() < 1e-13


FACTOR = 0.0


def switched(o: Tensor, t: Tensor) -> Tensor:
    return F.cross_entropy(o, t) + FACTOR * o.softmax(1).mean(0).log().sum()


class Warmed(nn.Module):
    """Centres its input from a number of steps on, which a buffer counts."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 3)
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.steps += 1
        return self.last(x - (self.steps > 15) * x.mean(0))


OTHERS = {
    "flooding": (linear, lambda o, t: (F.cross_entropy(o, t) - 0.9).abs() + 0.9),
    "a bound on the mean": (linear, lambda o, t: F.cross_entropy(o, t).clamp(min=0.9)),
    "a term that is 0": (linear, switched),
    "a buffer that counts": (lambda: plain.seeded(Warmed), F.cross_entropy),
    "the worst example": (linear, lambda o, t: F.cross_entropy(o, t, reduction="none").amax()),
    "one example": (linear, lambda o, t: F.cross_entropy(o, t) + 0.0 * o[0].exp().sum()),
    "a value": (linear, lambda o, t: F.cross_entropy(o, t) if float(t.sum()) > -1 else o.sum()),
}


@pytest.mark.parametrize("name", OTHERS)
def test_others_are_not(name):
    make, loss = OTHERS[name]
    pairs = classes(4)
    ends = [run(make(), pairs, loss, program, 10) for program in ("loop", "direct")]
    assert "differ in size" in ends[1].executor
    assert (ends[0].params - ends[1].params).abs().max() < 1e-13
