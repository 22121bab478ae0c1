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
from fedlocal.objective.interpretation import interpret
from fedlocal.objective.objective import Objective
from fedlocal.objective.operations import GAINS, KEY, Values, randomise, same_operations
from fedlocal.vectors.trees import leaves

# Numbers of real examples and of those of a padded batch.
REAL, PADDED = 3, 4
# Standard deviation of the perturbation of buffers, which may be 0 at the start.
MOVE = 0.1


@torch.no_grad()
def is_mean_by_operations(objective: Objective, x: Tensor, own: Own, targets: Tensor) -> bool:
    """Return whether a padded batch gives the gradient of its real examples, as a mean over them.

    Args:
        objective: Model, loss and examples.
        x: Shared parameters, [P], of which only the layout is taken.
        own: The other parts of the model.
        targets: All targets of the run, or of every kind one.
    """

    def mean(outputs: Tensor, targets: Tensor) -> Tensor:
        each = [objective.loss(outputs[i : i + 1], targets[i : i + 1]) for i in range(REAL)]
        return torch.stack(each).mean()

    for gain in GAINS:
        plain = replace(objective, model=randomise(deepcopy(objective.model), gain))
        padded = replace(plain, loss=mean)
        parts = _parts(plain, x, own)
        same = same_operations(
            partial(_gradient, plain, *parts, targets, REAL),
            partial(_gradient, padded, *parts, targets, PADDED),
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
    objective: Objective, x: Tensor, own: Own, all_targets: Tensor, width: int, factor: float
) -> Values:
    """Compute the gradient on the first examples under the interpretation."""
    rows = torch.arange(width, device=x.device) % len(objective.x)
    key = torch.tensor(KEY, device=x.device) if any(objective.random) else ()
    inputs, targets = objective.normalise(objective.x[rows]), objective.y[rows]
    x, personal = x * factor, own.personal * factor if isinstance(own.personal, Tensor) else ()

    def gradient() -> list[Tensor]:
        batch, parts = Batch(rows, key=key), Own(personal, own.buffers)
        return [*leaves(tuple(objective.gradient_on(x, parts, inputs, targets, batch)))]

    free = [inputs, x, *leaves(Own(personal, own.buffers)), *leaves(key)]
    return interpret(gradient, free, targets, all_targets)
