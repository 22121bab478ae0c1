"""Accuracy of classifications, counted in elements: examples, tokens, pixels or labels."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from fedlocal.objective.losses import cross_entropy

# Outputs are probabilities if loss(p = 0) / loss(p = 1/2) for the right class is larger: it is 23
# for binary cross-entropy clamped at 1e-7, and 4 for a squared error.
CERTAIN = 10.0


class Count(NamedTuple):
    """Number of elements that were predicted right, and of all that were counted."""

    right: int
    counted: int


class Rule(NamedTuple):
    """Rule by which predictions are read off a model's output.

    axis: Axis of the output that has a score for each class; None where each element has one score,
    of class 1 against class 0.
    threshold: A score above it means class 1.
    ignored: Target that is not counted, besides all negative ones.
    """

    axis: int | None
    threshold: float = 0.0
    ignored: int | None = None


def rule_of(output: Tensor, targets: Tensor, loss: Callable[..., Tensor]) -> Rule | None:
    """Return the rule by which predictions are read off an output; None if there is no accuracy.

    Shapes decide: class scores stand along an axis that the targets lack. A score for each
    element (a binary class, or several labels an example) is compared with the value at which the
    loss of both classes is equal: 0 for logits, 0.5 for probabilities.

    Args:
        output: Output of the model, [B, ...].
        targets: [B, ...].
        loss: The loss of the run.

    >>> rule_of(torch.zeros(8, 5, 90), torch.zeros(8, 5, dtype=int), cross_entropy).axis
    2
    >>> pictures, loss = torch.zeros(8, 3, 4, 4), torch.nn.CrossEntropyLoss()
    >>> rule_of(pictures, torch.zeros(8, 4, 4, dtype=int), loss).axis
    1
    >>> rule_of(torch.zeros(8, 3), torch.zeros(8, 3), torch.nn.MSELoss())
    """
    shape, wanted = tuple(output.shape), tuple(targets.shape)
    if wanted in (shape, shape[:-1] if shape[-1:] == (1,) else shape):
        return _elementwise(output, targets, loss)
    if targets.is_floating_point() or targets.is_complex():
        return None
    fitting = [a for a in {1, len(shape) - 1} if shape[:a] + shape[a + 1 :] == wanted]
    if len(fitting) == 2:
        # Our cross_entropy has scores along the last axis, torch along the second.
        fitting = [len(shape) - 1] if function_of(loss) is cross_entropy else [1]
    return Rule(fitting[0], ignored=ignored_target(loss)) if fitting else None


def _elementwise(output: Tensor, targets: Tensor, loss: Callable[..., Tensor]) -> Rule | None:
    floating = targets.is_floating_point()
    if floating and bool(((targets != 0) & (targets != 1)).any()):
        return None
    one, zero = torch.ones_like(targets[:1]), torch.zeros_like(targets[:1])

    def costs(score: float) -> tuple[Tensor, Tensor]:
        scores = torch.full_like(output[:1], score)
        return loss(scores, one), loss(scores, zero)

    for threshold in (0.0, 0.5):
        try:
            at = costs(threshold)
            equal = bool(torch.isfinite(at[0])) and torch.allclose(*at, rtol=1e-5)
            # The costs of a squared error are equal at 0.5, too. Unlike that, a loss of
            # probabilities is very large for a confident wrong prediction.
            if equal and threshold and floating:
                equal = bool(costs(0.0)[0] > CERTAIN * at[0])
        except (RuntimeError, ValueError, IndexError):
            continue
        if equal:
            return Rule(None, threshold, ignored_target(loss))
    return None


def count_right(output: Tensor, targets: Tensor, rule: Rule) -> Count:
    """Count the elements whose class is predicted, leaving out those that are ignored."""
    if rule.axis is None:
        predicted = (output > rule.threshold).reshape(targets.shape).to(targets.dtype)
    else:
        predicted = output.argmax(rule.axis)
    counted = torch.ones_like(targets, dtype=torch.bool)
    if targets.dtype != torch.bool:
        counted = targets >= 0
    if rule.ignored is not None:
        counted &= targets != rule.ignored
    right = (predicted == targets) & counted
    return Count(int(right.sum()), int(counted.sum()))


def function_of(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return the function inside of a `functools.partial`, or the loss itself."""
    return getattr(loss, "func", loss)


def ignored_target(loss: Callable[..., Tensor]) -> int | None:
    """Return the target that a loss leaves out: its `ignore_index`, or None."""
    bound = getattr(loss, "keywords", {})
    value = bound.get("ignore_index", getattr(loss, "ignore_index", None))
    return value if isinstance(value, int) else None
