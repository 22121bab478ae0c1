"""The clients that one machine holds, each round's work of theirs counted exactly once.

An answer may be lost on its way. So a machine keeps two states of each client: before its last
round and after it. The next order says up to which round the server has counted the client; the
work starts from the state that fits, which commits the last round or rolls it back.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fedlocal.rounds.client import ClientState, Inbox, Upload
from fedlocal.rounds.payload import unpack_broadcast, unpack_model
from fedlocal.rounds.population import fresh_clients, gradients_at, outputs, plan_of, work
from fedlocal.rounds.state import Order, Simulation
from fedlocal.utils.arrays import IntArray
from fedlocal.vectors.trees import Tree, concatenate, leaves, put, take, tree_map

# The round of a state in which the client has not taken part yet.
FRESH = -1


class NodeState(NamedTuple):
    """What a machine keeps between rounds.

    rounds: The round after which each kept state stands, [2, n], the older before the newer.
    states: Those states of its n clients, every tensor [2 n, ...].
    anchor: The anchor rows that it holds, [1 or n, P]; () where every broadcast is whole.
    anchor_rounds: The round whose broadcast made each of them, [1 or n].
    """

    rounds: IntArray
    states: ClientState
    anchor: Tree
    anchor_rounds: IntArray


class Mail(NamedTuple):
    """What a machine receives for a round.

    order: Of its own clients only.
    counted: The last round of each member that the server has counted, [S]; FRESH for none.
    rows: Anchor rows that come with it, sorted, [R]: 0 where all share one, else client ids.
    whole: Whether they come whole, or as the change since the round before.
    payloads: Their bytes, [R]. In a survey they are bare models.
    """

    order: Order
    counted: IntArray
    rows: IntArray
    whole: bool
    payloads: tuple[bytes, ...]


class StaleError(ValueError):
    """A change came for an anchor that this machine does not hold."""


class LostError(ValueError):
    """The state that the server counts on is gone."""


def clients_of(num_clients: int, partition: int, num_partitions: int) -> IntArray:
    """Ids of the clients that live on one of the machines.

    >>> [clients_of(5, p, 2).tolist() for p in range(2)]
    [[0, 1, 2], [3, 4]]
    """
    return np.array_split(np.arange(num_clients), num_partitions)[partition]


@dataclass(frozen=True, eq=False)
class Node:
    """What is fixed of a machine in a run.

    Attributes:
        sim: The run; its population would run the clients in one process.
        clients: Ids of its clients, sorted, [n].
    """

    sim: Simulation
    clients: IntArray

    @property
    def rows(self) -> IntArray:
        """The anchor rows that its clients receive."""
        return np.array([0]) if self.sim.messages.shared else self.clients

    def init(self) -> NodeState:
        """The state before the first round."""
        count, rows = len(self.clients), len(self.rows)
        return NodeState(
            rounds=np.full((2, count), FRESH),
            states=fresh_clients(self.sim, 2 * count),
            anchor=self.sim.start.repeat(rows, 1) if self.sim.messages.has_changes else (),
            anchor_rounds=np.full(rows, FRESH),
        )

    def train(self, state: NodeState, mail: Mail) -> tuple[NodeState, Upload | None]:
        """Receive the broadcast, and do the members' round.

        Raises:
            ValueError: A payload is broken. StaleError, LostError: It builds on what is not here.
        """
        inbox = self._open(state, mail)
        received = self._received(state, mail, inbox)
        if len(mail.order.members) == 0:
            return received, None
        before = self._before(state, mail)
        own = inbox._replace(model=inbox.model[self._positions(mail, mail.order.members)])
        after, uploads = work(self.sim, before, own, plan_of(self.sim, mail.order))
        return self._kept(received, mail, before, after), uploads

    def gradients(self, state: NodeState, mail: Mail) -> Tensor:
        """The gradient of each member over all of its examples at the model that came, [S, P].

        Raises:
            ValueError: A payload is broken.
        """
        order, like = mail.order, self.sim.start
        if len(order.members) == 0:
            return like.new_zeros(0, len(like))
        models = [
            unpack_model(self.sim.messages.model, data, int(row), order.round_index, like)
            for data, row in zip(mail.payloads, mail.rows, strict=True)
        ]
        rows = torch.stack(models)[self._positions(mail, order.members)]
        own = self._before(state, mail).own.parts
        return gradients_at(self.sim, order, rows, own)

    def models(self, state: NodeState, mail: Mail) -> Tensor:
        """The model that each member would start the next round from, [S, P]."""
        rows = self._open(state, mail).model[self._positions(mail, mail.order.members)]
        return outputs(self.sim, self._before(state, mail), rows)

    def _open(self, state: NodeState, mail: Mail) -> Inbox:
        """The broadcast, its models those of mail.rows, [R, P]."""
        held = np.searchsorted(self.rows, mail.rows)
        if not mail.whole and (state.anchor_rounds[held] != mail.order.round_index - 1).any():
            raise StaleError(
                f"a change since round {mail.order.round_index - 1} came, and the anchor here is"
                f" of round {state.anchor_rounds[held].min()}"
            )
        inboxes = [
            unpack_broadcast(
                self.sim, data, int(row), mail.order.round_index,
                None if mail.whole else state.anchor[at],
            )
            for data, row, at in zip(mail.payloads, mail.rows, held, strict=True)
        ]  # fmt: skip
        return inboxes[0]._replace(model=torch.stack([inbox.model for inbox in inboxes]))

    def _received(self, state: NodeState, mail: Mail, inbox: Inbox) -> NodeState:
        held = np.searchsorted(self.rows, mail.rows)
        rounds = state.anchor_rounds.copy()
        rounds[held] = mail.order.round_index
        anchor = tree_map(lambda a: a.index_copy(0, self._ids(held), inbox.model), state.anchor)
        return state._replace(anchor=anchor, anchor_rounds=rounds)

    def _before(self, state: NodeState, mail: Mail) -> ClientState:
        """The states from which the members go on, every tensor [S, ...]."""
        count, place = len(self.clients), np.searchsorted(self.clients, mail.order.members)
        older, newer = state.rounds[:, place]
        rows = np.where(newer == mail.counted, count + place, place)
        afresh = (newer != mail.counted) & (older != mail.counted)
        lost = mail.order.members[afresh & (mail.counted != FRESH)]
        if len(lost) and any(True for _ in leaves(state.states)):
            raise LostError(f"what clients {lost.tolist()} keep between rounds is gone here")
        # One fresh state stands behind the kept ones.
        known = concatenate([state.states, fresh_clients(self.sim, 1)])
        return take(known, self._ids(np.where(afresh, 2 * count, rows)))

    def _kept(
        self, state: NodeState, mail: Mail, before: ClientState, after: ClientState
    ) -> NodeState:
        place = np.searchsorted(self.clients, mail.order.members)
        rounds = state.rounds.copy()
        rounds[:, place] = mail.counted, np.full(len(place), mail.order.round_index)
        both = self._ids(np.concatenate([place, len(self.clients) + place]))
        states = put(state.states, both, concatenate([before, after]))
        return state._replace(rounds=rounds, states=states)

    def _positions(self, mail: Mail, clients: IntArray) -> Tensor:
        """Where the anchor row of each client stands in the mail, [S]."""
        shared = self.sim.messages.shared
        return self._ids(np.zeros_like(clients) if shared else np.searchsorted(mail.rows, clients))

    def _ids(self, rows: IntArray) -> Tensor:
        return torch.from_numpy(rows).to(self.sim.start.device)
