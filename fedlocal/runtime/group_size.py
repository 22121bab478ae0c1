"""Number of clients of a cohort that run at once."""

from collections.abc import Callable, Sequence
from math import ceil
from operator import getitem
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from fedlocal.runtime.tracing.graph_passes import VIEWS
from fedlocal.utils.arrays import IntArray

Executor = Literal["auto", "vectorised", "chunked", "sequential"]
EXECUTORS = ("auto", "vectorised", "chunked", "sequential")

SPLITS = {torch.ops.aten.split_with_sizes.default, torch.ops.aten.split.Tensor}

# On a CPU a step should fit into the caches; more clients at once gain nothing.
CPU_BYTES = 32 << 20
# Share of a GPU's memory; the rest is for data, states and libraries.
GPU_SHARE = 0.5


def group_size(executor: Executor, clients: int, need: Callable[[], int], like: Tensor) -> int:
    """Return how many of `clients` clients run at once.

    Args:
        executor: "vectorised" takes all, "sequential" one after another, "chunked" and "auto" as
            many as fit into memory.
        clients: Members of a cohort.
        need: Function that measures the bytes of one client's step.
        like: A model [P] on the device.
    """
    if executor == "vectorised" or clients == 1:
        return clients
    if executor == "sequential":
        return 1
    return max(1, min(clients, budget(like.device) // max(need(), 1)))


def budget(device: torch.device) -> int:
    """Return the bytes that a group's step may take."""
    if device.type == "cuda":
        return int(GPU_SHARE * torch.cuda.get_device_properties(device).total_memory)
    return CPU_BYTES


def groups(rows: IntArray, most: int) -> list[IntArray]:
    """Return near-equal groups of rows; each distinct group size is traced separately."""
    return np.array_split(rows, -(-len(rows) // most))


def describe_groups(size: int, alike: Sequence[int]) -> str:
    """Describe the choice in words.

    Args:
        size: Most clients of a group.
        alike: Numbers of clients that can share a group.

    >>> describe_groups(64, [64]), describe_groups(16, [64]), describe_groups(1, [8])
    ('vectorised: 64 clients at once', 'chunked: 4 groups of 16 clients', 'sequential: 8 clients')
    >>> describe_groups(64, [2, 1])
    'chunked: 2 groups of up to 2 clients, whose batches differ in size'
    """
    counts = [ceil(clients / size) for clients in alike]
    largest = max(ceil(n / count) for n, count in zip(alike, counts, strict=True))
    several = len(alike) > 1
    apart = ", whose batches differ in size" if several and size > 1 else ""
    if largest == 1 and sum(counts) > 1:
        return f"sequential: {sum(alike)} clients{apart}"
    if sum(counts) == 1:
        return f"vectorised: {largest} clients at once"
    most = f"up to {largest}" if several else largest
    return f"chunked: {sum(counts)} groups of {most} clients{apart}"


def peak_bytes(graph: GraphModule) -> int:
    """Return the peak bytes of live tensors while the graph runs, without its inputs."""
    nodes = [node for node in graph.graph.nodes if node.op == "call_function"]
    # Last node that reads each node's memory, directly or through views.
    last: dict[Node, Node] = {}
    for node in nodes:
        for used in (node, *node.all_input_nodes):
            last[_owner(used)] = node
    alive = peak = 0
    ends: dict[Node, int] = {}
    for owner in {_owner(node) for node in nodes if _owner(node).op == "call_function"}:
        ends[last[owner]] = ends.get(last[owner], 0) + _nbytes(owner)
    for node in nodes:
        alive += _nbytes(node) if _owner(node) is node else 0
        peak = max(peak, alive)
        alive -= ends.get(node, 0)
    return peak


def _owner(node: Node) -> Node:
    """Return the node whose memory holds this node's tensor."""
    while node.target in VIEWS or _is_part(node):
        node = node.all_input_nodes[0]
    return node


def _is_part(node: Node) -> bool:
    """Return whether the node is a part of a split tensor; parts of other tuples own memory."""
    return node.target in SPLITS or (
        node.target is getitem and node.all_input_nodes[0].target in SPLITS
    )


def _nbytes(node: Node) -> int:
    value = node.meta.get("val")
    return value.numel() * value.element_size() if isinstance(value, Tensor) else 0
