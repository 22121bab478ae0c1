"""A run: what is fixed in it, and what changes from round to round."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fedlocal.client import ClientState, broadcast_rows, init_client
from fedlocal.clients import Clients, IntArray
from fedlocal.clock import Clock
from fedlocal.evaluate import Evaluate, Examples
from fedlocal.objective import Objective
from fedlocal.participation import DropOut
from fedlocal.runtime import Runtime
from fedlocal.server import ServerState, init_server
from fedlocal.strategy import Strategy
from fedlocal.trees import Tree, repeat


@dataclass(frozen=True, eq=False)
class Simulation:
    """Everything that is fixed in a run.

    Attributes:
        objective: Model, loss and all training examples, on the device.
        clients: Who holds which of the examples.
        strategy: Bound to the model's layers.
        start: The initial model, [P]; its dtype and device are the run's.
        rounds: Synchronisations until the end.
        batch_size: Examples in a local step; None for the client's all.
        participation: Share of the clients in each cohort.
        seed: Of everything random.
        runtime: Runs the cohort.
        clock: Law of the simulated seconds.
        faults: Which members do not answer.
        evaluate: How often to evaluate.
        train: Examples that the train loss is measured on.
        test: Test examples, or None.
    """

    objective: Objective
    clients: Clients
    strategy: Strategy
    start: Tensor
    rounds: int
    batch_size: int | None
    participation: float
    seed: int
    runtime: Runtime
    clock: Clock
    faults: DropOut
    evaluate: Evaluate
    train: Examples
    test: Examples | None


class RunState(NamedTuple):
    """Everything that changes. With the Simulation it determines the rest of the run.

    round_index: Rounds done.
    steps: Local steps done; of each round, the longest client's.
    server, clients: The states, the clients' stacked [K, ...].
    seen: Last round whose broadcast each client received, [K]; -1 for none.
    period: The period's state.
    uplink_bytes, downlink_bytes, sim_seconds, wall_seconds: Totals so far.
    """

    round_index: int
    steps: int
    server: ServerState
    clients: ClientState
    seen: IntArray
    period: Tree
    uplink_bytes: int
    downlink_bytes: int
    sim_seconds: float
    wall_seconds: float


def initial_state(sim: Simulation) -> RunState:
    """The state before the first round."""
    count = len(sim.clients)
    return RunState(
        round_index=0,
        steps=0,
        server=init_server(sim.strategy, sim.start, count),
        clients=repeat(init_client(sim.strategy, sim.start), count),
        seen=np.full(count, -1),
        period=sim.strategy.period.init(),
        uplink_bytes=0,
        downlink_bytes=0,
        sim_seconds=0.0,
        wall_seconds=0.0,
    )


def consensus(sim: Simulation, state: RunState) -> Tensor:
    """The model [P] that is evaluated: the shared anchor, or the mean of the clients' models."""
    shared = state.server.anchor.shape[0] == 1 and state.clients.mixing == ()
    return state.server.anchor[0] if shared else client_models(sim, state).mean(0)


def client_models(sim: Simulation, state: RunState) -> Tensor:
    """Each client's model after the last synchronisation, [K, P]."""
    ids = torch.arange(len(sim.clients), device=sim.start.device)
    rows = broadcast_rows(state.server.anchor, ids)
    return torch.vmap(sim.strategy.mixing.begin)(state.clients.mixing, rows)[0]
