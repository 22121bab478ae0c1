"""Constants of a traced graph, which need not be recomputed at every call."""

from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from fedlocal.runtime.tracing.graph_passes import VIEWS, is_drawn, writes

aten = torch.ops.aten

# What makes a tensor that depends on nothing but a shape.
MADE = {
    aten.arange.default,
    aten.arange.start,
    aten.arange.start_step,
    aten.full.default,
    aten.full_like.default,
    aten.new_full.default,
    aten.new_ones.default,
    aten.new_zeros.default,
    aten.ones.default,
    aten.ones_like.default,
    aten.scalar_tensor.default,
    aten.zeros.default,
    aten.zeros_like.default,
}
# Larger ones are made anew: to read them takes as long as to write them, and they would be kept.
LARGEST = 1 << 20


def fold(graph: GraphModule) -> None:
    """Store small constants with the graph: gradients start from ones and zeros at every step.

    Results are equal to the bit. A graph that writes into a tensor stays as it is: it might write
    into a constant.
    """
    if writes(graph):
        return
    known: dict[Node, Tensor] = {}
    for node in graph.graph.nodes:
        if node.op == "call_function" and _is_constant(node, known):
            args, kwargs = map_arg(
                (node.args, node.kwargs), lambda n: known[n] if n in known else _stand_in(n)
            )
            known[node] = node.target(*args, **kwargs)  # type: ignore[operator]
    for node, value in known.items():
        if any(user not in known for user in node.users):
            _keep(graph, node, value)
    graph.graph.eliminate_dead_code()
    graph.recompile()


def _is_constant(node: Node, known: dict[Node, Tensor]) -> bool:
    value = node.meta.get("val")
    if not isinstance(value, Tensor) or value.nbytes > LARGEST:
        return False
    if node.target in MADE:
        return True
    if node.target not in VIEWS and torch.Tag.pointwise not in getattr(node.target, "tags", ()):
        return False
    inputs = node.all_input_nodes
    return not is_drawn(node) and bool(inputs) and all(given in known for given in inputs)


def _stand_in(node: Node) -> Any:
    """Return a tensor like the node's, for operations that read its shape only."""
    value = node.meta["val"]
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=value.device)


def _keep(graph: GraphModule, node: Node, value: Tensor) -> None:
    name = f"_constant_{node.name}"
    graph.register_buffer(name, value, persistent=False)
    with graph.graph.inserting_before(node):
        kept = graph.graph.get_attr(name)
    kept.meta["val"] = node.meta["val"]
    node.replace_all_uses_with(kept)
