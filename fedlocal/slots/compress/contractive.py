"""Contractive compressors, with E|v - C(v)|^2 <= (1 - delta) |v|^2, as gossip requires."""

from dataclasses import dataclass, replace

from torch import Tensor

from fedlocal.slots.compress.base import Compressor, Identity
from fedlocal.slots.compress.natural import Natural
from fedlocal.slots.compress.quantise import QSGD, ScaledSign, TernGrad
from fedlocal.slots.compress.sparse import Sparsifier
from fedlocal.slots.compress.wrappers import ErrorFeedback, PerLayer, QuantisedTopK
from fedlocal.vectors.flat import ParamSpec
from fedlocal.vectors.trees import Tree


@dataclass(frozen=True)
class Contractive(Compressor):
    """A compressor scaled by 1 / (1 + omega), which changes only unbiased ones.

    With omega >= 1 an unscaled compressor may make v - C(v) larger than v, as random-k does, which
    sends P / k times a coordinate. Repeatedly sent differences then diverge.
    """

    compressor: Compressor

    @property
    def lossless(self) -> bool:
        """Whether the inner compressor is lossless."""
        return self.compressor.lossless

    def bind(self, spec: ParamSpec) -> "Contractive":
        return replace(self, compressor=self.compressor.bind(spec))

    def init(self, x: Tensor) -> Tree:
        return self.compressor.init(x)

    def observe(self, state: Tree, steps: Tensor, step_sum: Tensor) -> Tree:
        return self.compressor.observe(state, steps, step_sum)

    def noise_size(self, size: int) -> int:
        return self.compressor.noise_size(size)

    def encode(self, v: Tensor, state: Tree, noise: Tensor) -> tuple[Tree, Tree]:
        return self.compressor.encode(v, state, noise)

    def decode(self, message: Tree, noise: Tensor, size: int) -> Tensor:
        scale = 1 / (1 + self.compressor.variance(size))
        return scale * self.compressor.decode(message, noise, size)

    def layout(self, size: int) -> Tree:
        return self.compressor.layout(size)


def contraction(compressor: Compressor, size: int) -> float:
    """Return delta with E|v - C(v)|^2 <= (1 - delta) |v|^2 for all v [size], C `Contractive`.

    >>> from fedlocal.slots.compress import TopK
    >>> contraction(TopK(0.25), 8)
    0.25

    Raises:
        ValueError: No delta is known for this compressor.
    """
    match compressor:
        case Identity():
            return 1.0
        case Contractive(inside):
            return contraction(inside, size)
        case PerLayer(inside, sizes):
            # Before `bind` the layers are unknown, and the vector counts as one layer.
            return min(contraction(inside, n) for n in sizes or (size,))
        case Sparsifier():
            return compressor.kept(size) / size
        case ScaledSign():
            return 1 / size
        case QuantisedTopK(sparsifier, quantiser):
            return contraction(sparsifier, size) * contraction(quantiser, sparsifier.kept(size))
        case QSGD() | Natural() | TernGrad(clip=None):
            return 1 / (1 + compressor.variance(size))
    raise ValueError(f"how much {compressor} loses at most is not known; give gossip_step a number")


def has_error_feedback(compressor: Compressor) -> bool:
    """Return whether the compressor contains error feedback."""
    inside = getattr(compressor, "compressor", None)
    return isinstance(compressor, ErrorFeedback) or (
        inside is not None and has_error_feedback(inside)
    )
