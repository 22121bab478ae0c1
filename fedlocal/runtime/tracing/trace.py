"""A function of tensors as the list of tensor operations it comes to, recorded once.

vmap and grad take a Python function apart at every call, and for small models that costs more than
the arithmetic. What they come to is the same list of operations for the same shapes.
"""

import logging
from collections.abc import Callable, Hashable
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedFakeTensorException,
    UnsupportedOperatorException,
)
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from fedlocal.runtime.tracing.passes import simplify
from fedlocal.vectors.trees import Tree, leaves, like, rows, tree_map

# Flat tensors in, flat tensors out.
Flat = Callable[..., Any]
# Of a recorded graph and the tensors it was recorded with: what to call in its place.
Finishing = Callable[[GraphModule, list[Tensor]], Flat]

log = logging.getLogger(__name__)

# Characters of torch's reason that are kept.
LONGEST = 160

# What torch raises where an operation cannot be done without values, or not under its tracer.
UNTRACEABLE = (
    DataDependentOutputException,
    DynamicOutputShapeException,
    GuardOnDataDependentSymNode,
    NotImplementedError,
    UnsupportedFakeTensorException,
    UnsupportedOperatorException,
)
# For some it raises a bare RuntimeError: memory that is not there, vmap's refusals, torch.compile
# inside of a trace.
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


class Recorded:
    """A function of trees of tensors that is recorded once for each shape of its arguments.

    It must be pure. One whose operations depend on values cannot be recorded and is called anew
    each time: a record would repeat what was right for other values.

    Attributes:
        failed: Why the function could not be recorded; "" if it could.
    """

    def __init__(self, function: Callable[..., Tree], finish: Finishing) -> None:
        self._function = function
        self._finish = finish
        self.failed = ""
        # None is ever dropped: a captured CUDA graph may read a recorded one's constants.
        self._graphs: dict[Hashable, tuple[Flat, Tree]] = {}

    @torch.no_grad()
    def __call__(self, *trees: Tree) -> Tree:
        """What the function gives for these trees."""
        tensors: list[Tensor] = []
        graph, result = self._graph(trees, tensors)
        return like(result, graph(*tensors))

    @torch.no_grad()
    def scan(self, state: Tree, each: Tree, rest: Tree) -> Tree:
        """See `trees.scan`; the graph is looked for only where the state's layout has changed."""
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
        """What is called for such trees, and the form of its result; appends their tensors."""
        form = flattened(trees, tensors)
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
        """The function itself, on flat tensors."""

        def flat(*tensors: Tensor) -> list[Tensor]:
            return list(leaves(self._function(*like(trees, tensors))))

        return flat, tree_map(lambda _: None, self._function(*trees))


@torch.no_grad()
def record(function: Callable[..., Tree], trees: Tree) -> tuple[GraphModule, Tree]:
    """The operations of `function(*trees)` on flat tensors, and the form of its result.

    Recorded on tensors without values, so that nothing can depend on one.

    Raises:
        NotTraceable: Something does, and torch says what.
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
        graph = make_fx(flat, tracing_mode="fake", _allow_non_fake_inputs=True)(*inputs)
    except RuntimeError as error:
        known = isinstance(error, UNTRACEABLE) or any(w in str(error) for w in UNTRACEABLE_WORDS)
        if not known:
            raise
        raise NotTraceable(in_a_line(error)) from error
    _check_sizes(graph)
    simplify(graph)
    return graph, result


def in_a_line(error: Exception) -> str:
    """Torch's reason, shortened."""
    return shorten(str(error) or type(error).__name__, LONGEST, placeholder=" ...")


def _check_sizes(graph: GraphModule) -> None:
    """Raise NotTraceable if a size depends on values, as that of `output[targets == 1]` does."""
    for node in graph.graph.nodes:
        value = node.meta.get("val")
        sizes = value.shape if isinstance(value, Tensor) else (value,)
        if any(isinstance(size, torch.SymInt) for size in sizes):
            raise NotTraceable(f"the size of the outcome of {node.target} depends on values")


def shapes(tree: Tree) -> Hashable:
    """Equal for trees of one form with tensors of the same layouts."""
    return flattened(tree, [])


def flattened(tree: Tree, tensors: list[Tensor]) -> Hashable:
    """Appends the tree's tensors, from left to right; its `shapes`.

    Both at once, and by hand: this is done in every round.
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
