"""A run: its constants, its state between rounds, and its population of clients."""

from dataclasses import dataclass
from functools import cached_property
from math import ceil, fsum, inf
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlocal.data.clients import Clients
from fedlocal.objective import Objective, padding_is_exact
from fedlocal.objective.gradients import NO_PARTS, Gradients, Own
from fedlocal.rounds.client import Client, ClientState, Upload, broadcast_rows, init_client
from fedlocal.rounds.clock import Clock
from fedlocal.rounds.deadline import Deadline
from fedlocal.rounds.faults import DropOut
from fedlocal.rounds.goal import Goal
from fedlocal.rounds.message_formats import MessageFormats, message_formats
from fedlocal.rounds.runtime_interface import EXAMPLES_AT_ONCE, Runner, RunSize, Runtime
from fedlocal.rounds.scoring import Evaluate, Examples
from fedlocal.rounds.server import ServerState, init_server
from fedlocal.slots import Timing
from fedlocal.slots.strategy import Strategy
from fedlocal.utils.arrays import IntArray
from fedlocal.utils.memory import keep_freed
from fedlocal.vectors.flat import ParamSpec
from fedlocal.vectors.trees import Tree


@dataclass(frozen=True, eq=False)
class Simulation:
    """Constants of a run.

    Attributes:
        objective: Model, loss and all training examples, on the device.
        clients: Assignment of the examples to clients.
        strategy: Bound to the model's layers.
        start: The initial model, [P]; its dtype and device are the run's.
        rounds: Synchronisations until the end.
        batch_size: Examples in a local step; None for all of the client's.
        participation: Share of the clients in each cohort.
        seed: Seed of all random draws.
        runtime: Runs the clients of a cohort that are in one process.
        population: Access to the clients, in this process or on other machines.
        clock: Law of the simulated seconds.
        faults: Which members do not answer.
        deadline: How long a round waits for them.
        evaluate: How often to evaluate.
        train: Examples that the train loss is measured on; None if they are not here.
        test: Test examples, or None.
        diagnostics: Names of further columns of the rows.
        goal: A value to reach, and when to end before the last round.
        own: Personal parameters and changing buffers at the start.
        buffers: What becomes of the buffers: "average", "personal" or "frozen".
        personal_steps: First steps of a round that train the personal parameters alone.
        batched: Whether rounds yield their local training, to be batched with that of other runs.
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
    population: "Population"
    clock: Clock
    faults: DropOut
    deadline: Deadline
    evaluate: Evaluate
    train: Examples | None
    test: Examples | None
    diagnostics: tuple[str, ...]
    goal: Goal
    own: Own = NO_PARTS
    buffers: str = "average"
    personal_steps: int = 0
    batched: bool = False

    @property
    def has_personal(self) -> bool:
        """Whether parts of the model stay with the clients, so that each has a model of its own."""
        kept = self.own.buffers != () and self.buffers == "personal"
        return self.personal is not None or kept

    @property
    def averaged_buffers(self) -> Tree:
        """Initial buffers [B] that the server averages; () for none."""
        return self.own.buffers if self.buffers == "average" else ()

    def fresh_client(self) -> ClientState:
        """Return the initial state of a client."""
        return init_client(self.strategy, self.start, self.own, kept=self.buffers != "average")

    @cached_property
    def cohort(self) -> Runner:
        """Runner of the run's cohorts, which keeps its preparations between rounds."""
        keep_freed()
        objective = self.objective
        gradients = Gradients(
            objective.step, objective.gradient, objective.precision, lambda: self.pads
        )
        period = self.strategy.period
        first = int(period.steps(period.init(), 0, self.epochs[:1])[0])
        ahead = RunSize(self.rounds * first, ceil(self.participation * len(self.clients)))
        client = Client(self.strategy, gradients, self.personal, self.personal_steps)
        return self.runtime.runner(client, ahead)

    @cached_property
    def messages(self) -> MessageFormats:
        """Format and lengths of the run's messages."""
        server = init_server(self.strategy, self.start, len(self.clients), self.averaged_buffers)
        return message_formats(self.strategy, self.personal, self.fresh_client(), server)

    @property
    def personal(self) -> ParamSpec | None:
        """Layout of the personal parameters; None if there are none."""
        layout = self.objective.layout.personal
        return layout if layout.names else None

    @cached_property
    def pads(self) -> bool:
        """Whether batches may be padded; tried when the first batches of several widths occur."""
        return padding_is_exact(self.objective, self.start, self.own, self._widths())

    def _widths(self) -> list[int]:
        """Return the numbers of examples in batches and in parts of full gradients."""
        of_batches = self.clients.batch_widths(self.batch_size)
        widths, correction = {*of_batches.values()}, self.strategy.correction
        if correction.reads_all_data or correction.needs_gradient_exchange or self.diagnostics:
            widths |= {min(len(self.clients.examples(k)), EXAMPLES_AT_ONCE) for k in of_batches}
        return sorted(widths)

    @cached_property
    def epochs(self) -> NDArray[np.float64]:
        """Local steps of one pass over each client's examples, [K]."""
        everyone = range(len(self.clients))
        return np.array([self.clients.epoch(client, self.batch_size) for client in everyone])


