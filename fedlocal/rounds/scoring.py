"""Evaluation of a model on a set of examples."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fedlocal.objective import Objective
from fedlocal.objective.accuracy import count_right, rule_of
from fedlocal.objective.gradients import Own
from fedlocal.objective.rowwise_check import FEW, agree
from fedlocal.utils.arrays import IntArray
from fedlocal.vectors.rng import Purpose, generator


@dataclass(frozen=True)
class Evaluate:
    """Schedule and size of evaluations.

    Attributes:
        every: Rounds between two evaluations; the last round is always evaluated.
        train_examples: Size of the fixed random subset that the train loss is measured on; 0 takes
            all examples.
        batch_size: Number of examples evaluated at once; bounds the memory.
    """

    every: int = 1
    train_examples: int = 10_000
    batch_size: int = 500

    def __post_init__(self) -> None:
        """Raise ValueError for values that evaluate nothing."""
        if self.every < 1 or self.batch_size < 1 or self.train_examples < 0:
            raise ValueError(
                "evaluate.every and evaluate.batch_size must be >= 1 and train_examples >= 0, got"
                f" {self.every}, {self.batch_size}, {self.train_examples}"
            )

    def due(self, round_index: int, rounds: int) -> bool:
        """Return whether to evaluate after `round_index` of `rounds` rounds."""
        return round_index % self.every == 0 or round_index == rounds

    def subset(self, x: Tensor, y: Tensor, held: IntArray, seed: int) -> "Examples":
        """Return the clients' examples that the train loss is measured on."""
        if 0 < self.train_examples < len(held):
            rng = generator(seed, Purpose.EVALUATION)
            held = np.sort(rng.choice(held, self.train_examples, replace=False))
        if len(held) == len(x):
            return Examples(x, y)
        rows = torch.from_numpy(held).to(x.device)
        return Examples(x[rows], y[rows])


class Examples(NamedTuple):
    """Inputs x [n, ...] and targets y [n, ...]."""

    x: Tensor
    y: Tensor


class Score(NamedTuple):
    """Loss and accuracy of a model on a set of examples; None where no accuracy is defined."""

    loss: float
    accuracy: float | None


@torch.no_grad()
def score(
    objective: Objective, x: Tensor, own: Own, examples: Examples, batch_size: int, seed: int = 0
) -> Score:
    """Evaluate a model on a whole set of examples.

    The loss is computed once on all outputs, without the l2 term, so it does not depend on
    `batch_size` for any loss.

    Args:
        objective: Model and loss.
        x: The shared parameters, [P].
        own: The other parts of the model.
        examples: The set.
        batch_size: Number of examples that the model sees at once.
        seed: Seed of models that draw random numbers in eval mode.
    """
    output = outputs(objective, x, own, examples.x, batch_size, seed)
    loss = float(objective.loss(output, examples.y.clone()))
    rule = rule_of(output, examples.y, objective.loss)
    if rule is None:
        return Score(loss, None)
    right, counted = count_right(output, examples.y, rule)
    return Score(loss, right / counted if counted else None)


def outputs(
    objective: Objective, x: Tensor, own: Own, inputs: Tensor, batch_size: int, seed: int = 0
) -> Tensor:
    """Compute the model's outputs on all inputs, [n, ...], in batches of `batch_size`.

    If outputs depend on the other examples of a batch, the whole set is one batch.
    """
    key = torch.tensor(seed, device=x.device) if objective.random[1] else None
    if len(inputs) > batch_size and objective.rowwise:
        parts = [objective.output(x, own, part, key) for part in inputs.split(batch_size)]
        # A model may look at the number of its examples, and change during a run.
        others = FEW if batch_size > FEW else 2 * batch_size
        few = objective.output(x, own, inputs[:others], key)
        count = min(others, batch_size)
        if agree(few[:count], parts[0][:count]):
            return torch.cat(parts)
    return objective.output(x, own, inputs, key)
