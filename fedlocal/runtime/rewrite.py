"""Shorter graphs with the same results: batching rules leave many operations that do nothing."""

from collections.abc import Hashable, Iterator
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

aten = torch.ops.aten

VIEWS = {
    aten.view.default,
    aten._unsafe_view.default,
    aten.expand.default,
    aten.transpose.int,
    aten.permute.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.unsqueeze.default,
    aten.alias.default,
    aten.detach.default,
}


def simplify(graph: GraphModule) -> None:
    """Take out views that change nothing, products with one, and what was computed before.

    Every result stays the same to the bit. A graph that writes into a tensor is left as it is.
    """
    if _writes(graph):
        return
    seen: dict[Hashable, Node] = {}
    for node in list(graph.graph.nodes):
        same = _same_as(node)
        if same is None and node.op == "call_function":
            same = seen.setdefault(_recipe(node), node)
        if same is not None and same is not node:
            node.replace_all_uses_with(same)
    graph.graph.eliminate_dead_code()
    graph.recompile()


def channels_last(graph: GraphModule) -> None:
    """Give convolutions their pictures with the channels last, which the CPU's kernels want.

    Grouped ones, which vmap makes of many clients' convolutions, are several times as fast so. A
    graph that writes into a tensor is left as it is: it may write through a view.
    """
    if _writes(graph):
        return
    for node in graph.graph.nodes:
        # A view for one layout may need a copy in another.
        if node.target in (aten.view.default, aten._unsafe_view.default):
            node.target = aten.reshape.default
        elif node.target is aten.convolution.default:
            _relay(node, (0,))
        elif node.target is aten.convolution_backward.default:
            _relay(node, (0, 1))
    graph.recompile()


def in_parts(graph: GraphModule) -> None:
    """Do what is elementwise on the parts of a concatenation [G, P], and concatenate the results.

    A gradient is put together from one part a layer; a compiler then writes each part of the next
    point at once, where it wrote the gradient and read it again. Same bits. A graph that writes
    into a tensor is left as it is: what it writes to would be another.
    """
    if _writes(graph):
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
    """Columns of the parts, if the node is elementwise and looks at a concatenation."""
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
    """An argument of the whole as arguments of its parts."""
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


def _relay(node: Node, places: tuple[int, ...]) -> None:
    for place in places:
        given = node.args[place]
        if isinstance(given, Node) and given.meta["val"].dim() == 4:
            with node.graph.inserting_before(node):
                laid = node.graph.call_function(
                    aten.contiguous.default, (given,), {"memory_format": torch.channels_last}
                )
            laid.meta["val"] = given.meta["val"]
            node.update_arg(place, laid)


def _writes(graph: GraphModule) -> bool:
    """Whether any of its operations changes a tensor in place."""
    schemas = (getattr(node.target, "_schema", None) for node in graph.graph.nodes)
    return any(schema is not None and schema.is_mutable for schema in schemas)


def _same_as(node: Node) -> Node | None:
    """An earlier node with the same tensor, where this one only looks at it."""
    if node.target is aten.mul.Scalar and node.args[1] == 1:
        return next((one for one in node.all_input_nodes if _alike(node, one)), None)
    return next((one for one in _looked_at(node) if _alike(node, one)), None)


def _looked_at(node: Node) -> Iterator[Node]:
    while node.target in VIEWS:
        node = node.all_input_nodes[0]
        yield node


def _alike(node: Node, other: Node) -> bool:
    a, b = node.meta.get("val"), other.meta.get("val")
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        return False
    form = (a.shape, a.stride(), a.storage_offset(), a.dtype)
    return form == (b.shape, b.stride(), b.storage_offset(), b.dtype)


def _recipe(node: Node) -> Hashable:
    """Equal for nodes that compute the same; as text, where 1, 1.0 and True are not equal."""
    return node.target, repr((node.args, node.kwargs))
