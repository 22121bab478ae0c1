"""Periods: how many local steps the clients take between two synchronisations."""

from fedlocal.period.adacomm import AdaComm
from fedlocal.period.schedules import (
    ConstantPeriod,
    Epochs,
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
    "GapSet",
    "StepPeriod",
    "SwitchPeriod",
    "check_period",
    "period_of",
]
