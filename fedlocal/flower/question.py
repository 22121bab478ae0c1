"""What a ClientApp process hands to whatever answers for it; light enough for every message."""

from pathlib import Path
from typing import NamedTuple

from flwr.app import Context, Message, RecordDict


class Question(NamedTuple):
    """A message and where it arrived.

    kind: "train", "evaluate" or "query". kept: The node's records between messages.
    The rest are the SuperNode's own settings, "" for none: its partition, a path with its own data,
    a file with the names of all classes, and a folder for its state instead of Context.state.
    """

    kind: str
    content: RecordDict
    kept: RecordDict
    partition: int
    num_partitions: int
    data: str = ""
    classes: str = ""
    state: str = ""


def question(kind: str, message: Message, context: Context) -> Question:
    """The question that a message to this node puts."""
    own = context.node_config
    return Question(
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
    """Where simulated nodes keep their states: a folder that the server names, as all are here."""
    nodes = str(context.run_config.get("nodes", ""))
    return str(Path(nodes) / str(context.node_config["partition-id"])) if nodes else ""


def worker_folder(context: Context) -> Path | None:
    """Where this node's worker lives; None if it has none and every process answers itself."""
    folder = str(context.node_config.get("worker", ""))
    return Path(folder) if folder else None
