"""Corrections of the direction of a local step."""

from fedlocal.slots.correction.base import Correction, NoCorrection
from fedlocal.slots.correction.proximal import Proximal

__all__ = ["Correction", "NoCorrection", "Proximal"]
