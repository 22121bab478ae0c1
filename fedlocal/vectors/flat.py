"""Parameters and buffers of a model as flat vectors.

As in papers, x is a vector in R^d; only the loss uses the names of parameters.
"""

from collections.abc import Callable, Mapping
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
    def of(cls, model: nn.Module, chosen: Callable[[str], bool] = lambda name: True) -> "ParamSpec":
        """Read the layout of the trained parameters of `model`.

        Args:
            model: Model whose parameters with `requires_grad` are trained.
            chosen: Predicate on parameter names; by default all are selected.

        Raises:
            ValueError: The parameters have several dtypes, or one has no shape yet.
        """
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad and chosen(n)]
        for name, parameter in named:
            if isinstance(parameter, nn.parameter.UninitializedParameter):
                raise ValueError(
                    f"the parameter {name} is lazy and has no shape yet; call the model once on a"
                    " batch before it is given to fedlocal"
                )
        dtypes = sorted({str(parameter.dtype) for _, parameter in named})
        if len(dtypes) > 1:
            raise ValueError(
                f"the model's parameters are of {' and '.join(dtypes)}; one dtype is needed:"
                " give dtype=torch.float32, or call model.float()"
            )
        return cls(tuple(n for n, _ in named), tuple(tuple(p.shape) for _, p in named))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of scalars in each tensor."""
        return tuple(prod(shape) for shape in self.shapes)

    @property
    def size(self) -> int:
        """Number of scalars in all."""
        return sum(self.sizes)

    def named(self, x: Tensor) -> dict[str, Tensor]:
        """Return views of x [size] (or [..., size]) by the tensors' names, in their shapes.

        One split is used and not one slice per layer, whose backward fills a zero vector of size P.
        """
        parts = torch.split(x, list(self.sizes), dim=-1)
        lead = x.shape[:-1]
        return {
            name: part.reshape(lead + shape)
            for name, part, shape in zip(self.names, parts, self.shapes, strict=True)
        }

    def flat(self, tensors: Mapping[str, Tensor], like: Tensor) -> Tensor:
        """Return a new vector [size] of the tensors with these names, in the dtype of `like`."""
        parts = [tensors[name].detach().reshape(-1).to(like.dtype) for name in self.names]
        return torch.cat(parts) if parts else like.new_zeros(0)


@dataclass(frozen=True)
class BufferSpec(ParamSpec):
    """Names, shapes and dtypes of the buffers behind a flat vector."""

    dtypes: tuple[torch.dtype, ...] = ()

    @classmethod
    def from_names(cls, names: tuple[str, ...], model: nn.Module) -> "BufferSpec":
        """Read the layout of the buffers of `model` with these names."""
        buffers = [model.get_buffer(name) for name in names]
        shapes = tuple(tuple(b.shape) for b in buffers)
        return cls(names, shapes, tuple(b.dtype for b in buffers))

    def named(self, x: Tensor) -> dict[str, Tensor]:
        """Return new tensors in the buffers' own dtypes; integer buffers are rounded."""
        pairs = zip(super().named(x).items(), self.dtypes, strict=True)
        return {name: _as(part, dtype) for (name, part), dtype in pairs}


def flatten(model: nn.Module) -> Tensor:
    """Return the trained parameters of `model` as one new vector [P], in their order."""
    spec = ParamSpec.of(model)
    named = dict(model.named_parameters())
    if not spec.names:
        raise ValueError("the model has no trained parameters; nothing can be trained")
    return spec.flat(named, named[spec.names[0]])


def assign(model: nn.Module, x: Tensor, spec: ParamSpec | None = None) -> None:
    """Write x into tensors of `model`, with their dtype and device.

    Args:
        model: Model to update.
        x: Flat vector, [P].
        spec: Names and shapes of its parts; by default all trained parameters.
    """
    spec = spec or ParamSpec.of(model)
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    with torch.no_grad():
        for name, value in spec.named(x).items():
            tensors[name].copy_(value)


def _as(part: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a writable copy in another dtype."""
    rounded = part if dtype.is_floating_point else part.round()
    return rounded.to(dtype, copy=True)
