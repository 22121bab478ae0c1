"""Compressors made of compressors: error feedback, one per layer, one after another."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from fedlocal.slots.compress.base import Compressor
from fedlocal.slots.compress.sparse import Sparse, TopK
from fedlocal.slots.terms import Guarantee
from fedlocal.vectors.flat import ParamSpec
from fedlocal.vectors.trees import Tree


class FeedbackState(NamedTuple):
    """residual: e_i, [P], in model units: what has not been sent yet. inner: the compressor's."""

    residual: Tensor
    inner: Tree


@dataclass(frozen=True)
class ErrorFeedback(Compressor):
    """Add what earlier messages lost before compressing: a = v + e, e <- a - C(a).

    An unbiased compressor is used scaled by 1 / (1 + omega): unscaled it may enlarge the residual
    without bound, scaled it is contractive with delta = 1 / (1 + omega) (Basu et al. 2019,
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
        """A belief that lags behind remembers what was not sent; a residual would add it twice."""
        return frozenset({Guarantee.FRESH_BELIEF})

    @property
    def lossless(self) -> bool:
        """As the compressor inside."""
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
    """Compress every parameter tensor by itself, so that each has its own scale or top-k.

    `sizes` is filled in by `bind`, once the model is known.
    """

    compressor: Compressor
    sizes: tuple[int, ...] = ()

    @property
    def requires(self) -> frozenset[Guarantee]:
        """As the compressor inside."""
        return self.compressor.requires

    @property
    def lossless(self) -> bool:
        """As the compressor inside."""
        return self.compressor.lossless

    def bind(self, spec: ParamSpec) -> "PerLayer":
        bound = replace(self, compressor=self.compressor.bind(spec), sizes=spec.sizes)
        # A compressor that does not fit a layer by itself says so now.
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
    """codes: the quantiser's message for the kept values. indices: [k], int64."""

    codes: Tree
    indices: Tensor


@dataclass(frozen=True)
class QuantisedTopK(Compressor):
    """Keep the k largest coordinates, then quantise those: QTop_k of Qsparse-local-SGD.

    With an unbiased quantiser the values are scaled by 1 / (1 + omega_k), which makes the whole
    contractive with delta = k / (P (1 + omega_k)).

    Reference: Basu et al. Qsparse-local-SGD. 2019. https://arxiv.org/abs/1906.02367
    """

    sparsifier: TopK
    quantiser: Compressor

    @property
    def lossless(self) -> bool:
        """When both are."""
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
    """Wrap in error feedback, once: feedback of feedback would be the same thing twice.

    >>> error_feedback(TopK(0.1))
    ErrorFeedback(compressor=TopK(ratio=0.1))
    """
    inside = compressor.compressor if isinstance(compressor, PerLayer) else compressor
    return compressor if isinstance(inside, ErrorFeedback) else ErrorFeedback(compressor)


def link(
    compressor: Compressor, error_feedback: bool = False, per_layer: bool = False
) -> Compressor:
    """One direction of the wire as `conf/uplink` and `conf/downlink` describe it."""
    if per_layer:
        compressor = PerLayer(compressor)
    return ErrorFeedback(compressor) if error_feedback else compressor
