"""A strategy is its filled slots. Illegal pairs are refused here, before anything runs."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

from fedlocal.compress.dense import Identity
from fedlocal.correction import NoCorrection
from fedlocal.flat import ParamSpec
from fedlocal.mixing import WeightedMean
from fedlocal.outer import OuterSGD
from fedlocal.pieces import (
    Compressor,
    Correction,
    Guarantee,
    InnerOptimiser,
    Mixing,
    OuterOptimiser,
    Period,
    Piece,
    Timing,
)


@dataclass(frozen=True)
class Strategy:
    """One method of the family. The defaults are local SGD.

    Attributes:
        timing: When what a client sent is applied.
        rounds: The method ends after so many rounds by definition (one-shot averaging); None
            leaves that to the run.

    Raises:
        ValueError: A piece relies on a guarantee that another piece breaks.
    """

    inner: InnerOptimiser
    period: Period
    correction: Correction = NoCorrection()
    uplink: Compressor = Identity()
    downlink: Compressor = Identity()
    mixing: Mixing = WeightedMean()
    outer: OuterOptimiser = OuterSGD()
    timing: Timing = Timing.BARRIER
    rounds: int | None = None

    def __post_init__(self) -> None:
        """Refuse illegal pairs."""
        for slot, piece in self.pieces():
            if self.timing is Timing.ASYNCHRONOUS and Guarantee.BARRIER in piece.requires:
                raise ValueError(
                    f"{slot}={piece} needs: {Guarantee.BARRIER.value}; the strategy is asynchronous"
                )
            for other_slot, other in self.pieces():
                for broken in sorted(piece.requires & self._breaks(other_slot, other), key=str):
                    raise ValueError(
                        f"{slot}={piece} needs: {broken.value}; {other_slot}={other} breaks that."
                        f" Change one of the two"
                    )

    def pieces(self) -> Iterator[tuple[str, Piece]]:
        """Every slot's name and what fills it."""
        for slot in fields(self):
            value = getattr(self, slot.name)
            if isinstance(value, Piece):
                yield slot.name, value

    @property
    def needs_everyone(self) -> bool:
        """Whether every client has to take part in every round."""
        return any(Guarantee.FULL_PARTICIPATION in piece.requires for _, piece in self.pieces())

    def check_participation(self, fraction: float) -> None:
        """Raise ValueError if the method needs every client and only a share takes part."""
        for slot, piece in self.pieces():
            if fraction < 1 and Guarantee.FULL_PARTICIPATION in piece.requires:
                raise ValueError(
                    f"{slot}={piece} needs: {Guarantee.FULL_PARTICIPATION.value};"
                    f" participation is {fraction:g}, drop-out counted. Use participation=1"
                    " without faults, or a method that allows sampling (local_sgd, fedavg,"
                    " fedprox, slowmo)"
                )

    def bind(self, spec: ParamSpec) -> "Strategy":
        """The same strategy, its pieces knowing the shapes of the layers."""
        return replace(self, **{slot: piece.bind(spec) for slot, piece in self.pieces()})

    @staticmethod
    def _breaks(slot: str, piece: Piece) -> frozenset[Guarantee]:
        # Lossy is harmless on the way up, where the belief absorbs it, but not on the way down.
        if slot == "downlink" and isinstance(piece, Compressor) and not piece.lossless:
            return piece.breaks | {Guarantee.LOSSLESS_DOWNLINK}
        return piece.breaks
