"""How many clients of a cohort run at once."""

from collections.abc import Callable
from math import ceil
from operator import getitem
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from fedlocal.runtime.tracing.passes import VIEWS
from fedlocal.utils.arrays import IntArray

Executor = Literal["auto", "vectorised", "chunked", "sequential"]
EXECUTORS = ("auto", "vectorised", "chunked", "sequential")

SPLITS = {torch.ops.aten.split_with_sizes.default, torch.ops.aten.split.Tensor}

# On a CPU a step should stay in the caches; more clients at once would gain nothing more.
CPU_BYTES = 32 << 20
# Of a GPU's memory; the rest is for data, states and what the libraries take.
GPU_SHARE = 0.5


def group_size(executor: Executor, clients: int, need: Callable[[], int], like: Tensor) -> int:
    """How many of so many clients to run at once.

    Args:
        executor: "vectorised" takes all, "sequential" one after another, "chunked" and "auto" what
            the memory holds.
        clients: Members of a cohort.
        need: Measures the bytes that one client's step needs.
        like: A model [P] on the device.
    """
    if executor == "vectorised" or clients == 1:
        return clients
    if executor == "sequential":
        return 1
    return max(1, min(clients, budget(like.device) // max(need(), 1)))


def budget(device: torch.device) -> int:
    """Bytes that a group's step may take."""
    if device.type == "cuda":
        return int(GPU_SHARE * torch.cuda.get_device_properties(device).total_memory)
    return CPU_BYTES


def groups(rows: IntArray, most: int) -> list[IntArray]:
    """Rows in groups of at most so many, as equal as can be: every size has its own program."""
    return np.array_split(rows, -(-len(rows) // most))


def described(size: int, clients: int) -> str:
    """What was chosen, in words.

    >>> described(64, 64), described(16, 64), described(1, 8)
    ('vectorised: 64 clients at once', 'chunked: 4 groups of 16 clients', 'sequential: 8 clients')
    """
    if size == 1 and clients > 1:
        return f"sequential: {clients} clients"
    if size >= clients:
        return f"vectorised: {clients} clients at once"
    groups = ceil(clients / size)
    return f"chunked: {groups} groups of {ceil(clients / groups)} clients"


def peak_bytes(graph: GraphModule) -> int:
    """Most bytes of tensors that are alive at once while the graph runs, its inputs not counted."""
    nodes = [node for node in graph.graph.nodes if node.op == "call_function"]
    # The last node that looks at each node's memory, directly or through views.
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
    """Whose memory the node's tensor lies in."""
    while node.target in VIEWS or _is_part(node):
        node = node.all_input_nodes[0]
    return node


def _is_part(node: Node) -> bool:
    """Whether it is a part of a tensor that was split; parts of other tuples have their own."""
    return node.target in SPLITS or (
        node.target is getitem and node.all_input_nodes[0].target in SPLITS
    )


def _nbytes(node: Node) -> int:
    value = node.meta.get("val")
    return value.numel() * value.element_size() if isinstance(value, Tensor) else 0
