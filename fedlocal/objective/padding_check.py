"""Check that padding mini-batches to a common size leaves the gradient unchanged.

A padded batch with a mask is fast: many clients of different sizes are one call. It is right only
for a loss that is the mean of its values on single examples, and a model that looks at each example
by itself. Class weights, `ignore_index`, batch normalisation and many others are not of this kind.
Padding is therefore tried on the run's own model, loss and examples, and not used where it changes
the gradient.
"""

import warnings
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.func import grad_and_value

from fedlocal.objective.augment import NoAugment
from fedlocal.objective.gradients import Batch, Own
from fedlocal.objective.mean_check import is_mean_by_operations
from fedlocal.objective.model import cast
from fedlocal.objective.objective import Objective
from fedlocal.vectors.trees import Tree, leaves

# Number of probe examples, and standard deviations of the perturbation of the parameters. At the
# start itself all outputs may be equal, and class weights would have no effect.
MOST = 24
MOVES = (0.1, 0.5, 0.02)
# Numbers of real examples in a batch, and widths of the padded batch.
SHAPES = ((1, 4), (3, 8), (MOST - 1, MOST))
# Largest number of the run's own widths that are padded to its largest one.
MOST_WIDTHS = 8
# ((real examples, width), deviation of the parameters) of each trial.
Shapes = Sequence[tuple[tuple[int, int], float]]
KEY = 7
# Largest number of targets that the loss is tried on; a rare one must not be missed.
MOST_TARGETS = 4096
# Largest number of entries of targets whose values are listed.
MOST_ENTRIES = 4_000_000


