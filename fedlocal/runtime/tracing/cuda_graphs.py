"""Local steps of a round as one CUDA graph: captured once, then replayed with other tensors.

The host launches one graph instead of thousands of kernels, and waits for nothing.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import NamedTuple

import torch
from torch import Tensor

from fedlocal.runtime.tracing.trace import shapes
from fedlocal.vectors.trees import Tree, leaves, like, tree_map

# A captured graph keeps its memory for itself.
KEPT = 8

# Captures what a function does: how to do it again, and the tree that is filled by it.
Capture = Callable[[Callable[[], Tree]], tuple[Callable[[], None], Tree]]


class Captured(NamedTuple):
    """Captured call: its inputs, its replay, and its result."""

    inputs: Tree
    replay: Callable[[], None]
    result: Tree


def cuda_capture(function: Callable[[], Tree]) -> tuple[Callable[[], None], Tree]:
    """Capture `function` on the current GPU as a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    # Once beside the capture, so that libraries have their workspaces and steps are recorded.
    with torch.cuda.stream(stream):
        function()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = function()
    return graph.replay, result


class CudaGraphed:
    """Function of trees of tensors, captured once for each shape of its arguments."""

    def __init__(self, function: Callable[..., Tree], capture: Capture = cuda_capture) -> None:
        self._function = function
        self._capture = capture
        self._captured: OrderedDict[Hashable, Captured] = OrderedDict()

    @torch.no_grad()
    def __call__(self, *trees: Tree) -> Tree:
        """Return the function's result for these trees, in new tensors."""
        form = shapes(trees)
        if form not in self._captured:
            self._captured[form] = self._capture_of(trees)
            if len(self._captured) > KEPT:
                self._captured.popitem(last=False)
        self._captured.move_to_end(form)
        inputs, replay, result = self._captured[form]
        for place, given in zip(leaves(inputs), leaves(trees), strict=True):
            place.copy_(given)
        replay()
        # The next replay writes over the result.
        return like(result, [t.clone() for t in leaves(result)])

    def _capture_of(self, trees: Tree) -> Captured:
        inputs = tree_map(_own, trees)
        replay, result = self._capture(lambda: self._function(*inputs))
        return Captured(inputs, replay, result)


def _own(t: Tensor) -> Tensor:
    """Return a copy with its own memory for every entry, so that it can be written."""
    return t.clone(memory_format=torch.contiguous_format)
