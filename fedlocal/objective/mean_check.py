"""Check by the operations of model and loss that a loss is a mean over single examples.

A numerical test is not enough. A loss such as |mean - b| + b equals the mean wherever the mean is
above b, and a term may have the factor 0 at the points that are tested. Whatever is computed from
several examples together must therefore reach the loss by linear operations only.
"""

import operator
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from fedlocal.objective.gradients import Own
from fedlocal.objective.objective import Objective
from fedlocal.utils.torch_private import TO_COPY, UNSAFE_VIEW, UNTRACEABLE, trace
from fedlocal.vectors.trees import leaves, like

aten = torch.ops.aten

# Numbers of examples of two traces: dimensions in which they differ are those of examples.
WIDTHS = (5, 7)
# Operations that are linear in all of their arguments together.
LINEAR = {
    TO_COPY, UNSAFE_VIEW, operator.getitem, aten.add.Scalar, aten.add.Tensor,
    aten.add_.Tensor, aten.alias.default, aten.cat.default, aten.clone.default,
    aten.detach.default, aten.div.Scalar, aten.expand.default, aten.mean.default, aten.mean.dim,
    aten.mul.Scalar, aten.neg.default, aten.reshape.default, aten.select.int,
    aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims, aten.stack.default,
    aten.sub.Scalar, aten.sub.Tensor, aten.sub_.Tensor, aten.sum.default, aten.sum.dim_IntList,
    aten.unsqueeze.default, aten.view.default,
}  # fmt: skip
# Operations that are linear in one argument only.
PRODUCTS = {aten.mul.Tensor, aten.mul_.Tensor}
QUOTIENTS = {aten.div.Tensor, aten.div_.Tensor}


@torch.no_grad()
def is_mean_by_operations(objective: Objective, x: Tensor, own: Own) -> bool:
    """Return whether examples are combined by sums only, followed by linear operations only.

    Args:
        objective: Model, loss and examples.
        x: Shared parameters, [P].
        own: The other parts of the model.
    """
    graphs = [_traced(objective, x, own, width) for width in WIDTHS]
    if any(graph is None for graph in graphs):
        return False
    one, other = ([*graph.graph.nodes] for graph in graphs if graph is not None)
    if [node.target for node in one] != [node.target for node in other]:
        # The number of examples decides what is computed.
        return False
    of_examples = {
        a for a, b in zip(one, other, strict=True) if a.op != "output" and _shape(a) != _shape(b)
    }
    return _only_sums(one, of_examples)


def _traced(objective: Objective, x: Tensor, own: Own, width: int) -> GraphModule | None:
    rows = torch.arange(width, device=x.device) % len(objective.x)
    inputs, targets = objective.normalise(objective.x[rows]), objective.y[rows]
    key = torch.zeros((), dtype=torch.int64, device=x.device) if objective.random[0] else ()

    def value(targets: Tensor, inputs: Tensor, x: Tensor, *parts: Tensor) -> list[Tensor]:
        return [objective.value(x, like(own, parts), inputs, targets, key)]

    try:
        return trace(value, [targets, inputs, x, *leaves(own)])
    except (RuntimeError, *UNTRACEABLE):
        return None


def _only_sums(nodes: list[Node], of_examples: set[Node]) -> bool:
    """Return whether what is computed from several examples together enters linearly."""
    targets = next(node for node in nodes if node.op == "placeholder")
    # Numbers that depend on targets alone, such as how many are not ignored, are the same for all
    # models: what follows from them was tried on the run's targets.
    of_targets = {targets}
    together = set[Node]()
    for node in nodes:
        inputs = node.all_input_nodes
        if node.op == "get_attr" or (
            node.op == "call_function" and all(given in of_targets for given in inputs)
        ):
            of_targets.add(node)
        if node.op != "call_function" or node in of_targets:
            continue
        if together.isdisjoint(inputs):
            if node not in of_examples and not (of_examples - of_targets).isdisjoint(inputs):
                together.add(node)
        elif node in of_examples or not _is_linear(node, together):
            return False
        else:
            together.add(node)
    return True


def _is_linear(node: Node, together: set[Node]) -> bool:
    if node.target in PRODUCTS:
        return not all(arg in together for arg in node.args)
    if node.target in QUOTIENTS:
        return node.args[1] not in together
    return node.target in LINEAR


def _shape(node: Node) -> Any:
    value = node.meta.get("val")
    if isinstance(value, tuple | list):
        return [getattr(each, "shape", None) for each in value]
    return getattr(value, "shape", None)
