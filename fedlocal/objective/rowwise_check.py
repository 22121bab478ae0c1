"""Check that each output of a model depends on its own input only, for any batch size.

Evaluations take a set in parts where this holds, and at once where it does not: an output that
depends on the other examples of its batch is well defined for the whole set only.
"""

from math import isfinite

import torch
from torch import Tensor, nn

# Number of examples whose outputs are compared, and numbers of examples in their batches.
FEW = 8
WIDTHS = (1, FEW, 128)
# Largest size of a batch of inputs.
MOST_BYTES = 16 << 20
KEY = 20_261_129


@torch.no_grad()
def is_rowwise(model: nn.Module, inputs: Tensor) -> bool:
    """Return whether outputs do not depend on the batch, at perturbed parameters.

    Args:
        model: The model in eval mode; its parameters are changed.
        inputs: Examples, [n, ...]; of more than 128 the first are taken.
    """
    generator = torch.Generator().manual_seed(KEY)
    for p in model.parameters():
        if p.is_floating_point():
            p += 0.1 * torch.randn(p.shape, generator=generator).to(p)
    few = inputs[:FEW]
    widths = [w for w in WIDTHS if w <= FEW or inputs[:w].nbytes <= MOST_BYTES]
    try:
        halves = few.split(max(1, len(few) // 2))
        apart = torch.cat([model(part.clone()) for part in halves])
        together = [model(inputs[:width].clone())[: len(few)] for width in widths]
    except (RuntimeError, ValueError, IndexError):
        # A batch of another size fails, or its output has another number of dimensions.
        return False
    return all(agree(apart[: len(outputs)], outputs) for outputs in together)


def agree(a: Tensor, b: Tensor) -> bool:
    """Return whether two computations of one tensor differ by rounding only."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    scale = float(b.abs().max()) if b.numel() else 0.0
    if not isfinite(scale):
        return True
    whole = not (b.is_floating_point() or b.is_complex())
    allowed = 0.0 if whole else torch.finfo(b.dtype).eps ** 0.5 * scale
    return bool(((a - b).abs() <= allowed).all())
