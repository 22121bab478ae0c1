"""A model with everything beside plain parameters, as a user would write it."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from fedlocal.objective.losses import cross_entropy

WIDTH = 6


class Net(nn.Module):
    """A body and a head.

    Args:
        input_shape: Of one input.
        num_outputs: Width of the head.
        layers: What stands in the body: "inputs" normalises the inputs, "batch_norm" and "dropout"
            come after the linear layer.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        num_outputs: int,
        layers: Sequence[str] = ("batch_norm", "dropout"),
    ) -> None:
        super().__init__()
        size = prod(input_shape)
        first = [nn.BatchNorm1d(size)] if "inputs" in layers else []
        kinds = {"batch_norm": nn.BatchNorm1d(WIDTH), "dropout": nn.Dropout(0.3)}
        middle = [layer for name, layer in kinds.items() if name in layers]
        self.body = nn.Sequential(nn.Flatten(), *first, nn.Linear(size, WIDTH), *middle, nn.Tanh())
        self.head = nn.Linear(WIDTH, num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def made(layers: Sequence[str]) -> nn.Module:
    """The same model every time, for inputs [5] and three classes."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net((5,), 3, layers)


def spread(output: Tensor, target: Tensor) -> Tensor:
    """A loss of the whole batch, and no mean over examples."""
    return cross_entropy(output, target) + 0.1 * output.var(0, correction=0).mean()
