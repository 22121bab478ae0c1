"""Metrics of a round: the columns of metrics.csv, except for wall_seconds of the run loop."""

from typing import Any

from fedlocal.rounds.diagnostics import diagnose
from fedlocal.rounds.evaluation import evaluation
from fedlocal.rounds.late_updates import ReceivedUpdates
from fedlocal.rounds.state import RunState, Simulation

Row = dict[str, Any]


def metrics_row(
    sim: Simulation,
    after: RunState,
    received: ReceivedUpdates | None,
    *,
    period: int,
    lr: float | None,
    answered: int,
    local_loss: float | None,
    **others: float,
) -> Row:
    """Return the metrics of a round, one entry per column; None where a value is undefined.

    Args:
        sim: The run.
        after: State after the round.
        received: Updates that the server applied in the round; None if there were none.
        period: Local steps of the round.
        lr: Mean step size of the round.
        answered: Number of clients whose updates counted.
        local_loss: Mean loss of the clients during their local steps.
        others: Further columns.
    """
    return {
        "round": after.round_index,
        "local_steps": after.steps,
        "period": period,
        "lr": lr,
        "answered": answered,
        "local_loss": local_loss,
        **evaluation(sim, after),
        **(diagnose(sim, after, received) if sim.diagnostics else {}),
        "uplink_bytes": after.uplink_bytes,
        "downlink_bytes": after.downlink_bytes,
        "sim_seconds": after.sim_seconds,
        **others,
    }
