"""Every compressor and every way to wrap one, with what theory says about each."""

from collections.abc import Iterator
from functools import reduce
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedlocal.slots import Compressor
from fedlocal.slots.compress import (
    QSGD,
    Contractive,
    ErrorFeedback,
    ErrorReset,
    Identity,
    Natural,
    PerLayer,
    PowerSGD,
    QuantisedTopK,
    RandomK,
    ScaledSign,
    TernGrad,
    TopK,
)
from fedlocal.vectors.flat import ParamSpec

SHAPES = ((3, 4), (1,), (7,))
SIZES = tuple(prod(shape) for shape in SHAPES)
SIZE = sum(SIZES)
SPEC = ParamSpec(("matrix", "scalar", "bias"), SHAPES)
DTYPES = (torch.float32, torch.float64)

UNBIASED: list[Compressor] = [
    Identity(),
    RandomK(0.3),
    RandomK(1.0),
    QSGD(1),
    QSGD(4),
    QSGD(255),
    TernGrad(),
    Natural(),
]
BIASED: list[Compressor] = [
    TopK(0.3),
    TopK(1.0),
    RandomK(0.3, unbiased=False),
    TernGrad(clip=2.5),
    TernGrad(clip=0.5),
    ScaledSign(),
    ScaledSign(toss=True),
    QuantisedTopK(TopK(0.3), QSGD(4)),
    QuantisedTopK(TopK(0.3), Natural()),
    QuantisedTopK(TopK(0.3), TernGrad()),
    QuantisedTopK(TopK(0.3), ScaledSign()),
    QuantisedTopK(TopK(1.0), Identity()),
]


def layered(compressor: Compressor) -> PerLayer:
    return PerLayer(compressor).bind(SPEC)


PLAIN = UNBIASED + BIASED
LAYERED: list[Compressor] = [layered(c) for c in PLAIN]
# These know the layers themselves: one vector is all they take.
LOW_RANK: list[Compressor] = [PowerSGD(rank).bind(SPEC) for rank in (1, 2, 9)]
# These keep what they have not sent, and say so by themselves.
RESET: list[Compressor] = [
    ErrorReset(Contractive(RandomK(0.3)), TopK(0.3), 2).bind(SPEC),
    ErrorReset(PerLayer(ScaledSign()), PowerSGD(1), 1).bind(SPEC),
    ErrorReset(Identity(), QSGD(4), 3).bind(SPEC),
]
FEEDBACK: list[Compressor] = [
    wrapped
    for c in PLAIN
    for wrapped in (
        ErrorFeedback(c),
        ErrorFeedback(PerLayer(c)).bind(SPEC),
        layered(ErrorFeedback(c)),
    )
] + [ErrorFeedback(c) for c in LOW_RANK]
ALL = PLAIN + LAYERED + LOW_RANK + RESET + FEEDBACK


def contraction(compressor: Compressor, size: int) -> float:
    """delta with E|v - C(v)|^2 <= (1 - delta) |v|^2 for all v, as error feedback applies C."""
    scaled = 1 / (1 + compressor.variance(size))
    match compressor:
        case ErrorFeedback(inside):
            return contraction(inside, size)
        case PerLayer(inside, sizes):
            # One common factor, the most cautious layer's.
            least = min(contraction(inside, n) for n in sizes)
            return min(scaled, least) if compressor.variance(size) else least
        case TopK():
            return compressor.kept(size) / size
        case RandomK():
            return compressor.kept(size) / size
        case ScaledSign():
            return 1 / size
        case PowerSGD():
            # |M Q|^2 is the least that P P^T M keeps, and a Q drawn at random keeps rank / m of M.
            return min(1.0, compressor.rank / SHAPES[0][1])
        case TernGrad(clip=float(clip)):
            # Where anything is clipped, a coordinate of clip |v| / sqrt(P) is left.
            return scaled * min(1.0, clip**2 / size)
        case QuantisedTopK(sparsifier, quantiser):
            k = sparsifier.kept(size)
            return k / size * contraction(quantiser, k)
        case _:
            return scaled


def uniforms(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    # On the grid of float32, so that no uniform is rounded up to 1.
    draws = np.random.default_rng(seed).integers(0, 2**24, shape) / 2**24
    return torch.from_numpy(draws).to(dtype)


def normals(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.from_numpy(np.random.default_rng([seed, 1]).standard_normal(shape)).to(dtype)


def sent(compressor: Compressor, v: Tensor, noise: Tensor) -> Tensor:
    """What arrives of v [P], from a fresh state."""
    message, _ = compressor.encode(v, compressor.init(v), noise)
    return compressor.decode(message, noise, v.shape[0])


def residual(state: Any) -> Tensor:
    """The residual [P] of ErrorFeedback(C), or of PerLayer(ErrorFeedback(C))."""
    return state.residual if hasattr(state, "residual") else torch.cat([s.residual for s in state])


def name(compressor: Compressor) -> str:
    """A short id for pytest: the fields that `bind` fills in say nothing."""
    filled = f", sizes={SIZES}", f", shapes={SHAPES}", ", sizes=()"
    return reduce(lambda text, part: text.replace(part, ""), filled, repr(compressor))


def bits(t: Tensor) -> bytes:
    """Tell -0.0 from 0.0, as `==` does not."""
    return t.contiguous().numpy().tobytes()


def tensors(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, tuple):
        for part in tree:
            yield from tensors(part)
    else:
        yield tree
