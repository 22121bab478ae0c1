"""Check by the operations of model and loss that padding leaves the gradient unchanged.

Numbers at a few points do not show it. A loss such as |mean - b| + b equals the mean wherever the
mean is above b, a hinge on pairs of examples is 0 as long as they are close, and a term may have
the factor 0. The gradients are therefore compared with their elementwise operations replaced (see
`interpretation`).
"""

from copy import deepcopy
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from fedlocal.objective.gradients import Batch, Own
from fedlocal.objective.interpretation import DependsOnValues, interpret
from fedlocal.objective.objective import Objective
from fedlocal.objective.operations import GAINS, KEY, Values, randomise, same_operations, varied
from fedlocal.vectors.trees import leaves

# Numbers of real examples and of those of a padded batch; the run's largest widths come on top.
REAL, PADDED = 3, 4
# Largest number of real examples.
MOST_REAL = 64
# Standard deviation of the perturbation of buffers, which may be 0 at the start.
MOVE = 0.1


@torch.no_grad()
def is_mean_by_operations(
    objective: Objective, x: Tensor, own: Own, targets: Tensor, widths: tuple[int, int] | None
) -> bool:
    """Return whether a padded batch gives the gradient of its real examples, as a mean over them.

    Args:
        objective: Model, loss and examples.
        x: Shared parameters, [P], of which only the layout is taken.
        own: The other parts of the model.
        targets: All targets of the run.
        widths: Numbers of real examples and of those of a padded batch in the run, if there are
            several.
    """
    pairs = [(REAL, PADDED)]
    if widths is not None:
        real = min(widths[0], MOST_REAL)
        pairs.append((real, min(widths[1], real + MOST_REAL)))
    try:
        return all(_is_mean(objective, x, own, targets, *pair) for pair in pairs)
    except DependsOnValues:
        return False


def _is_mean(
    objective: Objective, x: Tensor, own: Own, every: Tensor, real: int, width: int
) -> bool:
    def mean(outputs: Tensor, targets: Tensor) -> Tensor:
        each = [objective.loss(outputs[i : i + 1], targets[i : i + 1]) for i in range(real)]
        return torch.stack(each).mean()

    inputs = varied(objective.normalise(objective.x), width)
    for gain in GAINS:
        plain = replace(objective, model=randomise(deepcopy(objective.model), gain))
        padded = replace(plain, loss=mean)
        parts = _parts(plain, x, own)
        same = same_operations(
            partial(_gradient, plain, *parts, inputs[:real], every),
            partial(_gradient, padded, *parts, inputs, every),
        )
        if same is not None:
            return same
    return False


def _parts(objective: Objective, x: Tensor, own: Own) -> tuple[Tensor, Own]:
    """Return the parameters of the objective's model, and perturbed buffers."""
    named, layout = dict(objective.model.named_parameters()), objective.layout
    personal = () if own.personal == () else layout.personal.flat(named, x)
    buffers = own.buffers
    if isinstance(buffers, Tensor):
        generator = torch.Generator().manual_seed(KEY)
        buffers = buffers + MOVE * torch.randn(buffers.shape, generator=generator).to(buffers)
    return layout.shared.flat(named, x), Own(personal, buffers)


def _gradient(
    objective: Objective, x: Tensor, own: Own, inputs: Tensor, all_targets: Tensor, factor: float
) -> Values:
    """Compute the gradient on inputs with the first targets under the interpretation."""
    # Pairs of equal targets: some losses couple the examples of one class.
    rows = torch.arange(len(inputs), device=x.device) // 2 % len(objective.y)
    key = torch.tensor(KEY, device=x.device) if any(objective.random) else ()
    inputs, targets = inputs.clone(), objective.y[rows]
    x, personal = x * factor, own.personal * factor if isinstance(own.personal, Tensor) else ()

    def gradient() -> list[Tensor]:
        batch, parts = Batch(rows, key=key), Own(personal, own.buffers)
        return [*leaves(tuple(objective.gradient_on(x, parts, inputs, targets, batch)))]

    free = [inputs, x, *leaves(Own(personal, own.buffers)), *leaves(key)]
    return interpret(gradient, free, targets, all_targets)