@torch.no_grad()
def padding_is_exact(objective: Objective, x: Tensor, own: Own, widths: Sequence[int] = ()) -> bool:
    """Return whether a padded batch with a mask gives the gradient of its real examples.

    Gradients are compared in float64, to 1e-9 of the largest entry. Where the model cannot run in
    float64, they are compared in its own dtype, to 1e-3. A model may look at the number of its
    examples, so small batches are tried and those of the run. The operations are looked at as well
    (see `mean_check`), since numbers at a few points do not show what happens at others.

    Args:
        objective: Model, loss and examples.
        x: The initial shared parameters, [P].
        own: The other parts of the model at the start.
        widths: Numbers of examples in batches of the run.
    """
    shapes = [*zip(SHAPES, MOVES, strict=True), *((s, MOVES[0]) for s in _to_largest(widths))]
    targets = objective.y[pick_varied(objective.y, MOST_TARGETS)]
    # A value that many targets share may be missing among those with different ones.
    every = objective.y.flatten()[:: 1 + objective.y.numel() // MOST_ENTRIES].unique()
    in_float64 = partial(_tried_in_float64, objective, x, own, targets, every, shapes)
    plain = replace(objective, augment=NoAugment())
    as_it_is = partial(_tried, plain, x, own, targets, every, shapes, 1e-3)
    with warnings.catch_warnings():
        # The check uses batches of one, which may warn although the run never has them.
        warnings.simplefilter("ignore")
        # vmap runs some operations in a loop, CTC for example; they count as not batchable.
        warnings.filterwarnings("error", message=".*performance drop.*")
        for trial in (in_float64, as_it_is):
            try:
                return trial()
            except (RuntimeError, ValueError, TypeError, UserWarning):
                # The loss does not support vmap, or the model refuses a batch of one.
                continue
    return False


def _to_largest(widths: Sequence[int]) -> list[tuple[int, int]]:
    """Return pairs of a width and the largest one, with the extremes among them.

    >>> _to_largest([32, 7, 20]), _to_largest([32])
    ([(7, 32), (20, 32)], [])
    """
    *smaller, largest = sorted({0, *widths} - {0}) or [0]
    chosen = np.linspace(0, len(smaller) - 1, min(len(smaller), MOST_WIDTHS)).astype(int)
    return [(smaller[i], largest) for i in chosen]


def _tried_in_float64(
    objective: Objective, x: Tensor, own: Own, targets: Tensor, every: Tensor, shapes: Shapes
) -> bool:
    if targets.is_floating_point():
        targets, every = targets.double(), every.double()
    doubled = _doubled(objective, max(width for (_, width), _ in shapes))
    return _tried(doubled, x.double(), _as_double(own), targets, every, shapes, 1e-9)


def pick_varied(targets: Tensor, count: int) -> Tensor:
    """Return indices of about `count` examples with as many different targets as possible.

    >>> pick_varied(torch.tensor([0, 0, 0, 5, 0, 7]), 3).tolist()
    [0, 3, 5]
    """
    flat = targets.reshape(len(targets), -1).cpu().numpy()
    values, first = np.unique(flat, return_index=True)
    of_each = np.unique(first[np.linspace(0, len(values) - 1, min(count, len(values)), dtype=int)])
    rows = list(dict.fromkeys((of_each // flat.shape[1]).tolist()))
    others = np.linspace(0, len(flat) - 1, min(count, len(flat)), dtype=int).tolist()
    rows += [row for row in others if row not in rows][: max(0, count - len(rows))]
    return torch.tensor(rows[:count], device=targets.device)


def _tried(
    objective: Objective,
    x: Tensor,
    own: Own,
    targets: Tensor,
    every: Tensor,
    shapes: Shapes,
    tolerance: float,
) -> bool:
    rows, tried = pick_varied(objective.y, max(width for (_, width), _ in shapes)), 0
    generator = torch.Generator().manual_seed(KEY)
    for (real, width), move in shapes:
        if width > len(rows):
            continue
        order = torch.randperm(len(rows), generator=generator)[:width]
        moved = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
        equal = _is_exact(objective, x + move * moved, own, rows[order], real, tolerance)
        if equal is False:
            return False
        tried += equal is True
    of_the_run = max((pair for pair, _ in shapes[len(SHAPES) :]), default=None)
    return (
        tried > 0
        and _loss_is_a_mean(objective, x, own, rows[:MOST], targets, tolerance)
        and is_mean_by_operations(objective, x, own, every, of_the_run)
    )


def _loss_is_a_mean(
    objective: Objective, x: Tensor, own: Own, rows: Tensor, targets: Tensor, tolerance: float
) -> bool:
    """Return whether the loss is the mean over single examples, for every kind of target."""
    generator = torch.Generator().manual_seed(KEY)
    moved = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
    key = _key(objective, rows) if objective.random[1] else None
    outputs = objective.output(x + MOVES[0] * moved, own, objective.x[rows], key)
    outputs = outputs[torch.arange(len(targets), device=rows.device) % len(outputs)]

    def mean(given: Tensor) -> Tensor:
        each = torch.vmap(lambda o, t: objective.loss(o.unsqueeze(0), t.unsqueeze(0)))
        return each(given, targets).mean()

    whole = grad_and_value(lambda given: objective.loss(given, targets))(outputs)
    return all(
        float((a - b).abs().max()) <= tolerance * max(float(b.abs().max()), 1e-12)
        for a, b in zip(grad_and_value(mean)(outputs), whole, strict=True)
    )


def _is_exact(
    objective: Objective, x: Tensor, own: Own, rows: Tensor, real: int, tolerance: float
) -> bool | None:
    """Return whether padding `real` examples changes nothing; None if their gradient overflows."""
    key = _key(objective, rows)
    mask = torch.arange(len(rows), device=rows.device) < real

    plain = objective.gradient(x, own, Batch(rows[:real], key=key))
    padded = objective.gradient(x, own, Batch(rows, mask, key=key))
    if not all(bool(torch.isfinite(t).all()) for t in leaves(tuple(plain))):
        return None
    return all(
        float((a - b).abs().max()) <= tolerance * max(float(b.abs().max()), 1e-12)
        for a, b in zip(leaves(tuple(padded)), leaves(tuple(plain)), strict=True)
        if a.numel()
    )


def _key(objective: Objective, rows: Tensor) -> Tree:
    return torch.tensor(KEY, device=rows.device) if any(objective.random) else ()


def _as_double(own: Own) -> Own:
    return Own(*(t if t == () else t.double() for t in own))


def _doubled(objective: Objective, count: int) -> Objective:
    """Return the objective in float64 on `count` examples, without augmentation or scaling."""
    rows = pick_varied(objective.y, count)
    inputs, y = objective.normalise(objective.x[rows]), objective.y[rows]
    loss = objective.loss
    return replace(
        objective,
        model=cast(deepcopy(objective.model), torch.float64),
        evaluated=cast(deepcopy(objective.evaluated), torch.float64),
        loss=deepcopy(loss).double() if isinstance(loss, torch.nn.Module) else loss,
        x=inputs.double() if inputs.is_floating_point() else inputs,
        y=y.double() if y.is_floating_point() else y,
        scale=None,
        augment=NoAugment(),
        precision="full",
    )
