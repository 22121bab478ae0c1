"""Replacement of a traced graph's operations by torch's own functions, which are faster to call."""

import torch
from torch.fx import GraphModule

aten = torch.ops.aten

# Functions that take an operation's arguments as they stand. Not any of the operation's name: some
# have other defaults, and what is left out would silently be something else.
FUNCTIONS = {
    aten.add.Tensor: torch.add,
    aten.addcmul.default: torch.addcmul,
    aten.bmm.default: torch.bmm,
    aten.cat.default: torch.cat,
    aten.div.Tensor: torch.div,
    aten.gather.default: torch.gather,
    aten.mean.dim: torch.mean,
    aten.mm.default: torch.mm,
    aten.mul.Tensor: torch.mul,
    aten.neg.default: torch.neg,
    aten.permute.default: torch.permute,
    aten.relu.default: torch.relu,
    aten.reshape.default: torch.reshape,
    aten.scatter_add.default: torch.scatter_add,
    aten.select.int: torch.select,
    aten.sigmoid.default: torch.sigmoid,
    aten.split_with_sizes.default: torch.split_with_sizes,
    aten.sub.Tensor: torch.sub,
    aten.sum.dim_IntList: torch.sum,
    aten.tanh.default: torch.tanh,
    aten.transpose.int: torch.transpose,
    aten.unsqueeze.default: torch.unsqueeze,
    aten.where.self: torch.where,
}


def bind(graph: GraphModule) -> None:
    """Call common operations by torch's functions, which saves a microsecond or two for each.

    Results are equal to the bit. This must be the last pass: no other pass knows these functions.
    """
    for node in graph.graph.nodes:
        node.target = FUNCTIONS.get(node.target, node.target)
    graph.recompile()
