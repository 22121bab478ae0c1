"""Shorter graphs with the same results: batching rules leave many operations that do nothing."""

from collections.abc import Hashable, Iterator

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
    if any(_writes(node) for node in graph.graph.nodes):
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

    Grouped ones, which vmap makes of many clients' convolutions, are several times as fast so.
    """
    for node in graph.graph.nodes:
        # A view for one layout may need a copy in another.
        if node.target in (aten.view.default, aten._unsafe_view.default):
            node.target = aten.reshape.default
        elif node.target is aten.convolution.default:
            _relay(node, (0,))
        elif node.target is aten.convolution_backward.default:
            _relay(node, (0, 1))
    graph.recompile()


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


def _writes(node: Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable


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
