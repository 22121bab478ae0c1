"""A check of compressors' messages against the layouts by which the ledger counts bytes."""

from collections.abc import Iterator

import torch
from torch import Tensor

from fedlocal.slots.compress.base import Compressor, Field
from fedlocal.slots.strategy import Strategy
from fedlocal.vectors.trees import Tree


def check_links(strategy: Strategy, x: Tensor) -> None:
    """Check that each link encodes a vector of zeros as its layout declares.

    Args:
        strategy: Strategy, bound to the model's layers.
        x: Model, [P].

    Raises:
        ValueError: A tensor differs from its `Field` in length or floating-point type.

    >>> from strategies import local_sgd
    >>> check_links(local_sgd(), torch.zeros(3))
    """
    for slot in ("uplink", "downlink"):
        compressor: Compressor = getattr(strategy, slot)
        noise = x.new_zeros(compressor.noise_size(len(x)))
        message, _ = compressor.encode(torch.zeros_like(x), compressor.init(x), noise)
        for tensor, field in _pairs(f"{slot}={compressor}", message, compressor.layout(len(x))):
            _check(f"{slot}={compressor}", tensor, field, x.dtype)


def _check(name: str, tensor: Tensor, field: Field, dtype: torch.dtype) -> None:
    if tensor.numel() != field.length:
        raise ValueError(
            f"{name} encodes {tensor.numel()} values where its layout declares {field.length};"
            " declare as many as are sent"
        )
    if field.bits == 0 and tensor.is_floating_point() and tensor.dtype != dtype:
        raise ValueError(
            f"{name} encodes {tensor.dtype} where its layout declares floating point of the run's"
            f" {dtype}, which would be counted and sent; encode {dtype}, or the bits as unsigned"
            f" integers with Field({field.length}, bits={8 * tensor.dtype.itemsize})"
        )


def _pairs(name: str, message: Tree, layout: Tree) -> Iterator[tuple[Tensor, Field]]:
    """Yield each tensor of a message with its field."""
    if isinstance(layout, Field) and isinstance(message, Tensor):
        yield message, layout
        return
    parts = isinstance(message, tuple) and not isinstance(layout, Field)
    if not parts or len(message) != len(layout):
        raise ValueError(
            f"{name} encodes a message of another structure than its layout; match them"
        )
    for part, wanted in zip(message, layout, strict=True):
        yield from _pairs(name, part, wanted)
