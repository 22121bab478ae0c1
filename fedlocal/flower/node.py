"""Clients of one node; the server counts each of their rounds exactly once.

A reply may be lost. A node therefore keeps two states of each client: before and after its last
round. The next request says up to which round the server has counted the client; the work starts
from the matching state, which commits the last round or rolls it back.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fedlocal.rounds.client import ClientState, Inbox, Upload
from fedlocal.rounds.payload import unpack_broadcast, unpack_model
from fedlocal.rounds.population import fresh_clients, gradients_at, outputs, training, work_of
from fedlocal.rounds.state import RoundPlan, Simulation
from fedlocal.utils.arrays import IntArray
from fedlocal.vectors.trees import Tree, concatenate, leaves, put, take, tree_map

# Round of the initial state of a client.
FRESH = -1


class NodeState(NamedTuple):
    """State of a node between rounds.

    rounds: Round after which each kept state holds, [2, n], older before newer.
    states: Those states of its n clients, every tensor [2 n, ...].
    anchor: Anchor rows that it holds, [1 or n, P]; () where every broadcast is whole.
    anchor_rounds: Round whose broadcast made each of them, [1 or n].
    """

    rounds: IntArray
    states: ClientState
    anchor: Tree
    anchor_rounds: IntArray


class Delivery(NamedTuple):
    """Content of a request to a node.

    plan: Plan of its own clients.
    counted: Last round of each member that the server has counted, [S]; FRESH for none.
    rows: Anchor rows in the request, sorted, [R]: 0 where all clients share one, else client ids.
    whole: Whether the rows are whole, or changes since the round before.
    payloads: Their bytes, [R]. In a gradient exchange they are uncompressed models.
    """

    plan: RoundPlan
    counted: IntArray
    rows: IntArray
    whole: bool
    payloads: tuple[bytes, ...]


class StaleError(ValueError):
    """A change arrived for an anchor that this node does not hold."""


class LostError(ValueError):
    """The state that the server has counted is gone."""


def clients_of(num_clients: int, partition: int, num_partitions: int) -> IntArray:
    """Return the ids of the clients on one of the machines.

    >>> [clients_of(5, p, 2).tolist() for p in range(2)]
    [[0, 1, 2], [3, 4]]
    """
    return np.array_split(np.arange(num_clients), num_partitions)[partition]


@dataclass(frozen=True, eq=False)
class Node:
    """Constants of a machine in a run.

    Attributes:
        sim: The run; its population would run the clients in one process.
        clients: Ids of its clients, sorted, [n].
    """

    sim: Simulation
    clients: IntArray

    @property
    def rows(self) -> IntArray:
        """Return the anchor rows that its clients receive."""
        return np.array([0]) if self.sim.messages.shared else self.clients

    def init(self) -> NodeState:
        """Return the state before the first round."""
        count, rows = len(self.clients), len(self.rows)
        return NodeState(
            rounds=np.full((2, count), FRESH),
            states=fresh_clients(self.sim, 2 * count),
            anchor=self.sim.start.repeat(rows, 1) if self.sim.messages.has_changes else (),
            anchor_rounds=np.full(rows, FRESH),
        )

    def train(self, state: NodeState, delivery: Delivery) -> tuple[NodeState, Upload | None]:
        """Receive the broadcast and run the members' round.

        Raises:
            ValueError: A payload is broken. StaleError, LostError: It builds on a missing anchor or
                state.
        """
        inbox = self._open(state, delivery)
        received = self._received(state, delivery, inbox)
        if len(delivery.plan.members) == 0:
            return received, None
        before = self._before(state, delivery)
        own = inbox._replace(model=inbox.model[self._positions(delivery, delivery.plan.members)])
        after, uploads = training(self.sim, before, own, work_of(self.sim, delivery.plan)).run()
        return self._kept(received, delivery, before, after), uploads

    def gradients(self, state: NodeState, delivery: Delivery) -> Tensor:
        """Compute each member's full gradient at the received model, [S, P].

        Raises:
            ValueError: A payload is broken.
        """
        plan, like = delivery.plan, self.sim.start
        if len(plan.members) == 0:
            return like.new_zeros(0, len(like))
        models = [
            unpack_model(self.sim.messages.model, data, int(row), plan.round_index, like)
            for data, row in zip(delivery.payloads, delivery.rows, strict=True)
        ]
        rows = torch.stack(models)[self._positions(delivery, plan.members)]
        own = self._before(state, delivery).own.parts
        return gradients_at(self.sim, plan, rows, own)

    def models(self, state: NodeState, delivery: Delivery) -> Tensor:
        """Return the model that each member would start the next round from, [S, P]."""
        rows = self._open(state, delivery).model[self._positions(delivery, delivery.plan.members)]
        return outputs(self.sim, self._before(state, delivery), rows)

    def _open(self, state: NodeState, delivery: Delivery) -> Inbox:
        """Unpack the broadcast; its models are those of the request's rows, [R, P]."""
        held = np.searchsorted(self.rows, delivery.rows)
        if (
            not delivery.whole
            and (state.anchor_rounds[held] != delivery.plan.round_index - 1).any()
        ):
            raise StaleError(
                f"a change since round {delivery.plan.round_index - 1} came, and the anchor"
                f" here is of round {state.anchor_rounds[held].min()}"
            )
        inboxes = [
            unpack_broadcast(
                self.sim, data, int(row), delivery.plan.round_index,
                None if delivery.whole else state.anchor[at],
            )
            for data, row, at in zip(delivery.payloads, delivery.rows, held, strict=True)
        ]  # fmt: skip
        return inboxes[0]._replace(model=torch.stack([inbox.model for inbox in inboxes]))

    def _received(self, state: NodeState, delivery: Delivery, inbox: Inbox) -> NodeState:
        held = np.searchsorted(self.rows, delivery.rows)
        rounds = state.anchor_rounds.copy()
        rounds[held] = delivery.plan.round_index
        anchor = tree_map(lambda a: a.index_copy(0, self._ids(held), inbox.model), state.anchor)
        return state._replace(anchor=anchor, anchor_rounds=rounds)

    def _before(self, state: NodeState, delivery: Delivery) -> ClientState:
        """Return the states from which the members continue, every tensor [S, ...]."""
        count, place = len(self.clients), np.searchsorted(self.clients, delivery.plan.members)
        older, newer = state.rounds[:, place]
        rows = np.where(newer == delivery.counted, count + place, place)
        afresh = (newer != delivery.counted) & (older != delivery.counted)
        lost = delivery.plan.members[afresh & (delivery.counted != FRESH)]
        if len(lost) and any(True for _ in leaves(state.states)):
            raise LostError(f"what clients {lost.tolist()} keep between rounds is gone here")
        # An initial state follows the kept ones.
        known = concatenate([state.states, fresh_clients(self.sim, 1)])
        return take(known, self._ids(np.where(afresh, 2 * count, rows)))

    def _kept(
        self, state: NodeState, delivery: Delivery, before: ClientState, after: ClientState
    ) -> NodeState:
        place = np.searchsorted(self.clients, delivery.plan.members)
        rounds = state.rounds.copy()
        rounds[:, place] = delivery.counted, np.full(len(place), delivery.plan.round_index)
        both = self._ids(np.concatenate([place, len(self.clients) + place]))
        states = put(state.states, both, concatenate([before, after]))
        return state._replace(rounds=rounds, states=states)

    def _positions(self, delivery: Delivery, clients: IntArray) -> Tensor:
        """Return the position of each client's anchor row in the request, [S]."""
        shared = self.sim.messages.shared
        return self._ids(
            np.zeros_like(clients) if shared else np.searchsorted(delivery.rows, clients)
        )

    def _ids(self, rows: IntArray) -> Tensor:
        return torch.from_numpy(rows).to(self.sim.start.device)
