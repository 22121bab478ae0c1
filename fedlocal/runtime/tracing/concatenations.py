"""Elementwise operations on the parts of a concatenation: a gradient has one per layer."""

from itertools import accumulate
from typing import Any

import torch
from torch.fx import GraphModule, Node

from fedlocal.runtime.tracing.graph_passes import writes

aten = torch.ops.aten


def in_parts(graph: GraphModule) -> None:
    """Apply elementwise operations to the parts of a concatenation [G, P] and join the results.

    A compiler then fuses each part's operations with the computation of that part of the gradient.
    Results are equal to the bit. A graph that writes into a tensor stays as it is.
    """
    if writes(graph):
        return
    for node in list(graph.graph.nodes):
        sizes = _part_sizes(node)
        if sizes is None:
            continue
        with graph.graph.inserting_before(node):
            given = [_split(arg, sizes) for arg in node.args]
            each = zip(*given, strict=True)
            parts = [graph.graph.call_function(node.target, args, node.kwargs) for args in each]
            whole = graph.graph.call_function(aten.cat.default, (parts, 1))
        for part, size in zip(parts, sizes, strict=True):
            part.meta["val"] = node.meta["val"][:, :size]
        whole.meta["val"] = node.meta["val"]
        node.replace_all_uses_with(whole)
    graph.graph.eliminate_dead_code()
    graph.recompile()


def _part_sizes(node: Node) -> list[int] | None:
    """Return the columns of the parts, if the node is elementwise and reads a concatenation."""
    if torch.Tag.pointwise not in getattr(node.target, "tags", ()):
        return None
    shape = node.meta["val"].shape
    inputs = [used.meta["val"].shape for used in node.all_input_nodes]
    if len(shape) != 2 or any(s != shape and (s[-1:] or (1,)) != (1,) for s in inputs):
        return None
    whole = [
        used for used in node.all_input_nodes if _joins(used) and used.meta["val"].shape == shape
    ]
    return [part.meta["val"].shape[1] for part in _parts(whole[0])] if whole else None


def _joins(node: Node) -> bool:
    return node.target is aten.cat.default and node.args[1:] == (1,)


def _parts(node: Node) -> list[Node]:
    return list(node.args[0])  # type: ignore[call-overload]


def _split(given: Any, sizes: list[int]) -> list[Any]:
    """Split an argument of the whole into arguments of its parts."""
    if not isinstance(given, Node) or given.meta["val"].shape[-1:] != (sum(sizes),):
        return [given] * len(sizes)
    if _joins(given) and [part.meta["val"].shape[1] for part in _parts(given)] == sizes:
        return _parts(given)
    ends = accumulate(sizes)
    cut = given.graph.call_function
    return [
        cut(aten.slice.Tensor, (given, 1, end - size, end))
        for end, size in zip(ends, sizes, strict=True)
    ]
