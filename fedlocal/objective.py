"""Loss and gradient of a model as functions of its flat vector."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.func import functional_call, grad_and_value

from fedlocal.augment import Augment, NoAugment
from fedlocal.data.pixels import Scale, numbers
from fedlocal.flat import ParamSpec
from fedlocal.precision import Precision, check_precision
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
        scale: What makes numbers of pictures that are kept as bytes; None where x holds numbers.
        augment: Changes the pictures of local steps.
        precision: Of the model's forward and backward pass in a gradient: "full" is the run's own,
            "tf32" lets a GPU round what products multiply to 10 bits, "bf16" runs what can be in
            bfloat16. Parameters, loss and gradient keep the run's dtype; evaluations are always
            full.
        clip_norm: Longest gradient of a local step; None for any.
    """

    model: nn.Module
    loss: Loss
    x: Tensor
    y: Tensor
    spec: ParamSpec
    l2: float = 0.0
    scale: Scale | None = None
    augment: Augment = NoAugment()
    precision: Precision = "full"
    clip_norm: float | None = None

    def check(self, dtype: torch.dtype) -> None:
        """Raise ValueError if the options do not fit the examples or the run's dtype."""
        self.augment.check(self.numbers(self.x[:1]))
        check_precision(self.precision, dtype)
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(
                f"clip_norm must be positive, got {self.clip_norm}; null (None) clips nothing"
            )

    def step(self, x: Tensor, indices: Tensor, mask: Tree, draws: Tree) -> tuple[Tensor, Tensor]:
        """Gradient [P] and value [] of a local step's mini-batch.

        Args:
            x: Where, [P].
            indices: The examples, [B].
            mask: Which of them count, [B]; () for all.
            draws: What the augmentation does to each, [B, n]; () for nothing.
        """
        inputs = self.numbers(self.x[indices])
        if draws != ():
            inputs = self.augment.apply(inputs, draws)
        grad, value = self._gradient(x, inputs, self.y[indices], mask)
        return (grad if self.clip_norm is None else clipped(grad, self.clip_norm)), value

    def gradient(self, x: Tensor, indices: Tensor, mask: Tree) -> tuple[Tensor, Tensor]:
        """Gradient [P] and value [] on the examples `indices` [B], those that `mask` keeps.

        As they are, and however long it is.
        """
        return self._gradient(x, self.numbers(self.x[indices]), self.y[indices], mask)

    def value(
        self, x: Tensor, inputs: Tensor, targets: Tensor, mask: Tree = (), precision: str = "full"
    ) -> Tensor:
        """The objective at x [P] on a batch of numbers, []."""
        output = self._output(x, inputs, precision)
        loss = self.loss(output, targets) if mask == () else self._masked(output, targets, mask)
        return loss + 0.5 * self.l2 * (x @ x) if self.l2 else loss

    def numbers(self, inputs: Tensor) -> Tensor:
        """What the model sees of examples of the pool, or of any that are kept like them."""
        return inputs if self.scale is None else numbers(inputs, self.scale)

    def _gradient(
        self, x: Tensor, inputs: Tensor, targets: Tensor, mask: Tree
    ) -> tuple[Tensor, Tensor]:
        value = partial(self.value, precision=self.precision)
        if any(map(is_functorch_wrapped_tensor, (x, inputs, targets))):
            return grad_and_value(value)(x, inputs, targets, mask)
        return _by_autograd(value, x, inputs, targets, mask)

    def _output(self, x: Tensor, inputs: Tensor, precision: str) -> Tensor:
        named = self.spec.named(x)
        if precision != "bf16":
            return functional_call(self.model, named, (inputs,))
        # Each weight is read once, so a cache of lowered weights would only outlive its use.
        with torch.autocast(x.device.type, torch.bfloat16, cache_enabled=False):
            return functional_call(self.model, named, (inputs,)).to(x.dtype)

    def _masked(self, output: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
        # The loss is a mean over the batch, so its terms are its values on batches of one.
        each = torch.vmap(lambda o, t: self.loss(o.unsqueeze(0), t.unsqueeze(0)))(output, targets)
        return torch.where(mask, each, 0.0).sum() / mask.sum()


def _by_autograd(value: Callable[..., Tensor], x: Tensor, *rest: Tree) -> tuple[Tensor, Tensor]:
    """As `grad_and_value(value)(x, *rest)`, outside of vmap.

    What torch.func gives could be differentiated again, and takes backward passes apart for it.
    """
    with torch.enable_grad():
        point = x.detach().requires_grad_()
        loss = value(point, *rest)
        if not loss.requires_grad:
            return torch.zeros_like(x), loss
        (grad,) = torch.autograd.grad(loss, point, allow_unused=True, materialize_grads=True)
    return grad, loss.detach()


def clipped(grad: Tensor, norm: float) -> Tensor:
    """`grad` [P], scaled down to the length `norm` if it is longer.

    A gradient of zeros stays one, norm = inf changes nothing, and one too long to measure becomes
    NaN: as zeros a run that diverges would look like one that stands still.

    Reference: Pascanu, Mikolov, Bengio. On the difficulty of training recurrent neural networks.
    2013. https://arxiv.org/abs/1211.5063

    >>> clipped(torch.tensor([3.0, 4.0]), 1.0), clipped(torch.zeros(2), 1.0)
    (tensor([0.6000, 0.8000]), tensor([0., 0.]))
    """
    length = grad.norm()
    return grad * torch.where(length.isinf(), torch.nan, torch.clamp(norm / length, max=1.0))
