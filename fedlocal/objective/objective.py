"""Loss and gradient of a model as functions of its flat vectors."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import debug_unwrap, functional_call, grad_and_value

from fedlocal.data.pixels import Scale, normalise
from fedlocal.objective.augment import Augment, NoAugment
from fedlocal.objective.gradients import Batch, Own, StepGradient
from fedlocal.objective.keyed_random import drawn_from
from fedlocal.objective.model_tensors import ModelTensors
from fedlocal.objective.precision import Precision, check_precision
from fedlocal.vectors.flat import BufferSpec, ParamSpec
from fedlocal.vectors.trees import Tree, leaves, like, tree_map

Loss = Callable[[Tensor, Tensor], Tensor]

# Parameters by which a gradient is taken: shared [P], and personal [Q] or ().
Point = tuple[Tensor, Tree]


class Layout(NamedTuple):
    """Layout of a model's tensors in flat vectors; tensors in none of them never change.

    shared: Trained parameters that clients exchange.
    personal: Trained parameters that stay with their client.
    buffers: Buffers that `forward` changes.
    """

    shared: ParamSpec
    personal: ParamSpec
    buffers: BufferSpec

    def tensors_by_name(self, x: Tensor, own: Own) -> dict[str, Tensor]:
        """Return a model's tensors by name; buffers are copies, which `forward` may write to."""
        named = self.shared.named(x)
        if own.personal != ():
            named |= self.personal.named(own.personal)
        return named if own.buffers == () else named | self.buffers.named(own.buffers)


@dataclass(frozen=True, eq=False)
class Objective:
    """A model and a loss over one pool of examples.

    Attributes:
        model: The model in train mode, for local steps and full gradients. Each call replaces its
            trained parameters and its changing buffers by the vectors that it is given.
        evaluated: The same model in eval mode, with the same tensors.
        loss: (output [B, ...], target [B, ...]) -> scalar, of a whole batch.
        x: All examples, [n, ...].
        y: All targets, [n, ...].
        layout: Layout of the flat vectors.
        l2: The gradient is that of loss + l2 / 2 |parameters|^2; reported losses leave it out.
        scale: Conversion of pictures kept as bytes to numbers; None where x holds numbers.
        augment: Changes the pictures of local steps.
        precision: Precision of the forward and backward pass in a gradient: "full" is that of the
            run's dtype, "tf32" lets a GPU round the factors of products to 10 bits, "bf16" is
            autocast to bfloat16. Parameters, loss and gradient keep the run's dtype; evaluations
            are always full.
        clip_norm: Largest length of a local step's gradient; None for no limit.
        random: Whether model or loss draw random numbers in train mode, and in eval mode.
        rowwise: Whether the model in eval mode looks at each example by itself.
    """

    model: nn.Module
    evaluated: nn.Module
    loss: Loss
    x: Tensor
    y: Tensor
    layout: Layout
    l2: float = 0.0
    scale: Scale | None = None
    augment: Augment = NoAugment()
    precision: Precision = "full"
    clip_norm: float | None = None
    random: tuple[bool, bool] = (False, False)
    rowwise: bool = True

    @cached_property
    def _places(self) -> ModelTensors:
        return ModelTensors(self.model)

    @property
    def spec(self) -> ParamSpec:
        """Layout of the shared parameters."""
        return self.layout.shared

    @property
    def constants(self) -> dict[str, Tensor]:
        """Tensors of the model that no vector carries: frozen parameters, unchanged buffers."""
        carried = {*self.layout.shared.names, *self.layout.personal.names}
        carried |= {*self.layout.buffers.names}
        named = chain(self.model.named_parameters(), self.model.named_buffers())
        return {name: tensor.detach() for name, tensor in named if name not in carried}

    def check(self, dtype: torch.dtype) -> None:
        """Raise ValueError if the options do not fit the examples or the run's dtype."""
        self.augment.check(self.normalise(self.x[:1]))
        check_precision(self.precision, dtype)

    def step(self, x: Tensor, own: Own, batch: Batch) -> StepGradient:
        """Compute the gradient of a local step's mini-batch, augmented and clipped.

        Args:
            x: The shared parameters, [P].
            own: The other parts of the model.
            batch: The examples.
        """
        inputs = self.normalise(self.x[batch.indices])
        if batch.draws != ():
            inputs = self.augment.apply(inputs, batch.draws)
        grad = self.gradient_on(x, own, inputs, self.y[batch.indices], batch)
        if self.clip_norm is None:
            return grad
        return grad._replace(**_clipped_together(grad, self.clip_norm))

    def gradient(self, x: Tensor, own: Own, batch: Batch) -> StepGradient:
        """Compute the gradient on a batch of examples, without augmentation or clipping."""
        rows = batch.indices
        return self.gradient_on(x, own, self.normalise(self.x[rows]), self.y[rows], batch)

    def gradient_on(
        self, x: Tensor, own: Own, inputs: Tensor, targets: Tensor, batch: Batch
    ) -> StepGradient:
        """Compute the gradient on given inputs and targets instead of those of a batch's indices.

        Args:
            x: The shared parameters, [P].
            own: The other parts of the model.
            inputs: What the model takes, [B, ...].
            targets: What the loss takes, [B, ...].
            batch: The batch's mask and key.
        """
        point, rest = (x, own.personal), (own.buffers, inputs, targets, batch)
        # The backward pass may read the model's tensors again.
        with self._places.restore_after():
            if any(map(_is_transformed, leaves((point, rest)))):
                return _by_transform(self._value, point, rest)
            return _by_autograd(self._value, point, rest)

    def output(self, x: Tensor, own: Own, inputs: Tensor, key: Tensor | None = None) -> Tensor:
        """Compute the model's output in eval mode on examples of the pool, or kept like them."""
        with drawn_from(key):
            # The model may write to its input, so it gets a copy.
            given, named = self.normalise(inputs).clone(), self.layout.tensors_by_name(x, own)
            if not _is_transformed(x):
                # The model may differentiate by its own parameters, also in evaluations.
                trained = {*self.layout.shared.names, *self.layout.personal.names}
                named |= {name: named[name].detach().requires_grad_() for name in trained}
            return functional_call(self.evaluated, named, (given,))

    def normalise(self, inputs: Tensor) -> Tensor:
        """Return the model's inputs for examples of the pool, or for others kept like them."""
        return normalise(inputs, self.scale)

    def _value(
        self, point: Point, buffers: Tree, inputs: Tensor, targets: Tensor, batch: Batch
    ) -> tuple[Tensor, tuple[Tensor, Tree]]:
        """Compute the objective []; and the loss [] without the l2 term, with the new buffers."""
        x, personal = point
        named = self.layout.tensors_by_name(x, Own(personal, buffers))
        with drawn_from(batch.key if self.random[0] else None):
            output = self._output(named, inputs, x.dtype)
            loss = self._loss(output, targets, batch.mask)
        after = () if buffers == () else self.layout.buffers.flat(self._places.now(), x)
        penalty = sum(0.5 * self.l2 * (t @ t) for t in leaves(point)) if self.l2 else 0.0
        return loss + penalty, (loss.detach(), after)

    def _output(self, named: dict[str, Tensor], inputs: Tensor, dtype: torch.dtype) -> Tensor:
        lowered = self.precision == "bf16"
        self._places.put(named)
        # Each weight is cast once per call, so autocast's cache would only take memory.
        with torch.autocast(
            inputs.device.type, torch.bfloat16, enabled=lowered, cache_enabled=False
        ):
            output = self.model(inputs)
        return output.to(dtype) if lowered else output

    def _loss(self, output: Tensor, targets: Tensor, mask: Tree) -> Tensor:
        if mask == ():
            return self.loss(output, targets)
        # Masks are used only where a trial found the loss to be the mean over single examples.
        each = torch.vmap(lambda o, t: self.loss(o.unsqueeze(0), t.unsqueeze(0)))(output, targets)
        return torch.where(mask, each, 0.0).sum() / mask.sum()


