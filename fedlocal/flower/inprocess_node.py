"""Simulated SuperNodes of an in-process run: they run the ClientApp and keep its Context."""

from collections.abc import Sequence
from dataclasses import dataclass
from logging import getLogger

from flwr.app import Context, Error, Message, RecordDict, UserConfig
from flwr.clientapp import ClientApp

from fedlocal.flower.app_bundle import plain_config
from fedlocal.flower.flower_internals import ErrorCode, name_by_content
from fedlocal.flower.inprocess_copy import copied_context
from fedlocal.flower.inprocess_process import own_randomness

log = getLogger("flwr")

# Above 32 bits, like the ids of a real run, and never equal to a partition id.
FIRST_NODE_ID = 10_000_000_000


@dataclass
class Node:
    """Simulated node that answers instructions one after another.

    Attributes:
        client_app: The app that every node runs.
        context: Its node_config, run_config, and state between messages.
        seed: Seed of the app's unseeded draws, together with the node's id and `answered`.
        answered: Number of messages answered so far.
    """

    client_app: ClientApp
    context: Context
    seed: int
    answered: int = 0

    def answer(self, instruction: Message) -> Message:
        """Return the app's reply; if it raises or exits, the error that a SuperNode would send."""
        context = copied_context(self.context)
        with own_randomness(self.seed, context.node_id, self.answered):
            self.answered += 1
            try:
                reply = self._run(instruction, context)
            except SystemExit:
                # Changes of the app's state are lost with its process.
                context = self.context
                error = Error(ErrorCode.CLIENT_APP_CRASHED, "ClientApp stopped responding.")
                reply = Message(error, reply_to=instruction)
            except Exception as raised:
                log.error("ClientApp raised an exception", exc_info=raised)
                reason = f"{type(raised)}:<'{raised}'>"
                error = Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason)
                reply = Message(error, reply_to=instruction)
        self.context = copied_context(context)
        return name_by_content(reply)

    def _run(self, instruction: Message, context: Context) -> Message:
        reply = self.client_app(instruction, context)
        if not isinstance(reply, Message):
            # A SuperNode would send nothing; the server would wait until the message expires.
            raise TypeError(
                f"the ClientApp returned {type(reply).__name__} for a message of type"
                f" {instruction.metadata.message_type!r}; it must return"
                " Message(content, reply_to=message)"
            )
        # Inside the try, since records that Flower cannot serialise raise.
        return name_by_content(reply)


def nodes(
    client_app: ClientApp,
    run_id: int,
    num_nodes: int,
    run_config: UserConfig,
    node_configs: Sequence[UserConfig] | None,
    seed: int,
) -> dict[int, Node]:
    """Return the nodes of a run by id, in the order of partitions."""
    if num_nodes < 1:
        raise ValueError(f"num_supernodes must be >= 1, got {num_nodes}")
    own = [{}] * num_nodes if node_configs is None else node_configs
    if len(own) != num_nodes:
        raise ValueError(f"{len(own)} node_configs for {num_nodes} nodes; give one for each")
    found = {}
    for partition, config in enumerate(own):
        config = {"partition-id": partition, "num-partitions": num_nodes, **config}
        context = new_context(run_id, FIRST_NODE_ID + partition, config, run_config)
        found[context.node_id] = Node(client_app, context, seed)
    return found


def new_context(
    run_id: int, node_id: int, node_config: UserConfig, run_config: UserConfig
) -> Context:
    """Return a Context with an empty state, and configurations that Flower could carry."""
    return Context(
        run_id, node_id, plain_config(node_config), RecordDict(), plain_config(run_config)
    )
