"""Accuracies against counts by hand, for every kind of target, through whole runs."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fedlocal
from fedlocal.objective.losses import BinaryCrossEntropy, CrossEntropy, cross_entropy
from fedlocal.rounds.scoring import Evaluate
from strategies import local_sgd

N, C = 23, 3


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def classes(*shape: int, high: int = C) -> Tensor:
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(1))


def with_ignored(y: Tensor, value: int) -> Tensor:
    """Targets of which two in five are left out, and never all of an example."""
    flat = y.clone().reshape(-1)
    flat[1::5], flat[3::5] = value, value
    return flat.reshape(y.shape)


class Task(NamedTuple):
    """Inputs, which are nearly the outputs; targets; a loss; and the accuracy of an output."""

    x: Tensor
    y: Tensor
    loss: Callable[[Tensor, Tensor], Tensor]
    accuracy: Callable[[Tensor, Tensor], float] | None
    last: nn.Module = nn.Identity()


class Scaled(nn.Module):
    """The inputs times a trained number, through a last layer."""

    def __init__(self, last: nn.Module) -> None:
        super().__init__()
        self.scale, self.last = nn.Parameter(torch.ones(())), last

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.scale * x)


def along(axis: int, ignored: int = -100) -> Callable[[Tensor, Tensor], float]:
    def accuracy(output: Tensor, y: Tensor) -> float:
        kept = y != ignored
        return float((output.argmax(axis) == y)[kept].double().mean())

    return accuracy


def above(threshold: float) -> Callable[[Tensor, Tensor], float]:
    def accuracy(output: Tensor, y: Tensor) -> float:
        return float(((output > threshold).reshape(y.shape) == (y > 0.5)).double().mean())

    return accuracy


BITS = (draws(N, 4, seed=2) > 0).float()
TOKENS, PIXELS = draws(N, 5, C), draws(N, C, 4, 2)
SIGMOID = nn.Sigmoid()
TASKS = {
    "classes": Task(draws(N, C), classes(N), nn.CrossEntropyLoss(), along(1)),
    "tokens, classes last": Task(TOKENS, classes(N, 5), cross_entropy, along(2)),
    "tokens, classes second": Task(
        TOKENS.movedim(2, 1).contiguous(), classes(N, 5), nn.CrossEntropyLoss(), along(1)
    ),
    "as many tokens as classes, last": Task(draws(N, C, C), classes(N, C), cross_entropy, along(2)),
    "as many tokens as classes, second": Task(
        draws(N, C, C), classes(N, C), F.cross_entropy, along(1)
    ),
    "ignored tokens": Task(
        TOKENS,
        with_ignored(classes(N, 5), 1),
        CrossEntropy(ignore_index=1),
        along(2, 1),
    ),
    "ignored tokens of torch": Task(
        TOKENS.movedim(2, 1).contiguous(),
        with_ignored(classes(N, 5), -100),
        nn.CrossEntropyLoss(),
        along(1),
    ),
    "segmentation": Task(PIXELS, classes(N, 4, 2), nn.CrossEntropyLoss(), along(1)),
    "segmentation with ignored pixels": Task(
        PIXELS,
        with_ignored(classes(N, 4, 2), 2),
        nn.CrossEntropyLoss(ignore_index=2),
        along(1, 2),
    ),
    "several labels": Task(draws(N, 4), BITS, nn.BCEWithLogitsLoss(), above(0)),
    "several labels, probabilities": Task(draws(N, 4), BITS, nn.BCELoss(), above(0.5), SIGMOID),
    "several labels, a squared error": Task(draws(N, 4), BITS, nn.MSELoss(), None, SIGMOID),
    "one logit": Task(draws(N, 1), classes(N, high=2), cross_entropy, above(0)),
    "one logit of bce": Task(draws(N, 1), classes(N, high=2), BinaryCrossEntropy(), above(0)),
    "numbers": Task(draws(N, 2), draws(N, 2, seed=5), nn.MSELoss(), None),
    "shares": Task(draws(N, C), draws(N, C, seed=5).softmax(1), nn.CrossEntropyLoss(), None),
}


@pytest.mark.parametrize("batch_size", [500, 7])
@pytest.mark.parametrize("name", TASKS)
def test_accuracy_counts_elements(name, batch_size):
    task = TASKS[name]
    result = fedlocal.simulate(
        Scaled(task.last),
        [(task.x[:9], task.y[:9]), (task.x[9:], task.y[9:])],
        local_sgd(0.01, 1),
        rounds=1,
        loss=task.loss,
        test=(task.x, task.y),
        device="cpu",
        evaluate=Evaluate(batch_size=batch_size),
    )
    found = result.history[-1]["test_accuracy"]
    if task.accuracy is None:
        assert found is None
        return
    with torch.no_grad():
        expected = task.accuracy(result.model(task.x), task.y)
    # Neither all nor nothing is right, nor a whole number of examples by chance.
    assert 0.1 < expected < 0.9
    assert found == pytest.approx(expected, rel=1e-12)
