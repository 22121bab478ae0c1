"""The objective: a user's model and loss as pure functions of flat vectors."""

from fedlocal.objective.construction import Start, StepOptions, check_test, objective_of
from fedlocal.objective.objective import Layout, Loss, Objective, clip_to_norm
from fedlocal.objective.padding_check import padding_is_exact

__all__ = [
    "Layout",
    "Loss",
    "Objective",
    "Start",
    "StepOptions",
    "check_test",
    "clip_to_norm",
    "objective_of",
    "padding_is_exact",
]
