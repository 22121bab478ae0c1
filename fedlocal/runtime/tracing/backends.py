"""Backends of a traced step: its own operations, or a compiled program."""

import logging
import shutil
from collections.abc import Callable
from copy import deepcopy
from subprocess import SubprocessError
from time import perf_counter
from typing import Literal

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.utils.flop_counter import FlopCounterMode

from fedlocal.runtime.tracing.concatenations import in_parts
from fedlocal.runtime.tracing.constant_folding import fold
from fedlocal.runtime.tracing.fast_functions import bind
from fedlocal.runtime.tracing.graph_passes import convolution_groups, lay_out
from fedlocal.runtime.tracing.trace import Flat
from fedlocal.utils.torch_private import compile_graph

log = logging.getLogger(__name__)

Program = Literal["auto", "direct", "recorded", "compiled"]
PROGRAMS = ("auto", "direct", "recorded", "compiled")

# Recording takes as long as some hundred steps.
RECORD_FROM = 200
# Compiling takes half a minute, and saves so much in about this many multiplications and additions
# (2 cores; a perceptron as well as LeNet-5). A count and not a clock, so that a run that is
# repeated or resumed is computed by the same program.
COMPILE_FROM = 4e12

# What torch's compiler fails with, all its own errors among them: a graph has no code of the
# user's. A system error is a missing tool, header or folder.
UNCOMPILED = (RuntimeError, OSError, SubprocessError)


class Finish:
    """Last stage of tracing: simplifies a traced graph and chooses its backend.

    Attributes:
        compiles: Whether a graph was compiled so far.
    """

    def __init__(self, program: Program, calls: int) -> None:
        """Set the expected number of calls of the graph."""
        self._program = program
        self._calls = calls
        self.compiles = False

    def __call__(self, graph: GraphModule, inputs: list[Tensor]) -> Flat:
        """Return the function that replaces the graph, given the tensors it was traced with."""
        if self._worth_compiling(graph, inputs):
            program = compile_graph(graph, inputs)
            if program is not None:
                self.compiles = True
                return program
        if inputs[0].device.type == "cpu":
            lay_out(graph)
        fold(graph)
        bind(graph)
        return graph.forward

    def _worth_compiling(self, graph: GraphModule, inputs: list[Tensor]) -> bool:
        if self._program != "auto":
            return self._program == "compiled"
        # The libraries' ordinary convolutions are faster than what a compiler does around them.
        if any(convolution_groups(node) == 1 for node in graph.graph.nodes):
            return False
        return self._calls * flops(graph, inputs) >= COMPILE_FROM and can_compile()


def as_it_is(graph: GraphModule, inputs: list[Tensor]) -> Flat:
    """Run the graph's own operations one after another."""
    bind(graph)
    return graph.forward


def flops(graph: GraphModule, inputs: list[Tensor]) -> int:
    """Count the multiplications and additions in products and convolutions."""
    with FlopCounterMode(display=False) as counter:
        graph(*inputs)
    return counter.get_total_flops()


def can_compile() -> bool:
    """Return whether there is a C++ compiler, which torch's compiler needs on CPU and GPU."""
    return any(shutil.which(name) for name in ("c++", "g++", "clang++", "cl"))


def compile_graph(
    graph: GraphModule,
    inputs: list[Tensor],
    compiler: Callable[[GraphModule, list[Tensor]], Flat] = compile_graph,
) -> Flat | None:
    """Return the compiled graph; torch caches the result on disk for the next run.

    None if compilation fails, or if its first result differs from that of the graph: a wrong
    compiler would not be noticed in the metrics.
    """
    began, expected = perf_counter(), graph(*inputs)
    try:
        fast = _without_constants(graph, inputs, compiler)
        outcome = fast(*inputs)
    except UNCOMPILED as error:
        log.warning("the local step could not be compiled, and runs uncompiled: %s", error)
        return None
    for ours, theirs in zip(outcome, expected, strict=True):
        if not close(ours, theirs):
            log.warning("the compiled local step gives other numbers; it runs uncompiled")
            return None
    log.info("local step compiled in %.0f s", perf_counter() - began)
    return fast


def _without_constants(
    graph: GraphModule, inputs: list[Tensor], compiler: Callable[[GraphModule, list[Tensor]], Flat]
) -> Flat:
    """Return the compiled graph, which receives its constants at every call."""
    rewritten, constants = lift_constants(graph)
    in_parts(rewritten)
    program = compiler(rewritten, [*inputs, *constants])
    return lambda *tensors: program(*tensors, *constants)


def lift_constants(graph: GraphModule) -> tuple[GraphModule, list[Tensor]]:
    """Return a copy whose constants are further arguments, and the constants.

    All examples are among them: a compiler would copy the constants of a module.
    """
    nodes, constants = deepcopy(graph.graph), []
    last = [node for node in nodes.nodes if node.op == "placeholder"][-1]
    for node in nodes.find_nodes(op="get_attr"):
        constants.append(graph.get_buffer(str(node.target)))
        with nodes.inserting_after(last):
            last = nodes.placeholder(f"constant_{len(constants)}")
        last.meta.update(node.meta)
        node.replace_all_uses_with(last)
        nodes.erase_node(node)
    return GraphModule({}, nodes), constants


def close(a: Tensor, b: Tensor) -> bool:
    """Return whether two results differ by rounding only, relative to the largest entry."""
    if not a.is_floating_point():
        return torch.equal(a, b)
    scale = max(float(b.abs().nan_to_num().max()), 1e-30) if b.numel() else 1.0
    allowed = scale * torch.finfo(a.dtype).eps ** 0.75
    return bool(torch.isclose(a, b, rtol=0, atol=allowed, equal_nan=True).all())
