"""The correction of strategies that have none."""

from dataclasses import dataclass

from fedlocal.pieces import Correction


@dataclass(frozen=True)
class NoCorrection(Correction):
    """Step along the mini-batch gradient as it is."""
