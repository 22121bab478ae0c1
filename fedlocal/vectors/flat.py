"""Parameters and buffers of a model as flat vectors.

Papers write x in R^d, and so do we: only the loss sees the names of parameters.
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
            model: Its parameters with `requires_grad` are trained.
            chosen: Selects parameters by name; by default all.

        Raises:
            ValueError: Parameters of several dtypes, or without a shape yet.
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
        """Views of x [size] (or [..., size]) under the tensors' names and shapes.

        One split, not a slice a layer: the backward of a slice fills a zero vector of size P.
        """
        parts = torch.split(x, list(self.sizes), dim=-1)
        lead = x.shape[:-1]
        return {
            name: part.reshape(lead + shape)
            for name, part, shape in zip(self.names, parts, self.shapes, strict=True)
        }

    def flat(self, tensors: Mapping[str, Tensor], like: Tensor) -> Tensor:
        """One new vector [size] of the tensors with these names, of the dtype of `like`."""
        parts = [tensors[name].detach().reshape(-1).to(like.dtype) for name in self.names]
        return torch.cat(parts) if parts else like.new_zeros(0)


@dataclass(frozen=True)
class BufferSpec(ParamSpec):
    """Names, shapes and dtypes of the buffers behind a flat vector."""

    dtypes: tuple[torch.dtype, ...] = ()

    @classmethod
    def named_as(cls, names: tuple[str, ...], model: nn.Module) -> "BufferSpec":
        """Read the layout of the buffers of `model` with these names."""
        buffers = [model.get_buffer(name) for name in names]
        shapes = tuple(tuple(b.shape) for b in buffers)
        return cls(names, shapes, tuple(b.dtype for b in buffers))

    def named(self, x: Tensor) -> dict[str, Tensor]:
        """New tensors of the buffers' own dtypes; integers, which a mean splits, are rounded."""
        pairs = zip(super().named(x).items(), self.dtypes, strict=True)
        return {name: _as(part, dtype) for (name, part), dtype in pairs}


def flatten(model: nn.Module) -> Tensor:
    """The trained parameters of `model` as one new vector [P], in their order."""
    spec = ParamSpec.of(model)
    named = dict(model.named_parameters())
    if not spec.names:
        raise ValueError("the model has no trained parameters; nothing can be trained")
    return spec.flat(named, named[spec.names[0]])


def assign(model: nn.Module, x: Tensor, spec: ParamSpec | None = None) -> None:
    """Write x into tensors of `model`, keeping their dtype and device.

    Args:
        model: Is changed.
        x: The flat vector, [P].
        spec: Names of its parts; by default all trained parameters.
    """
    spec = spec or ParamSpec.of(model)
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    with torch.no_grad():
        for name, value in spec.named(x).items():
            tensors[name].copy_(value)


def _as(part: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy of another dtype, which may be written to."""
    rounded = part if dtype.is_floating_point else part.round()
    return rounded.to(dtype, copy=True)
