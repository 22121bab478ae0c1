"""Tracing of a function of tensors to the list of its tensor operations.

vmap and grad process a Python function anew at every call, which costs more than the arithmetic of
small models. The resulting operations are the same for the same shapes. A Python value that changes
ends the use of traces (`rounds/changed_values.py`).
"""

import logging
from collections.abc import Callable, Hashable
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from fedlocal.runtime.tracing.graph_passes import simplify
from fedlocal.utils.torch_private import UNTRACEABLE, trace
from fedlocal.vectors.trees import Tree, leaves, like, rows, tree_map

# Flat tensors in, flat tensors out.
Flat = Callable[..., Any]
# Of a recorded graph and the tensors it was recorded with: what to call in its place.
Finishing = Callable[[GraphModule, list[Tensor]], Flat]

log = logging.getLogger(__name__)

# Characters of torch's reason that are kept.
LONGEST = 160

# Messages of the bare RuntimeErrors that torch raises for further untraceable functions: missing
# memory, refusals of vmap, torch.compile inside a trace.
UNTRACEABLE_WORDS = (
    "Cannot access data pointer of Tensor",
    ".numpy() is not supported for tensor subclasses",
    "Batching rule not implemented",
    "functorch",
    "vmap",
    "dynamo-optimized function",
)


class NotTraceable(Exception):
    """A function has no list of operations that is right for all values."""


class Traced:
    """Function of trees of tensors, traced once for each shape of its arguments.

    It must be pure. A function whose operations depend on values cannot be traced, and is called
    anew each time, since a trace would repeat the operations of the first values.

    Attributes:
        failed: Reason why the function could not be traced; "" if it could.
    """

    def __init__(self, function: Callable[..., Tree], finish: Finishing) -> None:
        self._function = function
        self._finish = finish
        self.failed = ""
        # None is ever dropped: a captured CUDA graph may read a recorded one's constants.
        self._graphs: dict[Hashable, tuple[Flat, Tree]] = {}

    @torch.no_grad()
    def __call__(self, *trees: Tree) -> Tree:
        """Return the function's result for these trees."""
        tensors: list[Tensor] = []
        graph, result = self._graph(trees, tensors)
        return like(result, graph(*tensors))

    @torch.no_grad()
    def scan(self, state: Tree, each: Tree, rest: Tree) -> Tree:
        """See `trees.scan`; the graph is looked up only where the state's layout has changed."""
        now, shared = list(leaves(state)), list(leaves(rest))
        graph, known = None, None
        for row in rows(each):
            layout = [(t.shape, t.stride(), t.dtype) for t in now]
            if graph is None or layout != known:
                graph, _ = self._graph((like(state, now), like(each, row), rest), [])
                known = layout
            now = graph(*now, *row, *shared)
        return like(state, now)

    def _graph(self, trees: Tree, tensors: list[Tensor]) -> tuple[Flat, Tree]:
        """Return the graph for such trees, and the form of its result; append their tensors."""
        form = flatten_tree(trees, tensors)
        if form not in self._graphs:
            self._graphs[form] = self._record(trees)
        return self._graphs[form]

    def _record(self, trees: Tree) -> tuple[Flat, Tree]:
        try:
            graph, result = record(self._function, trees)
        except NotTraceable as error:
            log.info("%s is not recorded: %s", self._function, error)
            self.failed = str(error)
            return self._called(trees)
        return self._finish(graph, [t.detach() for t in leaves(trees)]), result

    def _called(self, trees: Tree) -> tuple[Flat, Tree]:
        """Call the function itself on flat tensors."""

        def flat(*tensors: Tensor) -> list[Tensor]:
            return list(leaves(self._function(*like(trees, tensors))))

        return flat, tree_map(lambda _: None, self._function(*trees))


@torch.no_grad()
def record(function: Callable[..., Tree], trees: Tree) -> tuple[GraphModule, Tree]:
    """Trace `function(*trees)`; return its graph on flat tensors, and the form of its result.

    It is traced on tensors without values, so that no operation can depend on a value.

    Raises:
        NotTraceable: An operation depends on a value; the message is torch's.
    """
    result: Tree = ()

    def flat(*tensors: Tensor) -> list[Tensor]:
        nonlocal result
        outcome = function(*like(trees, tensors))
        result = tree_map(lambda _: None, outcome)
        return list(leaves(outcome))

    # Each an object of its own: one tensor in two places would be recorded as one of them.
    inputs = [t.detach() for t in leaves(trees)]
    try:
        graph = trace(flat, inputs)
    except RuntimeError as error:
        known = isinstance(error, UNTRACEABLE) or any(w in str(error) for w in UNTRACEABLE_WORDS)
        if not known:
            raise
        raise NotTraceable(in_a_line(error)) from error
    _check_sizes(graph)
    simplify(graph)
    return graph, result


def in_a_line(error: Exception) -> str:
    """Return torch's reason, shortened."""
    return shorten(str(error) or type(error).__name__, LONGEST, placeholder=" ...")


def _check_sizes(graph: GraphModule) -> None:
    """Raise NotTraceable if a size depends on values, as that of `output[targets == 1]` does."""
    for node in graph.graph.nodes:
        value = node.meta.get("val")
        sizes = value.shape if isinstance(value, Tensor) else (value,)
        if any(isinstance(size, torch.SymInt) for size in sizes):
            raise NotTraceable(f"the size of the outcome of {node.target} depends on values")


def shapes(tree: Tree) -> Hashable:
    """Return a key that is equal for trees of one form with tensors of the same layouts."""
    return flatten_tree(tree, [])


def flatten_tree(tree: Tree, tensors: list[Tensor]) -> Hashable:
    """Append the tree's tensors from left to right; return its `shapes`.

    Both are done at once, and without helpers, since this runs in every round.
    """
    form: list[Any] = []
    _walk(tree, form, tensors)
    return tuple(form)


def _walk(tree: Tree, form: list[Any], tensors: list[Tensor]) -> None:
    # No inner function: one that calls itself keeps the tensors until the garbage is collected.
    if isinstance(tree, tuple):
        form.append(len(tree))
        for part in tree:
            _walk(part, form, tensors)
    else:
        tensors.append(tree)
        form.extend((tree.shape, tree.stride(), tree.dtype))
