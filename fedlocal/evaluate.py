"""Evaluation of the consensus model on train and test examples."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from fedlocal.clients import IntArray
from fedlocal.losses import accuracy
from fedlocal.objective import Objective
from fedlocal.rng import Purpose, generator


@dataclass(frozen=True)
class Evaluate:
    """How often, and on how much, the model is evaluated.

    Attributes:
        every: Every so many rounds, and after the last.
        train_examples: The train loss is measured on a fixed random subset of so many examples;
            0 takes all of them.
        batch_size: Examples evaluated at once; bounds the memory.
    """

    every: int = 1
    train_examples: int = 10_000
    batch_size: int = 500

    def __post_init__(self) -> None:
        """Refuse what evaluates nothing."""
        if self.every < 1 or self.batch_size < 1 or self.train_examples < 0:
            raise ValueError(
                "evaluate.every and evaluate.batch_size must be >= 1 and train_examples >= 0, got"
                f" {self.every}, {self.batch_size}, {self.train_examples}"
            )

    def due(self, round_index: int, rounds: int) -> bool:
        """Whether to evaluate after `round_index` of `rounds` rounds."""
        return round_index % self.every == 0 or round_index == rounds

    def subset(self, x: Tensor, y: Tensor, held: IntArray, seed: int) -> "Examples":
        """The examples, among those that anyone holds, that the train loss is measured on."""
        if 0 < self.train_examples < len(held):
            rng = generator(seed, Purpose.EVALUATION)
            held = np.sort(rng.choice(held, self.train_examples, replace=False))
        if len(held) == len(x):
            return Examples(x, y)
        rows = torch.from_numpy(held).to(x.device)
        return Examples(x[rows], y[rows])


class Examples(NamedTuple):
    """x: [n, ...]. y: [n, ...]."""

    x: Tensor
    y: Tensor

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All of them, at most `size` at once."""
        return zip(self.x.split(size), self.y.split(size), strict=True)


@torch.no_grad()
def mean_loss(objective: Objective, x: Tensor, examples: Examples, batch_size: int) -> float:
    """The objective (l2 term included) at x [P], averaged over the examples."""
    total = torch.zeros((), dtype=torch.float64)
    for inputs, targets in examples.batches(batch_size):
        total += objective.value(x, objective.numbers(inputs), targets).cpu().double() * len(inputs)
    return float(total) / len(examples.x)


@torch.no_grad()
def mean_accuracy(
    objective: Objective, x: Tensor, examples: Examples, batch_size: int
) -> float | None:
    """Share of correct predictions; None where targets are not classes."""
    if examples.y.is_floating_point():
        return None
    named = objective.spec.named(x)
    correct = 0
    for inputs, targets in examples.batches(batch_size):
        output = functional_call(objective.model, named, (objective.numbers(inputs),))
        correct += round(float(accuracy(output, targets)) * len(inputs))
    return correct / len(examples.x)
