"""Clients on Flower's nodes, as seen by the server."""

import logging
from dataclasses import dataclass
from functools import cache
from time import monotonic, sleep
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
import torch
from flwr.app import Array, RecordDict
from flwr.serverapp import Grid
from torch import Tensor

from fedlocal.flower.node import FRESH, Delivery, clients_of
from fedlocal.flower.records import RunSpec, TrainRequest, array_bytes, write_train_request
from fedlocal.flower.replies import (
    Read,
    Request,
    check_hope,
    gradient_reader,
    settle,
    upload_reader,
)
from fedlocal.flower.transport import Machine, exchange, introduce, meet
from fedlocal.objective.gradients import Own
from fedlocal.rounds.client import Upload, broadcast_rows
from fedlocal.rounds.evaluation import check_measured, empty_columns
from fedlocal.rounds.fingerprint import run_digest
from fedlocal.rounds.message_formats import link_noise
from fedlocal.rounds.payload import check_messages, pack_broadcast, pack_model, unpack_model
from fedlocal.rounds.state import Answers, RoundPlan, RunState, Simulation, has_own_models
from fedlocal.utils.arrays import IntArray
from fedlocal.vectors.rng import Purpose
from fedlocal.vectors.trees import expand, stack

log = logging.getLogger(__name__)


class Remote(NamedTuple):
    """Server-side state of the clients: `RunState.clients` of a Flower run.

    run: Token of the run; a node never mixes the states of two runs.
    machines: Nodes by partition id, [W].
    counted: Last round of each client that was counted, [K]; FRESH for none.
    """

    run: str
    machines: tuple[Machine, ...]
    counted: IntArray


@dataclass(frozen=True, eq=False)
class FlowerNodes:
    """Clients spread over W machines, in blocks of nearly equal size.

    Attributes:
        grid: Flower's access to its nodes.
        pact: What both ends build the run from.
        start: The state of the clients before the first round.
        timeout_seconds: A machine that has not answered by then has dropped out of the round.
        patience_seconds: Methods that need every client wait so long for one that dropped out.
    """

    grid: Grid
    run_spec: RunSpec
    start: Remote
    timeout_seconds: float = 600.0
    patience_seconds: float = 3600.0

    def init(self, sim: Simulation) -> Remote:
        """See `Population.init`."""
        return self.start

    def train(self, sim: Simulation, state: RunState, plan: RoundPlan) -> tuple[Remote, Answers]:
        """See `Population.train`."""
        read, everyone = upload_reader(sim, plan), sim.strategy.needs_everyone
        remote, uploads, reached = self._gather("train", sim, state, plan, read, everyone)
        return count_uploads(sim, remote, plan, uploads, reached)

    def gradients(
        self, sim: Simulation, state: RunState, plan: RoundPlan
    ) -> tuple[IntArray, Tensor]:
        """See `Population.gradients`.

        A client that does not answer is not asked to train either.
        """
        plan = plan._replace(survey=True)
        read, everyone = gradient_reader(sim, plan), sim.strategy.needs_everyone
        _, found, _ = self._gather("train", sim, state, plan, read, everyone)
        members = plan.members[np.isin(plan.members, list(found))]
        none = sim.start.new_zeros(0, len(sim.start))
        return members, torch.stack([found[int(c)] for c in members]) if found else none

    def models(self, sim: Simulation, state: RunState) -> Tensor:
        """See `Population.models`. These transfers serve the evaluation and are not counted."""
        everyone = np.arange(len(sim.clients))
        if not has_own_models(sim):
            # Clients without a state of their own start from the broadcast.
            ids = torch.from_numpy(everyone).to(sim.start.device)
            return broadcast_rows(state.server.anchor, ids)

        def read(client: int, array: Array) -> Tensor:
            data = array_bytes(array, sim.messages.model.nbytes)
            return unpack_model(sim.messages.model, data, client, state.round_index, sim.start)

        nothing = np.zeros_like(everyone)
        plan = RoundPlan(state.round_index, state.steps, everyone, everyone, nothing, nothing > 0)
        _, models, _ = self._gather("evaluate", sim, state, plan, read, everyone=True)
        return torch.stack([models[int(c)] for c in everyone])

    def own(self, sim: Simulation, state: RunState) -> Own | None:
        """See `Population.own`. Personal parts never leave their node."""
        if sim.has_personal:
            return None
        buffers = state.server.buffers
        return Own((), buffers if buffers == () else expand(buffers, len(sim.clients)))

    def _gather(
        self,
        kind: str,
        sim: Simulation,
        state: RunState,
        plan: RoundPlan,
        read: Read,
        everyone: bool,
    ) -> tuple[Remote, dict[int, Any], IntArray]:
        """Ask the nodes until each has answered or is given up.

        Returns:
            The nodes as they are now, the values read by client, and the clients reached.
        """
        remote: Remote = state.clients
        pending = self.requests(sim, remote, plan)
        found: dict[int, Any] = {}
        reached = plan.invited[:0]
        deadline = monotonic() + self.patience_seconds
        while pending:
            remote = self._roll_call(remote)
            train_requests = self.train_requests(sim, state, remote, pending)
            replies = self._ask(kind, plan, remote, train_requests)
            settled = settle(sim, pending, replies, read, everyone)
            found |= settled.values
            reached = np.union1d(reached, settled.reached)
            pending = settled.again
            check_hope(pending, late=monotonic() > deadline)
            # A disconnected node needs a while to come back.
            sleep(1.0 if pending else 0.0)
        return remote, found, reached

    def requests(self, sim: Simulation, remote: Remote, plan: RoundPlan) -> dict[int, Request]:
        """Return the request to each partition's node; none for nodes without an invited client."""
        requests = {}
        for partition in range(len(remote.machines)):
            here = clients_of(len(sim.clients), partition, len(remote.machines))
            invited, members = np.isin(plan.invited, here), np.isin(plan.members, here)
            current = plan.current[invited]
            part = plan._replace(
                invited=plan.invited[invited],
                current=current,
                members=plan.members[members],
                steps=plan.steps[members],
            )
            if len(current):
                whole = not (sim.messages.has_changes and current.all())
                requests[partition] = Request(part, whole)
        return requests

    def _roll_call(self, remote: Remote) -> Remote:
        """Recognise nodes that came back under another node id.

        No node replaces one that is connected, which has the state and its own data.
        """
        online = set(self.grid.get_node_ids())
        machines = list(remote.machines)
        gone = {p for p, machine in enumerate(machines) if machine.node not in online}
        unknown = sorted(online - {machine.node for machine in machines})
        if not gone or not unknown:
            return remote
        for machine in introduce(self.grid, unknown, self.run_spec, self.timeout_seconds):
            if machine.partition in gone and machine.num_partitions == len(machines):
                log.warning("partition %d is now on node %d", machine.partition, machine.node)
                machines[machine.partition] = machine
        return remote._replace(machines=tuple(machines))

    def train_requests(
        self, sim: Simulation, state: RunState, remote: Remote, pending: dict[int, Request]
    ) -> dict[int, RecordDict]:
        """Return the contents of the messages that carry the requests."""

        # Nodes whose clients share an anchor receive the same bytes, packed once.
        @cache
        def pack(row: int, whole: bool, survey: bool) -> bytes:
            if not survey:
                return pack_broadcast(sim, state, row, whole)
            return pack_model(sim.messages.model, state.server.anchor[row], row, state.round_index)

        train_requests = {}
        for partition, request in pending.items():
            plan = request.plan
            rows = np.array([0]) if sim.messages.shared else plan.invited
            counted = remote.counted[plan.members]
            delivery = Delivery(
                plan=plan,
                counted=np.full_like(counted, FRESH) if request.afresh else counted,
                rows=rows,
                whole=request.whole,
                payloads=tuple(pack(int(row), request.whole, plan.survey) for row in rows),
            )
            train_requests[partition] = write_train_request(
                TrainRequest(remote.run, self.run_spec, delivery)
            )
        return train_requests

    def _ask(
        self, kind: str, plan: RoundPlan, remote: Remote, train_requests: dict[int, RecordDict]
    ) -> dict[int, RecordDict]:
        """Return the replies that arrived, by partition."""
        nodes = {remote.machines[p].node: p for p in train_requests}
        contents = {node: train_requests[p] for node, p in nodes.items()}
        replies = exchange(self.grid, kind, contents, str(plan.round_index), self.timeout_seconds)
        return {nodes[node]: content for node, content in replies.items()}


