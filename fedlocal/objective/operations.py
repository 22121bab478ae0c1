"""Compare functions by their operations, at random parameters."""

from collections.abc import Callable, Sequence
from math import inf, isnan

import torch
from torch import Tensor, nn

Values = Sequence[Tensor] | None

# Standard deviations of random weights, in units of 1 / sqrt(inputs of an output). Rounding grows
# from layer to layer if they are large; then the next one is taken. If they are small, what the
# first layers compute is hardly seen at the output of a deep model.
GAINS = (2.0, 1.0, 0.5)
# Relative change of the parameters, in units of the machine epsilon, that must not be seen.
STEP = 100
KEY = 20_261_129


@torch.no_grad()
def randomise(model: nn.Module, gain: float) -> nn.Module:
    """Replace a model's parameters by random ones, for which no layer's output is 0 or huge."""
    generator = torch.Generator().manual_seed(KEY)
    for p in model.parameters():
        if p.is_floating_point() and p.numel():
            drawn = torch.randn(p.shape, generator=generator).to(p)
            inputs = p.numel() // len(p) if p.ndim > 1 else 0
            p.copy_(drawn * gain / inputs**0.5 if inputs else 1 + 0.3 * drawn)
    return model


def varied(inputs: Tensor, count: int) -> Tensor:
    """Return inputs [count, ...] like the given ones, of which no two are equal.

    Equal inputs would hide that an output depends on another example. Numbers are perturbed.
    Integers are drawn at each position from those of all examples.
    """
    generator = torch.Generator().manual_seed(KEY)
    rows = torch.arange(count, device=inputs.device) % len(inputs)
    if inputs.is_floating_point():
        scale = float(inputs.std()) if inputs.numel() > 1 else 0.0
        noise = torch.randn(inputs[rows].shape, generator=generator).to(inputs)
        return inputs[rows] + (scale or 1.0) * noise
    if inputs.is_complex():
        return inputs[rows]
    drawn = torch.randint(len(inputs), inputs[rows].shape, generator=generator)
    return inputs.gather(0, drawn.to(inputs.device))


def same_operations(
    reference: Callable[[float], Values], *others: Callable[[float], Values]
) -> bool | None:
    """Return whether functions agree; None where they have no values or rounding is too large.

    Args:
        reference: (factor of all parameters) -> its values under an interpretation, or None.
        others: The same of other functions.
    """
    values = reference(1.0)
    if values is None:
        return None
    eps = torch.finfo(values[0].dtype).eps
    changed = reference(1.0 + STEP * eps)
    if changed is None or deviation(changed, values) > eps**0.5:
        return None
    found = [other(1.0) for other in others]
    deviations = [deviation(each, values) for each in found if each is not None]
    return max(deviations) <= eps**0.5 if len(deviations) == len(others) else None


def deviation(values: Sequence[Tensor], reference: Sequence[Tensor]) -> float:
    """Return the largest deviation of tensors, in units of the largest entry of each.

    >>> deviation([torch.ones(2), torch.zeros(0)], [torch.tensor([1.0, 2.0]), torch.zeros(0)])
    0.5
    >>> deviation([torch.ones(2), torch.tensor([torch.nan])], [torch.ones(2), torch.ones(1)])
    inf
    """
    found = [
        float((a - b).abs().max()) / max(float(b.abs().max()), 1e-12)
        for a, b in zip(values, reference, strict=True)
        if a.numel()
    ]
    # `max` would drop a NaN behind another number.
    return max((inf if isnan(each) else each for each in found), default=0.0)
