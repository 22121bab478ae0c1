"""The first line that a run prints."""

from collections.abc import Mapping

from fedlocal.config.build import Job
from fedlocal.slots import Period
from fedlocal.slots.period import ConstantPeriod, SwitchPeriod


def headline(job: Job, choices: Mapping[str, str]) -> str:
    """Return one line that says what a run trains.

    Args:
        job: The run.
        choices: The option of each group.
    """
    sim = job.simulation
    split, method = choices["partition"], choices["strategy"]
    loss = f", loss {choices['loss']}" if choices.get("loss", "auto") != "auto" else ""
    return (
        f"{choices['dataset']} ({len(sim.clients.held):,} examples), {choices['model']}"
        f" ({len(sim.start):,} parameters){loss}, {len(sim.clients)} clients by {split}, {method},"
        f" {_steps(sim.strategy.period)}, {sim.rounds} rounds"
    )


def _steps(period: Period) -> str:
    """Return the number of local steps between two synchronisations, as text."""
    if isinstance(period, ConstantPeriod):
        return f"H={period.period}"
    if not isinstance(period, SwitchPeriod):
        return str(period)
    first = f" (at first {period.before})" if period.at else ""
    return f"H={period.after}{first}"