class RunState(NamedTuple):
    """State of a run between rounds. With the Simulation it determines the rest of the run.

    round_index: Number of finished rounds.
    steps: Number of local steps; of each round, those of the longest client.
    server, clients: States of the server and of the population.
    broadcast: Encoded change that made the anchor, [A, ...]; () before the first.
    seen: Last round whose broadcast each client received, [K]; -1 for none.
    period: State of the period.
    in_flight: Updates in flight of an asynchronous run; else ().
    late: Updates that missed a deadline and count in the next round; () if there are none.
    uplink_bytes, downlink_bytes, sim_seconds, wall_seconds: Totals so far.
    """

    round_index: int
    steps: int
    server: ServerState
    clients: Tree
    broadcast: Tree
    seen: IntArray
    period: Tree
    uplink_bytes: int
    downlink_bytes: int
    sim_seconds: float
    wall_seconds: float
    in_flight: Tree = ()
    late: Tree = ()


NOBODY = np.array([], dtype=np.int64)


class RoundPlan(NamedTuple):
    """Plan of a round: its cohort and the local steps of each member.

    first_step: Local steps of the run before this round.
    invited: Ids of the clients that receive the broadcast, [I].
    members: Ids of those that work and answer, [S].
    steps: Local steps of each member, [S].
    current: Whether each invited client holds the anchor of the round before, [I].
    survey: Whether members only send their gradients at the anchor, before the local steps.
    late: Members whose updates arrive after the deadline.
    lasts: Bounds of the round's length in seconds.
    """

    round_index: int
    first_step: int
    invited: IntArray
    members: IntArray
    steps: IntArray
    current: NDArray[np.bool_]
    survey: bool = False
    late: IntArray = NOBODY
    lasts: tuple[float, float] = (0.0, inf)


class Answers(NamedTuple):
    """Replies of a cohort.

    members: Ids of the clients that answered, [S].
    reached: Ids of the clients that hold the broadcast now.
    uploads: Uploads of the members, every tensor [S, ...]; None if there are none.
    noise: Uniforms that they were encoded with, [S, n].
    """

    members: IntArray
    reached: IntArray
    uploads: Upload | None
    noise: Tensor


class Population(Protocol):
    """The clients of a run: in this process, or on other machines."""

    def init(self, sim: Simulation) -> Tree:
        """Return the state before the first round."""
        ...

    def train(self, sim: Simulation, state: RunState, plan: RoundPlan) -> tuple[Tree, Answers]:
        """Send the plan and the server's broadcast to the cohort, and return what it answers."""
        ...

    def gradients(
        self, sim: Simulation, state: RunState, plan: RoundPlan
    ) -> tuple[IntArray, Tensor]:
        """Return the members that answer, [S], and their full gradients at the anchor, [S, P]."""
        ...

    def models(self, sim: Simulation, state: RunState) -> Tensor:
        """Return each client's model after the last synchronisation, [K, P]."""
        ...

    def own(self, sim: Simulation, state: RunState) -> Own | None:
        """Return the clients' own parts of the model, every tensor [K, ...]; None if remote."""
        ...


