"""Periods: the number of local steps between two synchronisations."""

from fedlocal.slots.period.adacomm import AdaComm
from fedlocal.slots.period.base import Period
from fedlocal.slots.period.schedules import (
    ConstantPeriod,
    Epochs,
    FixedTime,
    GapSet,
    StepPeriod,
    SwitchPeriod,
    check_period,
    period_of,
)

__all__ = [
    "AdaComm",
    "ConstantPeriod",
    "Epochs",
    "FixedTime",
    "GapSet",
    "Period",
    "StepPeriod",
    "SwitchPeriod",
    "check_period",
    "period_of",
]
