"""A model's parameters as one flat vector [P], in the order of `model.parameters()`.

Papers write x in R^d, and so do we: only the loss sees parameter names.
"""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ParamSpec:
    """Names and shapes of the parameters behind a flat vector."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, model: nn.Module) -> "ParamSpec":
        """Read the layout of `model`.

        Raises:
            ValueError: The model has buffers (running statistics), which no flat vector carries,
                or no parameters.
        """
        buffers = [name for name, _ in model.named_buffers()]
        if buffers:
            raise ValueError(
                f"the model keeps {len(buffers)} buffers (first: {buffers[0]}), which are not"
                " parameters and would not be averaged; replace BatchNorm by GroupNorm with"
                " fedlocal.models.batch_norm_to_group_norm(model)"
            )
        named = list(model.named_parameters())
        if not named:
            raise ValueError("the model has no parameters; nothing can be trained")
        return cls(tuple(n for n, _ in named), tuple(tuple(p.shape) for _, p in named))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of scalars in each parameter."""
        return tuple(prod(shape) for shape in self.shapes)

    @property
    def size(self) -> int:
        """P, the number of scalars in all."""
        return sum(self.sizes)

    def named(self, x: Tensor) -> dict[str, Tensor]:
        """Views of x [P] (or [..., P]) under the parameters' names and shapes.

        One split, not a slice a layer: the backward of a slice fills a zero vector of size P.
        """
        parts = torch.split(x, list(self.sizes), dim=-1)
        lead = x.shape[:-1]
        return {
            name: part.reshape(lead + shape)
            for name, part, shape in zip(self.names, parts, self.shapes, strict=True)
        }


def flatten(model: nn.Module) -> Tensor:
    """The model's parameters as one new vector [P]."""
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def assign(model: nn.Module, x: Tensor) -> None:
    """Write the flat vector x [P] into the model's parameters, keeping their dtype and device."""
    named = ParamSpec.of(model).named(x)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(named[name])
