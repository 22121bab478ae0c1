"""A strategy as the set of its filled slots, with a check that they are compatible."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

from fedlocal.slots.component import Component
from fedlocal.slots.compress.base import Compressor, Identity
from fedlocal.slots.correction.base import Correction, NoCorrection
from fedlocal.slots.guarantees import Guarantee, Timing
from fedlocal.slots.inner.base import InnerOptimiser
from fedlocal.slots.mixing import WeightedMean
from fedlocal.slots.mixing.base import Mixing
from fedlocal.slots.outer.base import OuterOptimiser
from fedlocal.slots.outer.sgd import OuterSGD
from fedlocal.slots.period.base import Period
from fedlocal.slots.sampling import Sampling, UniformSampling
from fedlocal.vectors.flat import ParamSpec

# The guarantee that a lossy compressor breaks.
LOSSY = {"uplink": Guarantee.LOSSLESS_UPLINK, "downlink": Guarantee.LOSSLESS_DOWNLINK}


@dataclass(frozen=True)
class Strategy:
    """A component for each slot. The defaults are those of local SGD.

    Attributes:
        timing: Time at which uploads are applied.
        rounds: Number of rounds after which the method ends by definition (one-shot averaging);
            None leaves it to the run.

    Raises:
        ValueError: A component requires a guarantee that another component breaks.

    >>> from strategies import scaffold, vrl_sgd
    >>> vrl_sgd().needs_everyone, scaffold().needs_everyone
    (True, False)
    """

    inner: InnerOptimiser
    period: Period
    correction: Correction = NoCorrection()
    uplink: Compressor = Identity()
    downlink: Compressor = Identity()
    mixing: Mixing = WeightedMean()
    outer: OuterOptimiser = OuterSGD()
    sampling: Sampling = UniformSampling()
    timing: Timing = Timing.BARRIER
    rounds: int | None = None

    def __post_init__(self) -> None:
        """Raise ValueError if a component requires a guarantee that another one breaks."""
        for slot, component in self.components():
            for broken in sorted(component.requires & self.timing.breaks, key=str):
                raise ValueError(
                    f"{slot}={component} needs: {broken.value}; timing={self.timing.value}"
                    " breaks that. Change one of the two"
                )
            for other_slot, other in self.components():
                for broken in sorted(component.requires & self._breaks(other_slot, other), key=str):
                    raise ValueError(
                        f"{slot}={component} needs: {broken.value}; {other_slot}={other}"
                        " breaks that. Change one of the two"
                    )

    def components(self) -> Iterator[tuple[str, Component]]:
        """Yield every slot's name and its component."""
        for slot in fields(self):
            value = getattr(self, slot.name)
            if isinstance(value, Component):
                yield slot.name, value

    @property
    def needs_everyone(self) -> bool:
        """Whether every client must take part in every round."""
        if self.timing is Timing.ASYNCHRONOUS:
            return True
        return any(
            Guarantee.FULL_PARTICIPATION in component.requires for _, component in self.components()
        )

    def check_participation(self, fraction: float) -> None:
        """Raise ValueError if the method needs every client and only a fraction takes part."""
        if fraction < 1 and self.timing is Timing.ASYNCHRONOUS:
            raise ValueError(
                f"an asynchronous strategy has no cohorts to sample; participation is {fraction:g},"
                " drop-out counted. Use participation=1 without faults"
            )
        for slot, component in self.components():
            if fraction < 1 and Guarantee.FULL_PARTICIPATION in component.requires:
                raise ValueError(
                    f"{slot}={component} needs: {Guarantee.FULL_PARTICIPATION.value};"
                    f" participation is {fraction:g}, drop-out counted. Use participation=1"
                    " without faults, or a method that allows sampling: scaffold, which corrects"
                    " drift too, local_sgd, fedavg, fedprox or slowmo"
                )

    def bind(self, spec: ParamSpec) -> "Strategy":
        """Return the strategy with all components bound to the shapes of the layers."""
        return replace(
            self, **{slot: component.bind(spec) for slot, component in self.components()}
        )

    @staticmethod
    def _breaks(slot: str, component: Component) -> frozenset[Guarantee]:
        lossy = isinstance(component, Compressor) and not component.lossless
        return component.breaks | {LOSSY[slot]} if lossy else component.breaks
