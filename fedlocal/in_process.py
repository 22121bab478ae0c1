"""Clients that live in this process: their states stacked, their rounds run by a runtime."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from fedlocal.augment import NoAugment
from fedlocal.client import (
    ClientState,
    Gradients,
    Inbox,
    Upload,
    Work,
    broadcast_rows,
    client_round,
    full_gradient,
    init_client,
)
from fedlocal.client_table import ClientTable
from fedlocal.clients import IntArray
from fedlocal.noise import link_noise
from fedlocal.rng import Purpose, generator
from fedlocal.runtime import Plan
from fedlocal.simulation import (
    Answers,
    Order,
    RunState,
    Simulation,
    has_own_models,
    step_sizes,
)
from fedlocal.trees import repeat


@dataclass(frozen=True)
class InProcess:
    """All K clients here; `RunState.clients` is a table of their states.

    Attributes:
        spill: Folder for the states; None keeps them in memory.
    """

    spill: str | None = None

    def init(self, sim: Simulation) -> ClientTable:
        """See `Population.init`."""
        return ClientTable.of(init_client(sim.strategy, sim.start), len(sim.clients))

    def train(self, sim: Simulation, state: RunState, order: Order) -> tuple[ClientTable, Answers]:
        """See `Population.train`. Every member answers."""
        if len(order.members) == 0:
            nothing = sim.start.new_zeros(0, 0)
            return state.clients, Answers(order.members, order.invited, None, nothing)
        ids = torch.from_numpy(order.members).to(sim.start.device)
        server = state.server
        inbox = Inbox(broadcast_rows(server.anchor, ids), server.inner, server.correction)
        table: ClientTable = state.clients
        plan = plan_of(sim, order)
        states, uploads = work(sim, table.take(order.members), inbox, plan)
        answers = Answers(order.members, order.invited, uploads, plan.noise)
        return table.put(order.members, states, self.spill), answers

    def gradients(self, sim: Simulation, state: RunState, order: Order) -> tuple[IntArray, Tensor]:
        """See `Population.gradients`. Every member answers."""
        ids = torch.from_numpy(order.members).to(sim.start.device)
        return order.members, gradients_at(sim, order, broadcast_rows(state.server.anchor, ids))

    def models(self, sim: Simulation, state: RunState) -> Tensor:
        """See `Population.models`."""
        ids = torch.arange(len(sim.clients), device=sim.start.device)
        rows = broadcast_rows(state.server.anchor, ids)
        # Where all evaluate what is broadcast, nobody's state need be looked at.
        return outputs(sim, state.clients.everyone(), rows) if has_own_models(sim) else rows


def fresh_clients(sim: Simulation, count: int) -> ClientState:
    """States of clients that have not taken part yet, every tensor [count, ...]."""
    return repeat(init_client(sim.strategy, sim.start), count)


def work(
    sim: Simulation, states: ClientState, inbox: Inbox, plan: Plan
) -> tuple[ClientState, Upload]:
    """The members' round: their next states and uploads, every tensor [S, ...].

    Args:
        sim: The run.
        states: The members' states, every tensor [S, ...].
        inbox: What they received; its model is [S, P].
        plan: Who the members are and what they do.
    """
    gradients = Gradients(sim.objective.step, sim.objective.gradient)
    one_client = partial(client_round, sim.strategy, gradients)
    return sim.runtime.run(one_client, states, inbox, plan)


def plan_of(sim: Simulation, order: Order) -> Plan:
    """The members' mini-batches, step sizes and draws, the same wherever they are drawn."""
    indices = [
        sim.clients.batches(int(c), int(h), sim.batch_size, sim.seed, order.round_index)
        for c, h in zip(order.members, order.steps, strict=True)
    ]
    uplink = sim.strategy.uplink
    reads_all = sim.strategy.correction.reads_all_data
    return Plan(
        clients=order.members,
        steps=order.steps,
        rates=step_sizes(sim, order),
        indices=indices,
        noise=link_noise(
            uplink, Purpose.UPLINK, order.members, order.round_index, sim.seed, sim.start
        ),
        everything=_examples(sim, order) if reads_all else [],
        draws=_draws(sim, order, indices),
    )


def gradients_at(sim: Simulation, order: Order, models: Tensor) -> Tensor:
    """Gradient of each member over all of its examples at its row of `models` [S, P], [S, P]."""

    def one_client(state: ClientState, inbox: Inbox, work: Work) -> tuple[ClientState, Upload]:
        gradient = full_gradient(sim.objective.gradient, inbox.model, work.everything)
        return state, Upload(gradient, (), (), gradient.new_zeros(()))

    plan = plan_of(sim, order._replace(steps=np.ones_like(order.steps)))
    plan = plan._replace(everything=_examples(sim, order))
    stateless = ClientState((), (), (), ())
    return sim.runtime.run(one_client, stateless, Inbox(models, (), ()), plan)[1].message


def _draws(sim: Simulation, order: Order, indices: list[IntArray]) -> list[IntArray]:
    """What the augmentation does, of each member [steps_i, b_i, n]; empty without one."""
    augment = sim.objective.augment
    if augment == NoAugment():
        return []
    height, width = sim.objective.x.shape[-2:]
    drawn: list[IntArray] = []
    for client, own in zip(order.members, indices, strict=True):
        rng = generator(sim.seed, Purpose.AUGMENTATION, int(client), order.round_index)
        drawn.append(augment.draw(rng, own.shape[0], own.shape[1], (height, width)))
    return drawn


def _examples(sim: Simulation, order: Order) -> list[IntArray]:
    return [sim.clients.examples(int(c)) for c in order.members]


def outputs(sim: Simulation, states: ClientState, rows: Tensor) -> Tensor:
    """The model to evaluate of each client, [S, P], given the anchor row that it would receive.

    That is the one it would start the next round from, unless the inner optimiser has another.
    """
    starts = torch.vmap(sim.strategy.mixing.begin)(states.mixing, rows)[0]
    return torch.vmap(sim.strategy.inner.output)(states.inner, starts)
