"""Evaluation of the consensus model on train and test examples."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

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
    batch_size: int = 2_000

    def __post_init__(self) -> None:
        """Refuse what evaluates nothing."""
        if self.every < 1 or self.batch_size < 1 or self.train_examples < 0:
            raise ValueError(
                "evaluate.every and evaluate.batch_size must be >= 1 and train_examples >= 0, got"
                f" {self.every}, {self.batch_size}, {self.train_examples}"
            )

    def subset(self, held: np.ndarray, seed: int) -> np.ndarray:
        """Which of the examples that anyone holds are evaluated, sorted."""
        if self.train_examples == 0 or len(held) <= self.train_examples:
            return held
        rng = generator(seed, Purpose.EVALUATION)
        return np.sort(rng.choice(held, self.train_examples, replace=False))


@torch.no_grad()
def mean_loss(
    objective: Objective, x: Tensor, inputs: Tensor, targets: Tensor, batch: int
) -> float:
    """The objective (l2 term included) at x [P], averaged over the given examples."""
    total = x.new_zeros((), dtype=torch.float64)
    for part, target in zip(inputs.split(batch), targets.split(batch), strict=True):
        total += objective.value(x, part, target).double() * len(part)
    return float(total / len(inputs))


@torch.no_grad()
def mean_accuracy(
    objective: Objective, x: Tensor, inputs: Tensor, targets: Tensor, batch: int
) -> float | None:
    """Share of correct predictions; None where targets are not classes."""
    if targets.is_floating_point():
        return None
    named = objective.spec.named(x)
    correct = x.new_zeros((), dtype=torch.float64)
    for part, target in zip(inputs.split(batch), targets.split(batch), strict=True):
        output = functional_call(objective.model, named, (part,))
        correct += torch.round(accuracy(output, target).double() * len(part))
    return float(correct) / len(inputs)
