"""Check that each output of a model depends on its own input only, for any batch size.

Evaluations take a set in parts where this holds, and at once where it does not: an output that
depends on the other examples of its batch is well defined for the whole set only.
"""

from copy import deepcopy
from functools import partial
from math import isfinite

import torch
from torch import Tensor, nn

from fedlocal.objective.interpretation import DependsOnValues, interpret
from fedlocal.objective.model import cast
from fedlocal.objective.operations import GAINS, KEY, Values, randomise, same_operations, varied

# Number of examples whose outputs are compared, and numbers of examples in their batches.
FEW = 8
WIDTHS = (1, FEW, 128)
# Largest size of a batch of inputs.
MOST_BYTES = 16 << 20
# Examples whose outputs are compared by their operations: with one before, and with one after.
COMPARED = slice(1, 4)
BATCHES = (slice(0, 4), slice(1, 5))


@torch.no_grad()
def is_rowwise(model: nn.Module, inputs: Tensor) -> bool:
    """Return whether outputs do not depend on the batch, at other parameters.

    The operations are looked at as well (see `interpretation`), since a dependence may be hidden at
    the first outputs.

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
    return all(agree(apart[: len(outputs)], outputs) for outputs in together) and (
        is_rowwise_by_operations(model, inputs)
    )


@torch.no_grad()
def is_rowwise_by_operations(model: nn.Module, inputs: Tensor) -> bool:
    """Return whether no output depends on the batch, as far as the operations can be compared.

    If they depend on values, an output may depend on others.
    """
    rows = varied(inputs, BATCHES[-1].stop)
    doubled = rows.double() if rows.is_floating_point() else rows
    for dtype, given in ((torch.float64, doubled), (None, rows)):
        for gain in GAINS:
            drawn = randomise(cast(deepcopy(model), dtype), gain)
            try:
                same = same_operations(
                    *(partial(_outputs, drawn, given, batch) for batch in (COMPARED, *BATCHES))
                )
            except DependsOnValues:
                return False
            if same is not None:
                return same
    return True


def _outputs(model: nn.Module, inputs: Tensor, batch: slice, factor: float) -> Values:
    """Compute the outputs of the compared examples in a batch under the interpretation."""
    given = inputs[batch].clone()
    start = COMPARED.start - batch.start

    def outputs() -> list[Tensor]:
        named = {name: p * factor for name, p in model.named_parameters()}
        return [torch.func.functional_call(model, named, (given,))]

    found = interpret(outputs, [given])
    return found and [each[start:][: COMPARED.stop - COMPARED.start] for each in found]


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
