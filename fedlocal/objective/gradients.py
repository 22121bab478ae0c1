"""Types of a gradient function: the batch that it takes and the gradient that it returns."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from fedlocal.objective.precision import Precision
from fedlocal.vectors.trees import Tree


class Own(NamedTuple):
    """The parts of a model beside the shared parameters.

    personal: Parameters that stay with their client, [Q]; () for none.
    buffers: Buffers that `forward` changes, [B]; () for none.
    """

    personal: Tree = ()
    buffers: Tree = ()


NO_PARTS = Own()


class Batch(NamedTuple):
    """The work of one local step: a row of the client's indices, draws and keys.

    indices: Examples, [B]. mask: Which of them count, [B]; () for all. active: Whether the step is
    real, []; () if it is. draws: What the augmentation does to each example, [B, n]; () without
    one. key: Of the model's random numbers, []; () where it draws none. shared: Whether the step
    trains the shared parameters and not the personal ones, []; () if it trains both.
    """

    indices: Tensor
    mask: Tree = ()
    active: Tree = ()
    draws: Tree = ()
    key: Tree = ()
    shared: Tree = ()


class StepGradient(NamedTuple):
    """Gradient of a mini-batch loss, and what its computation leaves behind.

    shared: With respect to the shared parameters, [P]. personal: To the personal ones, [Q] or ().
    loss: Mean loss without the l2 term, []. buffers: The buffers after it, [B] or ().
    """

    shared: Tensor
    personal: Tree
    loss: Tensor
    buffers: Tree


class Everything(NamedTuple):
    """All examples of a client, in parts that are looked at one after another.

    indices: [C, B]. real: Which of them are no padding, [C, B]; () for all. key: Of the model's
    random numbers, []; () where it draws none.
    """

    indices: Tensor
    real: Tree = ()
    key: Tree = ()


class Gradients(NamedTuple):
    """Gradient functions of the objective.

    step: Of a local step: augmented and clipped. plain: Of examples as they are. precision: Of
    the products. pads: Whether a padded batch with a mask gives exactly the gradient of its real
    examples, with this model and loss; else batches must never be padded.
    """

    step: Callable[[Tensor, Own, Batch], StepGradient]
    plain: Callable[[Tensor, Own, Batch], StepGradient]
    precision: Precision = "full"
    pads: Callable[[], bool] = lambda: False
