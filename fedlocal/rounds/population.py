"""Clients in this process: their states are stacked, their rounds run by a runtime."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedlocal.objective.augment import NoAugment
from fedlocal.objective.gradients import Own
from fedlocal.rounds.client import ClientState, Inbox, OwnState, broadcast_rows
from fedlocal.rounds.client_table import ClientTable
from fedlocal.rounds.message_formats import link_noise
from fedlocal.rounds.runtime_interface import CohortWork
from fedlocal.rounds.state import (
    Answers,
    RoundPlan,
    RunState,
    Simulation,
    has_own_models,
    step_sizes,
)
from fedlocal.rounds.training_request import Trained, Training, Turns
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
        self, sim: Simulation, state: RunState, plan: RoundPlan
    ) -> tuple[ClientTable, Answers]:
        """See `Population.train`. Every member answers."""
        if len(plan.members) == 0:
            nothing = sim.start.new_zeros(0, 0)
            return state.clients, Answers(plan.members, plan.invited, None, nothing)
        training = self.training(sim, state, plan)
        return self.trained(state, plan, training.work, training.run())

    def training(self, sim: Simulation, state: RunState, plan: RoundPlan) -> Training:
        """Return the members' local training, from the states that they kept."""
        ids = torch.from_numpy(plan.members).to(sim.start.device)
        server = state.server
        models = broadcast_rows(server.anchor, ids)
        inbox = Inbox(models, server.inner, server.correction, server.buffers)
        table: ClientTable = state.clients
        return training(sim, table.take(plan.members), inbox, work_of(sim, plan))

    def trained(
        self, state: RunState, plan: RoundPlan, work: CohortWork, outcome: Trained
    ) -> tuple[ClientTable, Answers]:
        """Return the clients and their answers after the members have trained."""
        states, uploads = outcome
        answers = Answers(plan.members, plan.invited, uploads, work.noise)
        return state.clients.put(plan.members, states, self.spill), answers

    def gradients(
        self, sim: Simulation, state: RunState, plan: RoundPlan
    ) -> tuple[IntArray, Tensor]:
        """See `Population.gradients`. Every member answers."""
        ids = torch.from_numpy(plan.members).to(sim.start.device)
        table: ClientTable = state.clients
        own = own_parts(table.take(plan.members).own, state.server.buffers, len(plan.members))
        models = broadcast_rows(state.server.anchor, ids)
        return plan.members, gradients_at(sim, plan, models, own)

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


def train(sim: Simulation, state: RunState, plan: RoundPlan) -> Turns[tuple[Tree, Answers]]:
    """See `Population.train`; a batched run yields the local training."""
    here = sim.population
    if not sim.batched or not isinstance(here, InProcess) or len(plan.members) == 0:
        return here.train(sim, state, plan)
    training = here.training(sim, state, plan)
    outcome = yield training
    return here.trained(state, plan, training.work, outcome or training.run())


def training(sim: Simulation, states: ClientState, inbox: Inbox, work: CohortWork) -> Training:
    """Return the members' local training as a request.

    Args:
        sim: The run.
        states: The members' states, every tensor [S, ...].
        inbox: What they received; its model is [S, P], its controls are those of all.
        work: Their mini-batches, step sizes and draws.
    """
    shared = expand((inbox.inner, inbox.correction, inbox.buffers), len(work.clients))
    return Training(sim, states, Inbox(inbox.model, *shared), work)


def work_of(sim: Simulation, plan: RoundPlan) -> CohortWork:
    """Return the members' mini-batches, step sizes and draws, equal on every machine."""
    indices = sim.clients.cohort_batches(
        plan.members, plan.steps, sim.batch_size, sim.seed, plan.round_index
    )
    uplink, rates = sim.strategy.uplink, step_sizes(sim, plan)
    reads_all = sim.strategy.correction.reads_all_data
    return CohortWork(
        clients=plan.members,
        steps=plan.steps,
        rates=np.broadcast_to(rates, (len(plan.members), len(rates))),
        indices=indices,
        noise=link_noise(
            uplink, Purpose.UPLINK, plan.members, plan.round_index, sim.seed, sim.start
        ),
        everything=_examples(sim, plan) if reads_all else [],
        draws=_draws(sim, plan, indices),
        keys=_keys(sim, plan, Purpose.FORWARD, len(rates)),
        full_keys=_full_keys(sim, plan) if reads_all else NO_KEYS,
        personal_steps=sim.personal_steps,
    )


def gradients_at(sim: Simulation, plan: RoundPlan, models: Tensor, own: Own) -> Tensor:
    """Compute the gradient of each member over all of its examples, [S, P].

    Args:
        sim: The run.
        plan: Plan with the members.
        models: Points of the gradients, [S, P].
        own: Other parts of the members' models, every tensor [S, ...].
    """
    return sim.cohort.gradients(models, own, _examples(sim, plan), _full_keys(sim, plan))


def own_parts(states: OwnState, buffers: Tree, count: int) -> Own:
    """Return the own parts of `count` members, [S, ...]; averaged buffers [B] replace their own."""
    return states.parts if buffers == () else Own(states.personal, expand(buffers, count))


NO_KEYS = np.zeros((0, 0), dtype=np.int64)


def _keys(sim: Simulation, plan: RoundPlan, purpose: Purpose, steps: int) -> IntArray:
    """Return the keys of the model's random numbers, [S, steps]; none where it draws none."""
    if not sim.objective.random[0]:
        return NO_KEYS
    return step_keys(sim.seed, purpose, plan.members, plan.round_index, steps)


def _full_keys(sim: Simulation, plan: RoundPlan) -> IntArray:
    return _keys(sim, plan, Purpose.FULL_GRADIENT, 1)


def _draws(sim: Simulation, plan: RoundPlan, indices: list[IntArray]) -> list[IntArray]:
    """Draw the augmentation of each member, [steps_i, b_i, n]; empty without one."""
    augment = sim.objective.augment
    if augment == NoAugment():
        return []
    height, width = sim.objective.x.shape[-2:]
    drawn: list[IntArray] = []
    for client, own in zip(plan.members, indices, strict=True):
        rng = generator(sim.seed, Purpose.AUGMENTATION, int(client), plan.round_index)
        drawn.append(augment.draw(rng, own.shape[0], own.shape[1], (height, width)))
    return drawn


def _examples(sim: Simulation, plan: RoundPlan) -> list[IntArray]:
    return [sim.clients.examples(int(c)) for c in plan.members]


def outputs(sim: Simulation, states: ClientState, rows: Tensor) -> Tensor:
    """Return the evaluated model of each client, [S, P], given the anchor row it would receive.

    It is the start of the client's next round, unless the inner optimiser has another output.
    """
    starts = torch.vmap(sim.strategy.mixing.begin)(states.mixing, rows)[0]
    return torch.vmap(sim.strategy.inner.output)(states.inner, starts)
