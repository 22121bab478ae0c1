"""Changes of the direction of a local step."""

from fedlocal.slots.correction.base import Correction
from fedlocal.slots.correction.proximal import NoCorrection, Proximal

__all__ = ["Correction", "NoCorrection", "Proximal"]