def initial_state(sim: Simulation) -> RunState:
    """Return the state before the first round."""
    count = len(sim.clients)
    return RunState(
        round_index=0,
        steps=0,
        server=init_server(sim.strategy, sim.start, count, sim.averaged_buffers),
        clients=sim.population.init(sim),
        broadcast=(),
        seen=np.full(count, -1),
        period=sim.strategy.period.init(),
        uplink_bytes=0,
        downlink_bytes=0,
        sim_seconds=0.0,
        wall_seconds=0.0,
    )


def local_steps(sim: Simulation, period: Tree, round_index: int, members: IntArray) -> IntArray:
    """Return the local steps of each member in a round, [S].

    Raises:
        ValueError: Personal parameters take all of them.
    """
    steps = sim.strategy.period.steps(period, round_index, sim.epochs[members])
    few = steps <= sim.personal_steps
    if sim.personal_steps and few.any():
        raise ValueError(
            f"client {members[few][0]} takes {steps[few][0]} local steps in round"
            f" {round_index + 1}, and personal_steps={sim.personal_steps} leaves none to the shared"
            " parameters; take a longer period or fewer personal steps"
        )
    return steps


def step_sizes(sim: Simulation, plan: RoundPlan) -> NDArray[np.float64]:
    """Return the step sizes of the cohort's longest member, [max steps]."""
    longest = int(plan.steps.max())
    return sim.strategy.inner.rates(plan.round_index, plan.first_step, longest)


def mean_step_size(sim: Simulation, plan: RoundPlan) -> float:
    """Return the mean step size of the shared parameters; exact where all are equal."""
    rates = step_sizes(sim, plan)[sim.personal_steps :]
    return float(rates[0]) if (rates == rates[0]).all() else fsum(rates) / len(rates)


def has_own_models(sim: Simulation) -> bool:
    """Return whether clients evaluate models of their own, and not the broadcast."""
    strategy = sim.strategy
    return strategy.mixing.memory(sim.start) != () or strategy.inner.averages


def check_buffers(sim: Simulation) -> None:
    """Raise ValueError if the model's buffers cannot be averaged under the strategy."""
    rows = len(sim.strategy.mixing.anchor(sim.start[:1], len(sim.clients)))
    waits = sim.strategy.timing is not Timing.ASYNCHRONOUS
    alone = has_own_models(sim) or rows > 1 or not waits
    if sim.averaged_buffers != () and alone:
        first = sim.objective.layout.buffers.names[0]
        mixing = type(sim.strategy.mixing).__name__
        raise ValueError(
            f"the model's forward changes buffers (first: {first}), and buffers=average needs"
            f" clients that all start a round from one model; with mixing={mixing} and"
            f" timing={sim.strategy.timing.value} each client has its own: use buffers=personal,"
            " buffers=frozen, or GroupNorm in place of BatchNorm"
        )


def consensus(sim: Simulation, state: RunState) -> Tensor:
    """Return the model [P] that is evaluated.

    It is the mixing's own, if there is one; else the shared anchor, or the mean of the clients'
    models.
    """
    named = sim.strategy.mixing.consensus(state.server.mixing, state.server.anchor)
    if named is not None and not sim.strategy.inner.averages:
        return named
    alone = sim.strategy.timing is not Timing.ASYNCHRONOUS and has_own_models(sim)
    shared = len(state.server.anchor) == 1 and not alone
    return state.server.anchor[0] if shared else client_models(sim, state).mean(0)


def client_models(sim: Simulation, state: RunState) -> Tensor:
    """Return each client's model after the last synchronisation, [K, P].

    In an asynchronous run it is the model that each client would read next.
    """
    if sim.strategy.timing is not Timing.ASYNCHRONOUS:
        return sim.population.models(sim, state)
    ids = torch.arange(len(sim.clients), device=sim.start.device)
    return broadcast_rows(state.server.anchor, ids)
