"""Requests that a ClientApp process passes to the code that answers them.

This module is imported for every message, so it imports nothing heavy.
"""

from pathlib import Path
from typing import NamedTuple

from flwr.app import Context, Message, RecordDict


class NodeRequest(NamedTuple):
    """Message and the settings of the node that received it.

    kind: "train", "evaluate" or "query". kept: Records of the node between messages.
    The other fields are settings of the SuperNode, "" for none: its partition, a path to its own
    data, a file with the names of all classes, and a folder for its state instead of Context.state.
    """

    kind: str
    content: RecordDict
    kept: RecordDict
    partition: int
    num_partitions: int
    data: str = ""
    classes: str = ""
    state: str = ""


def node_request(kind: str, message: Message, context: Context) -> NodeRequest:
    """Return the request of a message to this node."""
    own = context.node_config
    return NodeRequest(
        kind=kind,
        content=message.content,
        kept=context.state,
        partition=int(own["partition-id"]),
        num_partitions=int(own["num-partitions"]),
        data=str(own.get("data", "")),
        classes=str(own.get("classes", "")),
        state=str(own.get("state", "")) or _beside_the_server(context),
    )


def _beside_the_server(context: Context) -> str:
    """Return the folder, named by the server, in which simulated nodes keep their states."""
    nodes = str(context.run_config.get("nodes", ""))
    return str(Path(nodes) / str(context.node_config["partition-id"])) if nodes else ""


def worker_folder(context: Context) -> Path | None:
    """Return the folder of this node's worker; None if every process answers itself."""
    folder = str(context.node_config.get("worker", ""))
    return Path(folder) if folder else None
