"""Clients in this process: their states are stacked, their rounds run by a runtime."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedlocal.objective.augment import NoAugment
from fedlocal.objective.gradients import Own
from fedlocal.rounds.client import ClientState, Inbox, OwnState, broadcast_rows
from fedlocal.rounds.client_table import ClientTable
from fedlocal.rounds.messages import link_noise
from fedlocal.rounds.runner import CohortWork
from fedlocal.rounds.state import (
    Answers,
    RoundPlan,
    RunState,
    Simulation,
    has_own_models,
    step_sizes,
)
from fedlocal.rounds.training import Trained, Training, Turns
from fedlocal.utils.arrays import IntArray
from fedlocal.vectors.rng import Purpose, generator, step_keys
from fedlocal.vectors.trees import Tree, expand, repeat


@dataclass(frozen=True)
class InProcess:
    """All K clients in this process; `RunState.clients` is a table of their states.

    Attributes:
        spill: Folder for the states; None keeps them in memory.
    """

    spill: str | None = None

    def init(self, sim: Simulation) -> ClientTable:
        """See `Population.init`."""
        return ClientTable.of(sim.fresh_client(), len(sim.clients))

    def train(
        self, sim: Simulation, state: RunState, order: RoundPlan
    ) -> tuple[ClientTable, Answers]:
        """See `Population.train`. Every member answers."""
        if len(order.members) == 0:
            nothing = sim.start.new_zeros(0, 0)
            return state.clients, Answers(order.members, order.invited, None, nothing)
        training = self.training(sim, state, order)
        return self.trained(state, order, training.plan, training.run())

    def training(self, sim: Simulation, state: RunState, order: RoundPlan) -> Training:
        """The members' local training, from the states that they kept."""
        ids = torch.from_numpy(order.members).to(sim.start.device)
        server = state.server
        models = broadcast_rows(server.anchor, ids)
        inbox = Inbox(models, server.inner, server.correction, server.buffers)
        table: ClientTable = state.clients
        return training(sim, table.take(order.members), inbox, plan_of(sim, order))

    def trained(
        self, state: RunState, order: RoundPlan, plan: CohortWork, outcome: Trained
    ) -> tuple[ClientTable, Answers]:
        """The clients and their answers, once the members have trained."""
        states, uploads = outcome
        answers = Answers(order.members, order.invited, uploads, plan.noise)
        return state.clients.put(order.members, states, self.spill), answers

    def gradients(
        self, sim: Simulation, state: RunState, order: RoundPlan
    ) -> tuple[IntArray, Tensor]:
        """See `Population.gradients`. Every member answers."""
        ids = torch.from_numpy(order.members).to(sim.start.device)
        table: ClientTable = state.clients
        own = own_parts(table.take(order.members).own, state.server.buffers, len(order.members))
        models = broadcast_rows(state.server.anchor, ids)
        return order.members, gradients_at(sim, order, models, own)

    def models(self, sim: Simulation, state: RunState) -> Tensor:
        """See `Population.models`."""
        ids = torch.arange(len(sim.clients), device=sim.start.device)
        rows = broadcast_rows(state.server.anchor, ids)
        # Clients that evaluate the broadcast need no state.
        return outputs(sim, state.clients.everyone(), rows) if has_own_models(sim) else rows

    def own(self, sim: Simulation, state: RunState) -> Own:
        """See `Population.own`."""
        everyone = state.clients.everyone()
        return own_parts(everyone.own, state.server.buffers, len(sim.clients))


def fresh_clients(sim: Simulation, count: int) -> ClientState:
    """Return initial states of clients, every tensor [count, ...]."""
    return repeat(sim.fresh_client(), count)


def train(sim: Simulation, state: RunState, order: RoundPlan) -> Turns[tuple[Tree, Answers]]:
    """See `Population.train`; a batched run yields the local training."""
    here = sim.population
    if not sim.batched or not isinstance(here, InProcess) or len(order.members) == 0:
        return here.train(sim, state, order)
    training = here.training(sim, state, order)
    outcome = yield training
    return here.trained(state, order, training.plan, outcome or training.run())


