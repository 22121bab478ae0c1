"""Measures of heterogeneity, as optional columns of the metrics.

A run has the same columns in every round. A cell is None where the quantity is not defined and, for
quantities that need every client, in rounds without an evaluation.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from fedlocal.rounds.late_updates import ReceivedUpdates
from fedlocal.rounds.population import gradients_at
from fedlocal.rounds.state import RoundPlan, RunState, Simulation, client_models, consensus
from fedlocal.slots import Timing
from fedlocal.utils.suggest import did_you_mean

# Definition of each column. g_i: client i's gradient over all of its data at the consensus model;
# x_i: the model it starts the next round from; u_i: its decoded update.
NAMES = {
    "gradient_diversity": "sum |g_i|^2 / |sum g_i|^2 (Yin et al. 2018, arXiv 1706.05699)",
    "gradient_variance": "zeta^2 = mean |g_i - mean g|^2",
    "consensus_distance": "mean |x_i - mean x|^2",
    "drift_norm": "mean |u_i| of the members",
    "update_cosine": "mean cosine of the members' u_i with the mean of u_i",
    "staleness": "rounds since the members were asked, on average",
}
# Rows per block of distances; bounds the memory.
ROWS_AT_ONCE = 64
OF_GRADIENTS = {"gradient_diversity", "gradient_variance"}


def names_of(given: bool | str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of the requested columns; true selects all, false none.

    Raises:
        ValueError: Unknown column.
    """
    if isinstance(given, bool):
        return tuple(NAMES) if given else ()
    names = tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else (given,)
    for name in names:
        if name not in NAMES:
            raise ValueError(
                f"there is no diagnostic {name}{did_you_mean(str(name), NAMES)}; diagnostics is"
                f" true, false or a list of {', '.join(NAMES)}"
            )
    return tuple(dict.fromkeys(names))


def diagnose(
    sim: Simulation, state: RunState, received: ReceivedUpdates | None
) -> dict[str, float | None]:
    """Compute the requested columns.

    Args:
        sim: The run.
        state: State after the round.
        received: Updates that the server applied in it; None for none.
    """
    asked, found = set(sim.diagnostics), {}
    due = sim.evaluate.due(state.round_index, sim.rounds)
    if due and asked & OF_GRADIENTS and sim.train is not None:
        found |= _of_gradients(_gradients(sim, state))
    if due and "consensus_distance" in asked:
        found["consensus_distance"] = _spread(client_models(sim, state))
    if asked and received is not None:
        # With overlapped communication every update is one round old.
        found["staleness"] = float(received.ages.mean()) + (
            sim.strategy.timing is Timing.OVERLAPPED
        )
        found |= _of_updates(_updates(sim, received))
    return {name: found.get(name) for name in sim.diagnostics}


def _gradients(sim: Simulation, state: RunState) -> Tensor | None:
    """Compute every client's full gradient at the consensus model, [K, P].

    None where personal parts of the model are on other machines.
    """
    x = consensus(sim, state)
    own = sim.population.own(sim, state)
    if own is None:
        return None
    clients = np.arange(len(sim.clients))
    nothing = np.zeros_like(clients)
    plan = RoundPlan(0, 0, clients, clients, nothing, nothing > 0)
    return gradients_at(sim, plan, x.expand(len(clients), -1), own)


def _updates(sim: Simulation, received: ReceivedUpdates) -> Tensor:
    """Decode the updates of the uploads, [S, P]."""
    decode = partial(sim.strategy.uplink.decode, size=len(sim.start))
    return torch.vmap(decode)(received.uploads.message, received.noise)


def _of_gradients(gradients: Tensor | None) -> dict[str, float | None]:
    if gradients is None:
        return {}
    total = float(gradients.sum(0).square().sum())
    diversity = float(gradients.square().sum()) / total if total else None
    return {"gradient_diversity": diversity, "gradient_variance": _spread(gradients)}


def _of_updates(updates: Tensor) -> dict[str, float | None]:
    cosines = torch.cosine_similarity(updates, updates.mean(0, keepdim=True))
    return {
        "drift_norm": float(updates.norm(dim=1).mean()),
        "update_cosine": float(cosines.mean()),
    }


def _spread(rows: Tensor) -> float:
    """Return the mean squared distance of the rows to their mean."""
    mean = rows.mean(0)
    # In blocks: rows may be an expanded view, whose distances must not become a full matrix.
    parts = [(part - mean).square().sum(1) for part in rows.split(ROWS_AT_ONCE)]
    return float(torch.cat(parts).mean())
