"""The simulated SuperNodes of an in-process run: they run the ClientApp and keep its Context."""

from collections.abc import Sequence
from dataclasses import dataclass
from logging import ERROR

from flwr.app import Context, Error, Message, RecordDict, UserConfig
from flwr.clientapp import ClientApp
from flwr.common.constant import NUM_PARTITIONS_KEY, PARTITION_ID_KEY, ErrorCode
from flwr.supercore import log

from fedlocal.flower.app_bundle import plain_config
from fedlocal.flower.inprocess_copy import copied_context
from fedlocal.flower.inprocess_process import own_randomness

# Above 32 bits, as the ids of a real run are, and never equal to a partition id.
FIRST_NODE_ID = 10_000_000_000


@dataclass
class Node:
    """Answers instructions, one after another.

    Attributes:
        client_app: The app that every node runs.
        context: Its node_config and run_config, and the state that lasts from message to message.
        seed: With the node's id and `answered`, all that the app's unseeded draws depend on.
        answered: Messages answered so far.
    """

    client_app: ClientApp
    context: Context
    seed: int
    answered: int = 0

    def answer(self, instruction: Message) -> Message:
        """The app's reply; where it raises or exits, the error that a SuperNode would send."""
        context = copied_context(self.context)
        with own_randomness(self.seed, context.node_id, self.answered):
            self.answered += 1
            try:
                reply = self._run(instruction, context)
            except SystemExit:
                # What the app had put into its state dies with its process.
                context = self.context
                error = Error(ErrorCode.CLIENT_APP_CRASHED, "ClientApp stopped responding.")
                reply = Message(error, reply_to=instruction)
            except Exception as raised:
                log(ERROR, "ClientApp raised an exception", exc_info=raised)
                reason = f"{type(raised)}:<'{raised}'>"
                error = Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason)
                reply = Message(error, reply_to=instruction)
        self.context = copied_context(context)
        return _named(reply)

    def _run(self, instruction: Message, context: Context) -> Message:
        reply = self.client_app(instruction, context)
        if not isinstance(reply, Message):
            # A SuperNode would send nothing, and the server wait until the message expires.
            raise TypeError(
                f"the ClientApp returned {type(reply).__name__} for a message of type"
                f" {instruction.metadata.message_type!r}; it must return"
                " Message(content, reply_to=message)"
            )
        # Here, since records that Flower cannot serialise raise.
        return _named(reply)


def _named(message: Message) -> Message:
    """Its id is the hash of its content."""
    message.metadata.__dict__["_message_id"] = message.object_id
    return message


def nodes(
    client_app: ClientApp,
    run_id: int,
    num_nodes: int,
    run_config: UserConfig,
    node_configs: Sequence[UserConfig] | None,
    seed: int,
) -> dict[int, Node]:
    """The nodes of a run by their ids, in the order of partitions."""
    if num_nodes < 1:
        raise ValueError(f"num_supernodes must be >= 1, got {num_nodes}")
    own = [{}] * num_nodes if node_configs is None else node_configs
    if len(own) != num_nodes:
        raise ValueError(f"{len(own)} node_configs for {num_nodes} nodes; give one for each")
    found = {}
    for partition, config in enumerate(own):
        config = {PARTITION_ID_KEY: partition, NUM_PARTITIONS_KEY: num_nodes, **config}
        context = new_context(run_id, FIRST_NODE_ID + partition, config, run_config)
        found[context.node_id] = Node(client_app, context, seed)
    return found


def new_context(
    run_id: int, node_id: int, node_config: UserConfig, run_config: UserConfig
) -> Context:
    """A Context with an empty state, and configurations of its own that Flower could carry."""
    return Context(
        run_id, node_id, plain_config(node_config), RecordDict(), plain_config(run_config)
    )