def _is_transformed(tensor: Tensor) -> bool:
    """Return whether a transform of torch.func, such as vmap, is at work on a tensor."""
    return debug_unwrap(tensor, recurse=False) is not tensor


def _by_transform(value: Callable[..., Any], point: Point, rest: Tree) -> StepGradient:
    """Compute the gradient of `value` at `point` inside of vmap."""

    def of_flat(at: tuple[Tensor, ...], *others: Tensor) -> tuple[Tensor, tuple[Tensor, Tree]]:
        return value(like(point, at), *like(rest, others))

    # torch.func processes nested tuples at every call.
    aimed = grad_and_value(of_flat, has_aux=True)
    grads, (_, (loss, buffers)) = aimed(tuple(leaves(point)), *leaves(rest))
    shared, personal = like(point, grads)
    return StepGradient(shared, personal, loss, buffers)


def _by_autograd(value: Callable[..., Any], point: Point, rest: tuple[Tree, ...]) -> StepGradient:
    """Compute the gradient of `value` at `point`, outside of vmap.

    Gradients of torch.func can be differentiated again, which makes their backward passes slower.
    """
    with torch.enable_grad():
        at = tree_map(lambda t: t.detach().requires_grad_(), point)
        objective, (loss, buffers) = value(at, *rest)
        if not objective.requires_grad:
            shared, personal = tree_map(torch.zeros_like, point)
            return StepGradient(shared, personal, loss, buffers)
        grads = torch.autograd.grad(
            objective, tuple(leaves(at)), allow_unused=True, materialize_grads=True
        )
    shared, personal = like(point, grads)
    return StepGradient(shared, personal, loss, buffers)


def _clipped_together(grad: StepGradient, norm: float) -> dict[str, Tree]:
    """Return both parts of a gradient, scaled down so that their joint length is at most `norm`."""
    if grad.personal == ():
        return {"shared": clip_to_norm(grad.shared, norm)}
    whole = clip_to_norm(torch.cat([grad.shared, grad.personal]), norm)
    shared, personal = whole.split([len(grad.shared), len(grad.personal)])
    return {"shared": shared, "personal": personal}


def clip_to_norm(grad: Tensor, norm: float) -> Tensor:
    """Return `grad` [P], scaled down to the length `norm` if it is longer.

    A zero gradient stays zero, and norm = inf clips nothing. If the length overflows, the result is
    NaN and not zero, so that divergence is visible.

    Reference: Pascanu, Mikolov, Bengio. On the difficulty of training recurrent neural networks.
    2013. https://arxiv.org/abs/1211.5063

    >>> clip_to_norm(torch.tensor([3.0, 4.0]), 1.0), clip_to_norm(torch.zeros(2), 1.0)
    (tensor([0.6000, 0.8000]), tensor([0., 0.]))
    """
    length = grad.norm()
    return grad * torch.where(length.isinf(), torch.nan, torch.clamp(norm / length, max=1.0))
