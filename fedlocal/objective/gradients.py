"""Types of a gradient function: the batch that it takes and the gradient that it returns."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from fedlocal.objective.precision import Precision
from fedlocal.vectors.trees import Tree


class Own(NamedTuple):
    """Parts of a model besides the shared parameters.

    personal: Parameters that stay with their client, [Q]; () for none.
    buffers: Buffers that `forward` changes, [B]; () for none.
    """

    personal: Tree = ()
    buffers: Tree = ()


NO_PARTS = Own()


class Batch(NamedTuple):
    """Work of one local step: a row of the client's indices, draws and keys.

    indices: Examples, [B]. mask: Real examples of a padded batch, [B]; () where none is padded.
    active: Whether the step is real, []; () if all are. draws: Augmentation of each example, [B,
    n]; () without one. key: Key of the model's random numbers, []; () where it draws none. shared:
    Whether the step trains the shared parameters and not the personal ones, []; () if it trains
    both.
    """

    indices: Tensor
    mask: Tree = ()
    active: Tree = ()
    draws: Tree = ()
    key: Tree = ()
    shared: Tree = ()


class StepGradient(NamedTuple):
    """Gradient of a mini-batch loss, with the loss and the new buffers.

    shared: Gradient with respect to the shared parameters, [P]. personal: With respect to the
    personal ones, [Q] or (). loss: Mean loss without the l2 term, []. buffers: Buffers after the
    step, [B] or ().
    """

    shared: Tensor
    personal: Tree
    loss: Tensor
    buffers: Tree


class Everything(NamedTuple):
    """All examples of a client, in parts that are evaluated one after another.

    indices: Examples, [C, B]. real: Mask of the examples that are no padding, [C, B]; () for all.
    key: Key of the model's random numbers, []; () where it draws none.
    """

    indices: Tensor
    real: Tree = ()
    key: Tree = ()


class Gradients(NamedTuple):
    """Gradient functions of the objective.

    step: Gradient of a local step, augmented and clipped. plain: Gradient of the examples as they
        are.
    precision: Precision of matrix products. pads: Whether a padded batch with a mask gives exactly
    the gradient of its real examples, with this model and loss; otherwise batches are never padded.
    """

    step: Callable[[Tensor, Own, Batch], StepGradient]
    plain: Callable[[Tensor, Own, Batch], StepGradient]
    precision: Precision = "full"
    pads: Callable[[], bool] = lambda: False
