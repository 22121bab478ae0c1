"""Losses and accuracy: means over the batch, written so that nested `torch.vmap` takes them.

Branches look at shapes only, never at values. Losses with settings are the modules of
`fedlocal.objective.criteria` and `fedlocal.objective.class_criteria`, which are imported here.
"""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from fedlocal.objective.class_criteria import NLL, CrossEntropy
from fedlocal.objective.criteria import MAE, MSE, BinaryCrossEntropy, Criterion, Huber, equal_shapes

__all__ = [
    "MAE",
    "MSE",
    "NLL",
    "BinaryCrossEntropy",
    "Criterion",
    "CrossEntropy",
    "Huber",
    "accuracy",
    "cross_entropy",
    "loss_for",
    "squared_error",
]


def loss_for(classes: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the default loss, by whether the targets are class indices."""
    return cross_entropy if classes else squared_error


def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Compute the mean logistic loss: softmax for two or more output columns, binary for one.

    Args:
        output: Logits, [batch, C]; C = 1 is the logit of class 1 against class 0.
        target: Class indices, int64 [batch]; in {0, 1} for C = 1.

    Returns:
        Mean loss in nats, [].

    Raises:
        ValueError: Targets that are no indices, or of another shape than the rows of `output`.

    >>> import torch
    >>> one_logit = cross_entropy(torch.tensor([[0.7]]), torch.tensor([1]))
    >>> two_logits = cross_entropy(torch.tensor([[0.0, 0.7]]), torch.tensor([1]))
    >>> torch.allclose(one_logit, two_logits)
    True
    """
    if target.shape != output.shape[:-1] or target.is_floating_point():
        raise ValueError(
            f"cross_entropy needs class indices {list(output.shape[:-1])} for logits"
            f" {list(output.shape)}, got {target.dtype} {list(target.shape)}; for numbers take"
            " loss=mse, for classes in another dimension than the last loss=cross_entropy"
        )
    if output.shape[-1] > 1:
        # Not F.cross_entropy, whose ignore_index doubles the number of operations.
        logs = F.log_softmax(output, -1)
        return -logs.gather(-1, target.unsqueeze(-1)).mean()
    # -log sigmoid(+-z) and not softplus, which torch replaces by its asymptote from 20 on.
    sign = (2 * target - 1).to(output.dtype)
    return -F.logsigmoid(sign * output.squeeze(-1)).mean()


def squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Compute half the squared distance, summed over columns, averaged over the batch.

    Args:
        output: Predictions, [batch, d].
        target: Same shape.

    Returns:
        0.5 * mean_b ||output_b - target_b||^2, [].

    Raises:
        ValueError: Shapes differ; [batch] against [batch, 1] would broadcast to a square.
    """
    if output.shape != target.shape:
        raise ValueError(
            f"squared_error needs equal shapes, got output {list(output.shape)} and target"
            f" {list(target.shape)}{equal_shapes(output, target)}"
        )
    return 0.5 * (output - target).square().sum(-1).mean()


def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """Compute the share of the batch that is classified correctly.

    Args:
        output: Logits, [batch, C]; with C = 1 a positive logit means class 1.
        target: Class indices, int64 [batch].

    Returns:
        Between 0 and 1, in the dtype of `output`, [].
    """
    predicted = output.argmax(-1) if output.shape[-1] > 1 else output.squeeze(-1) > 0
    return (predicted == target).to(output.dtype).mean()
