"""Convex models: logistic regression and least squares."""

import math
from collections.abc import Sequence

from torch import Tensor, nn


class FlatLinear(nn.Module):
    """A linear map of the flattened input, initialised to zero."""

    def __init__(self, num_inputs: int, num_outputs: int, bias: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(num_inputs, num_outputs, bias=bias)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, ...] -> [batch, num_outputs]."""
        return self.linear(x.flatten(1))


def logistic(input_shape: Sequence[int], num_outputs: int, bias: bool = True) -> nn.Module:
    """Return logistic regression: softmax, or one logit if there are two classes.

    With a run's `l2` > 0 the loss is l2-strongly convex, as in most local SGD theory, for example
    Stich. Local SGD Converges Fast and Communicates Little. 2019.
    https://arxiv.org/abs/1805.09767 (w8a, l2 = 1/n).

    Args:
        input_shape: Shape of one example; it is flattened.
        num_outputs: Number of classes.
        bias: Whether each logit has an intercept.
    """
    # With two softmax columns one direction would have no curvature.
    columns = 1 if num_outputs == 2 else num_outputs
    return FlatLinear(math.prod(input_shape), columns, bias)


def linear(input_shape: Sequence[int], num_outputs: int, bias: bool = True) -> nn.Module:
    """Return a linear map for least squares; with `squared_error` the loss is quadratic.

    Args:
        input_shape: Shape of one example; it is flattened.
        num_outputs: Width of the target.
        bias: Whether each output has an intercept.
    """
    return FlatLinear(math.prod(input_shape), num_outputs, bias)
