"""Loss and gradient of a model as functions of its flat vector."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value

from fedlocal.flat import ParamSpec
from fedlocal.trees import Tree

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Objective:
    """A model and a loss over one pool of examples.

    Attributes:
        model: Holds no state that matters: its parameters are swapped for views of x.
        loss: (output [B, ...], target [B, ...]) -> mean over the batch, [].
        x: All examples, [n, ...].
        y: All targets, [n, ...].
        spec: Layout of the flat vector.
        l2: The objective adds l2 / 2 |x|^2 over all parameters.
    """

    model: nn.Module
    loss: Loss
    x: Tensor
    y: Tensor
    spec: ParamSpec
    l2: float = 0.0

    def gradient(self, x: Tensor, indices: Tensor, mask: Tree) -> tuple[Tensor, Tensor]:
        """Gradient [P] and value [] on the examples `indices` [B], those that `mask` keeps."""
        return grad_and_value(self.value)(x, self.x[indices], self.y[indices], mask)

    def value(self, x: Tensor, inputs: Tensor, targets: Tensor, mask: Tree = ()) -> Tensor:
        """The objective at x [P] on a batch, []."""
        output = functional_call(self.model, self.spec.named(x), (inputs,))
        loss = self.loss(output, targets) if mask == () else self._masked(output, targets, mask)
        return loss + 0.5 * self.l2 * (x @ x) if self.l2 else loss

    def _masked(self, output: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
        # The loss is a mean over the batch, so its terms are its values on batches of one.
        each = torch.vmap(lambda o, t: self.loss(o.unsqueeze(0), t.unsqueeze(0)))(output, targets)
        return torch.where(mask, each, 0.0).sum() / mask.sum()