def training(sim: Simulation, states: ClientState, inbox: Inbox, plan: CohortWork) -> Training:
    """The members' local training.

    Args:
        sim: The run.
        states: The members' states, every tensor [S, ...].
        inbox: What they received; its model is [S, P], its controls are those of all.
        plan: Who the members are and what they do.
    """
    shared = expand((inbox.inner, inbox.correction, inbox.buffers), len(plan.clients))
    return Training(sim, states, Inbox(inbox.model, *shared), plan)


def plan_of(sim: Simulation, order: RoundPlan) -> CohortWork:
    """Return the members' mini-batches, step sizes and draws, equal on every machine."""
    indices = sim.clients.cohort_batches(
        order.members, order.steps, sim.batch_size, sim.seed, order.round_index
    )
    uplink, rates = sim.strategy.uplink, step_sizes(sim, order)
    reads_all = sim.strategy.correction.reads_all_data
    return CohortWork(
        clients=order.members,
        steps=order.steps,
        rates=np.broadcast_to(rates, (len(order.members), len(rates))),
        indices=indices,
        noise=link_noise(
            uplink, Purpose.UPLINK, order.members, order.round_index, sim.seed, sim.start
        ),
        everything=_examples(sim, order) if reads_all else [],
        draws=_draws(sim, order, indices),
        keys=_keys(sim, order, Purpose.FORWARD, len(rates)),
        full_keys=_full_keys(sim, order) if reads_all else NO_KEYS,
        personal_steps=sim.personal_steps,
    )


def gradients_at(sim: Simulation, order: RoundPlan, models: Tensor, own: Own) -> Tensor:
    """Compute the gradient of each member over all of its examples, [S, P].

    Args:
        sim: The run.
        order: Order with the members.
        models: Points of the gradients, [S, P].
        own: Other parts of the members' models, every tensor [S, ...].
    """
    return sim.cohort.gradients(models, own, _examples(sim, order), _full_keys(sim, order))


def own_parts(states: OwnState, buffers: Tree, count: int) -> Own:
    """Return the own parts of `count` members, every tensor [S, ...]; averaged buffers [B] win."""
    return states.parts if buffers == () else Own(states.personal, expand(buffers, count))


NO_KEYS = np.zeros((0, 0), dtype=np.int64)


def _keys(sim: Simulation, order: RoundPlan, purpose: Purpose, steps: int) -> IntArray:
    """Return the keys of the model's random numbers, [S, steps]; none where it draws none."""
    if not sim.objective.random[0]:
        return NO_KEYS
    return step_keys(sim.seed, purpose, order.members, order.round_index, steps)


def _full_keys(sim: Simulation, order: RoundPlan) -> IntArray:
    return _keys(sim, order, Purpose.FULL_GRADIENT, 1)


def _draws(sim: Simulation, order: RoundPlan, indices: list[IntArray]) -> list[IntArray]:
    """Draw the augmentation of each member, [steps_i, b_i, n]; empty without one."""
    augment = sim.objective.augment
    if augment == NoAugment():
        return []
    height, width = sim.objective.x.shape[-2:]
    drawn: list[IntArray] = []
    for client, own in zip(order.members, indices, strict=True):
        rng = generator(sim.seed, Purpose.AUGMENTATION, int(client), order.round_index)
        drawn.append(augment.draw(rng, own.shape[0], own.shape[1], (height, width)))
    return drawn


def _examples(sim: Simulation, order: RoundPlan) -> list[IntArray]:
    return [sim.clients.examples(int(c)) for c in order.members]


def outputs(sim: Simulation, states: ClientState, rows: Tensor) -> Tensor:
    """Return the evaluated model of each client, [S, P], given the anchor row it would receive.

    It is the start of the client's next round, unless the inner optimiser has another output.
    """
    starts = torch.vmap(sim.strategy.mixing.begin)(states.mixing, rows)[0]
    return torch.vmap(sim.strategy.inner.output)(states.inner, starts)
