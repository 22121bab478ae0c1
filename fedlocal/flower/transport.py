"""Exchange of messages with Flower's nodes; replies are read as soon as they arrive."""

import logging
from collections.abc import Mapping
from time import monotonic, sleep
from typing import NamedTuple

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fedlocal.flower.flower_internals import ErrorCode
from fedlocal.flower.records import BROKEN, RunSpec, read_refusal, write_refusal, write_run_spec

log = logging.getLogger(__name__)

# Seconds between two polls for replies; flwr's own loop waits three.
POLL_SECONDS = 0.05

# The node is connected, but its app failed. Any other error means that no reply will arrive.
CRASHES = (ErrorCode.LOAD_CLIENT_APP_EXCEPTION, ErrorCode.CLIENT_APP_RAISED_EXCEPTION)


class Machine(NamedTuple):
    """Node that has introduced itself.

    node: Flower's id of the node. partition, num_partitions: Its share of the clients.
    examples: Number of its own examples; 0 if its share comes from the configuration.
    """

    node: int
    partition: int
    num_partitions: int
    examples: int


def exchange(
    grid: Grid, kind: str, contents: Mapping[int, RecordDict], group: str, timeout_seconds: float
) -> dict[int, RecordDict]:
    """Send each node its content; return the replies that arrived in time, by node.

    A failed or missing reply is logged and left out.
    """
    messages = [
        Message(content, node, kind, ttl=timeout_seconds, group_id=group)
        for node, content in contents.items()
    ]
    ids = zip(grid.push_messages(messages), contents, strict=True)
    # No id: it could not be pushed.
    asked = {message_id: node for message_id, node in ids if message_id}
    replies: dict[int, RecordDict] = {}
    deadline = monotonic() + timeout_seconds
    while asked and monotonic() < deadline:
        for message in grid.pull_messages(list(asked)):
            node = asked.pop(message.metadata.reply_to_message_id, None)
            if node is None:
                log.warning("a reply came twice; the second one is not counted")
            elif message.has_error() and message.error.code in CRASHES:
                replies[node] = write_refusal(BROKEN, f"its ClientApp failed: {_reason(message)}")
            elif message.has_error():
                log.warning("node %d has not answered: %s", node, _reason(message))
            else:
                replies[node] = message.content
        if asked:
            sleep(POLL_SECONDS)
    for node in asked.values():
        log.warning("node %d has not answered within %g s", node, timeout_seconds)
    return replies


def introduce(
    grid: Grid, nodes: list[int], run_spec: RunSpec, timeout_seconds: float
) -> list[Machine]:
    """Ask nodes for their partitions; refusals are logged and left out."""
    contents = dict.fromkeys(nodes, RecordDict({"pact": write_run_spec(run_spec)}))
    machines = []
    for node, content in exchange(grid, "query", contents, "hello", timeout_seconds).items():
        if (refused := read_refusal(content)) is not None:
            log.warning("node %d is left out: %s", node, refused[1])
            continue
        about = content.config_records["machine"]
        machines.append(
            Machine(
                node,
                int(about["partition-id"]),  # type: ignore[arg-type]
                int(about["num-partitions"]),  # type: ignore[arg-type]
                int(about["examples"]),  # type: ignore[arg-type]
            )
        )
    return machines


def meet(grid: Grid, run_spec: RunSpec, patience_seconds: float) -> tuple[Machine, ...]:
    """Wait until a node of every partition is connected; return them by partition id, [W].

    Raises:
        TimeoutError: A partition has no node.
    """
    met: dict[int, Machine] = {}
    strangers: set[int] = set()
    deadline, pause = monotonic() + patience_seconds, 0.5
    while True:
        online = list(grid.get_node_ids())
        known = {machine.node for machine in met.values()} | strangers
        unknown = [node for node in online if node not in known]
        for machine in introduce(grid, unknown, run_spec, max(1.0, deadline - monotonic())):
            if met.setdefault(machine.partition, machine) is not machine:
                strangers.add(machine.node)
                log.warning(
                    "node %d is left out: partition %d is on node %d already; give every SuperNode"
                    " a partition-id of its own",
                    *(machine.node, machine.partition, met[machine.partition].node),
                )
        wanted = max((machine.num_partitions for machine in met.values()), default=1)
        missing = sorted(set(range(wanted)) - set(met))
        if not missing:
            return tuple(met[partition] for partition in range(wanted))
        if monotonic() > deadline:
            raise TimeoutError(
                f"no node has answered for the partitions {missing} of {wanted} within"
                f" {patience_seconds:g} s; {len(online)} nodes are online. Start the missing"
                " SuperNodes with --node-config 'partition-id=I num-partitions=W'"
            )
        sleep(pause)
        # Nodes that refused are asked again at growing intervals.
        pause = min(2 * pause, 30)


def _reason(message: Message) -> str:
    return f"{message.error.reason} (code {message.error.code})"
