"""Run of any Flower app in one process: no Ray, no SuperLink, no SuperNode.

`run_in_process(server_app, client_app, num_supernodes=8)` runs an unmodified ServerApp, its
strategy and a ClientApp (message API). Nodes answer one after another while messages are pushed,
each with random generators of its own, so a run is reproducible.

Where Flower's simulation and deployment differ, this follows the deployment: a message's id is the
hash of its content, and errors carry the exception's type and text.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from itertools import count
from logging import getLogger
from threading import RLock

from flwr.app import Context, Message, RecordDict, UserConfig
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from fedlocal.flower.flower_internals import (
    SUPERLINK_NODE_ID,
    Run,
    name_by_content,
    server_identity,
)
from fedlocal.flower.inprocess_copy import copied_message
from fedlocal.flower.inprocess_mailbox import Mailbox
from fedlocal.flower.inprocess_node import new_context, nodes
from fedlocal.flower.inprocess_process import own_randomness

log = getLogger("flwr")

# Message in transit, in either direction -> messages that arrive now.
Carry = Callable[[Message], Iterable[Message]]

_run_ids = count(1)


def faultless(message: Message) -> Iterable[Message]:
    """Deliver every message once and at once."""
    return (message,)


def run_in_process(
    server_app: ServerApp,
    client_app: ClientApp,
    num_supernodes: int = 2,
    run_config: UserConfig | None = None,
    node_configs: Sequence[UserConfig] | None = None,
    carry: Carry = faultless,
    seed: int = 0,
) -> Context:
    """Run a whole app and return the ServerApp's Context at its end.

    Args:
        server_app: The serverapp of an app's pyproject.toml.
        client_app: Its clientapp.
        num_supernodes: Simulated nodes; their ids are `FIRST_NODE_ID` + partition id. Flower's
            strategies wait for their min_available_nodes, 2 by default, without a time limit.
        run_config: `context.run_config` on both sides.
        node_configs: For each node, entries of its `context.node_config` besides partition-id and
            num-partitions.
        carry: The network; see `InProcessGrid`.
        seed: Seed of all draws from unseeded generators of Python, NumPy and PyTorch; those of a
            client also depend on its node id and on the number of messages it has answered.

    Raises:
        ValueError: No nodes, a number of node configurations other than that of nodes, a nested
            configuration, or a negative seed.
    """
    grid = InProcessGrid(client_app, num_supernodes, run_config, node_configs, carry, seed)
    context = new_context(grid.run.run_id, SUPERLINK_NODE_ID, {}, run_config or {})
    with grid.running(), own_randomness(seed, SUPERLINK_NODE_ID):
        server_app(grid, context)
    return context


class InProcessGrid(Grid):
    """Grid whose nodes answer within `push_messages`.

    `carry` models the network. It receives every instruction and every reply (which has
    `metadata.reply_to_message_id`) and returns the messages that arrive at that moment: none to
    lose it, two copies to duplicate it, an earlier one to deliver a delayed one. `send_and_receive`
    does not wait for messages that have not arrived.
    """

    def __init__(
        self,
        client_app: ClientApp,
        num_supernodes: int = 2,
        run_config: UserConfig | None = None,
        node_configs: Sequence[UserConfig] | None = None,
        carry: Carry = faultless,
        seed: int = 0,
    ) -> None:
        """See `run_in_process`."""
        self._run = Run.create_empty(next(_run_ids))
        self._carry = carry
        self._nodes = nodes(
            client_app, self._run.run_id, num_supernodes, run_config or {}, node_configs, seed
        )
        self._mailbox = Mailbox(self._run.run_id)
        # A ServerApp may push from several threads.
        self._lock = RLock()

    def running(self) -> AbstractContextManager[None]:
        """Return the context in which messages can be constructed: `with grid.running(): ...`."""
        return server_identity(self._run.run_id)

    def set_run(self, run: Run) -> None:
        self._run = run

    @property
    def run(self) -> Run:
        return Run(**vars(self._run))

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> list[int]:
        """Return the node ids in the order of partitions."""
        return list(self._nodes)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Answer all messages; return their ids, "" for one to an unknown node.

        Raises:
            ValueError: A message is malformed; none is sent then.
        """
        messages = list(messages)
        for message in messages:
            self._mailbox.check(name_by_content(message))
        with self._lock:
            return [self._push(message) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Return the replies that have arrived, in the order of the ids; each can be pulled once.

        The reply to an unknown, already pulled or expired id is an error.
        """
        with self._lock:
            answers = [self._mailbox.pull(one) for one in dict.fromkeys(message_ids)]
        return [answer for answer in answers if answer is not None]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        """Push, then pull at once: no reply arrives after `push_messages` returns."""
        return self.pull_messages(self.push_messages(messages))

    def _push(self, message: Message) -> str:
        if message.metadata.dst_node_id not in self._nodes:
            known = ", ".join(map(str, self._nodes))
            log.error("No node %d: the nodes are %s", message.metadata.dst_node_id, known)
            return ""
        if self._mailbox.send(message):
            for instruction in self._arriving(message):
                node = self._nodes[instruction.metadata.dst_node_id]
                for reply in self._arriving(node.answer(instruction)):
                    self._mailbox.receive(reply)
        return message.metadata.message_id

    def _arriving(self, message: Message) -> list[Message]:
        # Copied when sent, since it may arrive later, and when received, since it may arrive twice.
        return [copied_message(arrived) for arrived in self._carry(copied_message(message))]