def count_uploads(
    sim: Simulation, remote: Remote, plan: RoundPlan, uploads: dict[int, Upload], reached: IntArray
) -> tuple[Remote, Answers]:
    """Record the members whose uploads arrived."""
    members = plan.members[np.isin(plan.members, list(uploads))]
    rounds = remote.counted.copy()
    rounds[members] = plan.round_index
    stacked = stack([uploads[int(c)] for c in members]) if len(members) else None
    # The machines drew the same.
    noise = link_noise(
        sim.strategy.uplink, Purpose.UPLINK, members, plan.round_index, sim.seed, sim.start
    )
    return remote._replace(counted=rounds), Answers(members, reached, stacked, noise)


def population(
    sim: Simulation,
    overrides: str,
    grid: Grid,
    patience_seconds: float = 600.0,
    timeout_seconds: float = 600.0,
    met: tuple[Machine, ...] = (),
) -> FlowerNodes:
    """Return the clients of a run, built from these overrides, on the nodes of a grid.

    Waits for the nodes, unless an earlier run of the same grid has found them.

    Raises:
        TimeoutError: A partition has no node.
        ValueError: The run reads a column that is empty in every row, or needs messages that do not
            exist on Flower.
    """
    check_messages(sim)
    check_measured(sim, away=True)
    if sim.has_personal:
        log.warning(
            "the columns %s stay empty: personal parts of the model never leave their machines",
            ", ".join(empty_columns(sim, away=True)),
        )
    run_spec = RunSpec(overrides, run_digest(sim))
    machines = met or meet(grid, run_spec, patience_seconds)
    start = Remote(uuid4().hex, machines, np.full(len(sim.clients), FRESH))
    return FlowerNodes(grid, run_spec, start, timeout_seconds, patience_seconds)
