"""Comparison of the objective's gradient with the one that `backward()` gives.

The objective hands parameters to the model, and `forward` may reach them by other ways: a Python
list of parameters, a reference past the module's attributes. Such a parameter would silently
keep its initial value.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from fedlocal.objective.dry_run import KEY, deep_copy
from fedlocal.objective.gradients import Batch, Own
from fedlocal.objective.keyed_random import drawn_from
from fedlocal.objective.objective import Objective
from fedlocal.vectors.flat import assign

# Standard deviations of the change of the parameters. A large change may overflow.
MOVES = (0.1, 0.01, 0.001)


def check_gradient(objective: Objective, x: Tensor, own: Own, rows: Tensor) -> None:
    """Raise ValueError if the objective's gradient is not that of `backward()` on a copy.

    Both are taken at parameters that differ from the model's own.

    Args:
        objective: Model, loss and examples.
        x: The initial shared parameters, [P].
        own: The other parts of the model at the start.
        rows: Examples, [B].
    """
    objective = replace(objective, precision="full", l2=0.0)
    key = torch.tensor(KEY, device=x.device) if objective.random[0] else None
    for move in MOVES:
        generator = torch.Generator().manual_seed(KEY)
        at = x + move * torch.randn(x.shape, generator=generator).to(x)
        personal = own.personal
        if personal != ():
            personal = personal + move * torch.randn(personal.shape, generator=generator).to(x)
        parts = Own(personal, own.buffers)
        ours = objective.gradient(at, parts, Batch(rows, key=() if key is None else key))
        theirs = _by_backward(objective, at, parts, rows, key)
        found = objective.layout.shared.named(ours.shared)
        if personal != ():
            found |= objective.layout.personal.named(ours.personal)
        if all(bool(torch.isfinite(grad).all()) for grad in (*theirs.values(), *found.values())):
            break
    else:
        return
    theirs = {name: grad for name, grad in theirs.items() if grad.numel()}
    scale = max((float(grad.abs().max()) for grad in theirs.values()), default=0.0)
    for name, grad in theirs.items():
        if float((found[name] - grad).abs().max()) > torch.finfo(x.dtype).eps ** 0.5 * scale:
            raise ValueError(
                f"the gradient for {name} is not the one that backward() gives: forward reaches"
                " this parameter past its module's attribute, for example by a Python list of"
                " parameters; use the attribute itself, or nn.ParameterList"
            )


def _by_backward(
    objective: Objective, x: Tensor, own: Own, rows: Tensor, key: Tensor | None
) -> dict[str, Tensor]:
    """Compute the gradient of each trained parameter by `backward()`."""
    model: nn.Module = deep_copy(objective.model)
    layout = objective.layout
    assign(model, x, layout.shared)
    for spec, part in ((layout.personal, own.personal), (layout.buffers, own.buffers)):
        if part != ():
            assign(model, part, spec)
    with torch.enable_grad(), drawn_from(key):
        output = model(objective.normalise(objective.x[rows]))
        objective.loss(output, objective.y[rows]).backward()
    trained = {*layout.shared.names, *layout.personal.names}
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad
        for name, p in model.named_parameters()
        if name in trained
    }
