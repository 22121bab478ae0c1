"""Compressors of compressors: error feedback, per layer, and two in sequence."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from fedlocal.slots.compress.base import Compressor
from fedlocal.slots.compress.sparse import Sparse, TopK
from fedlocal.slots.guarantees import Guarantee
from fedlocal.vectors.flat import ParamSpec
from fedlocal.vectors.trees import Tree


class FeedbackState(NamedTuple):
    """State of `ErrorFeedback`.

    residual: e_i, the unsent change in model units, [P].
    inner: State of the compressor.
    """

    residual: Tensor
    inner: Tree


@dataclass(frozen=True)
class ErrorFeedback(Compressor):
    """Error feedback around a compressor: a = v + e, send C(a), e <- a - C(a).

    An unbiased compressor is scaled by 1 / (1 + omega). Unscaled, the residual may grow without
    bound; scaled, the compressor is contractive with delta = 1 / (1 + omega) (Basu et al. 2019,
    https://arxiv.org/abs/1906.02367, lemma 2's remedy).

    Reference: Karimireddy et al. Error Feedback Fixes SignSGD. 2019.
    https://arxiv.org/abs/1901.09847

    >>> link = ErrorFeedback(TopK(0.5))
    >>> v = torch.tensor([1.0, 3.0])
    >>> _, state = link.encode(v, link.init(v), noise=v)
    >>> message, state = link.encode(v, state, noise=v)
    >>> state.residual
    tensor([2., 0.])
    """

    compressor: Compressor

    @property
    def requires(self) -> frozenset[Guarantee]:
        """A fresh belief: with a belief across rounds the residual would count twice."""
        return frozenset({Guarantee.FRESH_BELIEF})

    @property
    def lossless(self) -> bool:
        """Whether the inner compressor is lossless."""
        return self.compressor.lossless

    def bind(self, spec: ParamSpec) -> "ErrorFeedback":
        return replace(self, compressor=self.compressor.bind(spec))

    def init(self, x: Tensor) -> FeedbackState:
        return FeedbackState(torch.zeros_like(x), self.compressor.init(x))

    def observe(self, state: FeedbackState, steps: Tensor, step_sum: Tensor) -> FeedbackState:
        return state._replace(inner=self.compressor.observe(state.inner, steps, step_sum))

    def noise_size(self, size: int) -> int:
        return self.compressor.noise_size(size)

    def encode(self, v: Tensor, state: FeedbackState, noise: Tensor) -> tuple[Tree, FeedbackState]:
        owed = v + state.residual
        message, inner = self.compressor.encode(owed, state.inner, noise)
        sent = self.decode(message, noise, v.shape[0])
        return message, FeedbackState(owed - sent, inner)

    def decode(self, message: Tree, noise: Tensor, size: int) -> Tensor:
        scale = 1 / (1 + self.compressor.variance(size))
        return scale * self.compressor.decode(message, noise, size)

    def layout(self, size: int) -> Tree:
        return self.compressor.layout(size)


@dataclass(frozen=True)
class PerLayer(Compressor):
    """A compressor applied to every parameter tensor separately, with its own scale or top-k.

    `bind` sets `sizes`, the number of scalars of each tensor.
    """

    compressor: Compressor
    sizes: tuple[int, ...] = ()

    @property
    def requires(self) -> frozenset[Guarantee]:
        """The requirements of the inner compressor."""
        return self.compressor.requires

    @property
    def lossless(self) -> bool:
        """Whether the inner compressor is lossless."""
        return self.compressor.lossless

    def bind(self, spec: ParamSpec) -> "PerLayer":
        bound = replace(self, compressor=self.compressor.bind(spec), sizes=spec.sizes)
        # Raises here if the compressor cannot take a single layer.
        bound.layout(spec.size)
        return bound

    def init(self, x: Tensor) -> tuple[Tree, ...]:
        return tuple(self.compressor.init(part) for part in self._split(x))

    def observe(self, state: Tree, steps: Tensor, step_sum: Tensor) -> tuple[Tree, ...]:
        return tuple(self.compressor.observe(each, steps, step_sum) for each in state)

    def noise_size(self, size: int) -> int:
        return sum(self.compressor.noise_size(n) for n in self.sizes)

    def variance(self, size: int) -> float:
        return max(self.compressor.variance(n) for n in self.sizes)

    def encode(self, v: Tensor, state: Tree, noise: Tensor) -> tuple[Tree, Tree]:
        parts = zip(self._split(v), state, self._split_noise(noise), strict=True)
        pairs = [self.compressor.encode(part, s, n) for part, s, n in parts]
        return tuple(message for message, _ in pairs), tuple(s for _, s in pairs)

    def decode(self, message: Tree, noise: Tensor, size: int) -> Tensor:
        parts = zip(message, self._split_noise(noise), self.sizes, strict=True)
        return torch.cat([self.compressor.decode(m, n, length) for m, n, length in parts])

    def layout(self, size: int) -> Tree:
        return tuple(self.compressor.layout(n) for n in self.sizes)

    def _split(self, v: Tensor) -> tuple[Tensor, ...]:
        return torch.split(v, list(self.sizes))

    def _split_noise(self, noise: Tensor) -> tuple[Tensor, ...]:
        return torch.split(noise, [self.compressor.noise_size(n) for n in self.sizes])


class SparseCodes(NamedTuple):
    """Message of `QuantisedTopK`.

    codes: The quantiser's message for the kept values.
    indices: Positions of the kept values, int64 [k].
    """

    codes: Tree
    indices: Tensor


@dataclass(frozen=True)
class QuantisedTopK(Compressor):
    """Top-k sparsification, then quantisation of the kept values: QTop_k of Qsparse-local-SGD.

    With an unbiased quantiser the values are scaled by 1 / (1 + omega_k), which makes the result
    contractive with delta = k / (P (1 + omega_k)).

    Reference: Basu et al. Qsparse-local-SGD. 2019. https://arxiv.org/abs/1906.02367
    """

    sparsifier: TopK
    quantiser: Compressor

    @property
    def lossless(self) -> bool:
        """Whether both parts are lossless."""
        return self.sparsifier.lossless and self.quantiser.lossless

    def noise_size(self, size: int) -> int:
        return self.quantiser.noise_size(self.sparsifier.kept(size))

    def encode(self, v: Tensor, state: Tree, noise: Tensor) -> tuple[SparseCodes, Tree]:
        sparse, _ = self.sparsifier.encode(v, (), noise)
        codes, _ = self.quantiser.encode(sparse.values, (), noise)
        return SparseCodes(codes, sparse.indices), state

    def decode(self, message: SparseCodes, noise: Tensor, size: int) -> Tensor:
        k = self.sparsifier.kept(size)
        values = self.quantiser.decode(message.codes, noise, k) / (1 + self.quantiser.variance(k))
        return self.sparsifier.decode(Sparse(values, message.indices), noise, size)

    def layout(self, size: int) -> SparseCodes:
        sparse = self.sparsifier.layout(size)
        codes = self.quantiser.layout(self.sparsifier.kept(size))
        return SparseCodes(codes, sparse.indices)


def error_feedback(compressor: Compressor) -> Compressor:
    """Wrap a compressor in error feedback, unless it has it already.

    >>> error_feedback(TopK(0.1))
    ErrorFeedback(compressor=TopK(ratio=0.1))
    """
    inside = compressor.compressor if isinstance(compressor, PerLayer) else compressor
    return compressor if isinstance(inside, ErrorFeedback) else ErrorFeedback(compressor)


def link(
    compressor: Compressor, error_feedback: bool = False, per_layer: bool = False
) -> Compressor:
    """Return the compressor of a link as `conf/uplink` and `conf/downlink` describe it."""
    if per_layer:
        compressor = PerLayer(compressor)
    return ErrorFeedback(compressor) if error_feedback else compressor
