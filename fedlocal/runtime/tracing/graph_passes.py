"""Graph passes that keep results equal: batching rules leave many operations without effect."""

from collections.abc import Hashable, Iterator
from typing import cast

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from fedlocal.utils import torch_private
from fedlocal.utils.torch_private import UNSAFE_VIEW

aten = torch.ops.aten

VIEWS = {
    aten.view.default,
    aten.reshape.default,
    UNSAFE_VIEW,
    aten.expand.default,
    aten.transpose.int,
    aten.permute.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.unsqueeze.default,
    aten.alias.default,
    aten.detach.default,
}

# What sees how numbers lie in memory.
COUNTED_ON = {aten.as_strided.default, aten.view.dtype}


def simplify(graph: GraphModule) -> None:
    """Remove views without effect, products with one, and repeated computations.

    Results are equal to the bit. A graph that writes into a tensor stays as it is.
    """
    if writes(graph):
        return
    seen: dict[Hashable, Node] = {}
    for node in list(graph.graph.nodes):
        same = _same_as(node)
        if same is None and node.op == "call_function" and not is_drawn(node):
            same = seen.setdefault(_recipe(node), node)
        if same is not None and same is not node:
            node.replace_all_uses_with(same)
    graph.graph.eliminate_dead_code()
    graph.recompile()


def lay_out(graph: GraphModule) -> None:
    """Choose the memory layouts that are fastest on a CPU: channels last, without layout copies.

    Grouped convolutions, which vmap makes of many clients', are several times as fast with channels
    last. A graph that writes into a tensor, or depends on strides, stays as it is.
    """
    if writes(graph) or any(node.target in COUNTED_ON for node in graph.graph.nodes):
        return
    for node in list(graph.graph.nodes):
        # A view for one layout may need a copy in another.
        if node.target in (aten.view.default, UNSAFE_VIEW):
            node.target = aten.reshape.default
        elif (convolution_groups(node) or 1) > 1:
            _relay(node, (0,) if node.target is aten.convolution.default else (0, 1))
        elif _is_copy(node):
            node.replace_all_uses_with(node.all_input_nodes[0])
    graph.graph.eliminate_dead_code()
    graph.recompile()


def convolution_groups(node: Node) -> int | None:
    """Return the number of groups of a convolution or of its gradient; None for other nodes."""
    if node.target is aten.convolution.default:
        return cast(int, node.args[-1])
    return cast(int, node.args[-2]) if node.target is aten.convolution_backward.default else None


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


def _is_copy(node: Node) -> bool:
    return _by_one(node) and node.meta["val"].dtype == node.all_input_nodes[0].meta["val"].dtype


def writes(graph: GraphModule) -> bool:
    """Return whether an operation changes a tensor in place."""
    return any(torch_private.writes(node.target) for node in graph.graph.nodes)


def is_drawn(node: Node) -> bool:
    """Return whether the node is random, so that two calls differ."""
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


def _same_as(node: Node) -> Node | None:
    """Return an earlier node with the same tensor, where this one is a view of it."""
    if _by_one(node):
        return next((one for one in node.all_input_nodes if _alike(node, one)), None)
    return next((one for one in _looked_at(node) if _alike(node, one)), None)


def _by_one(node: Node) -> bool:
    """Return whether the node is a product with the number one."""
    return node.target in (aten.mul.Scalar, aten.mul.Tensor) and node.args[1:] == (1,)


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
    """Return a text that is equal for nodes with the same computation; 1, 1.0 and True differ."""
    return node.target, repr((node.args, node.kwargs))
