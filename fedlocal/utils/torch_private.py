"""Parts of torch that are not documented, in one place (docs/decisions/0012-private-apis.md)."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedFakeTensorException,
    UnsupportedOperatorException,
)
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from torch.utils._python_dispatch import TorchDispatchMode

# Names of the dictionaries of a module that hold its own parameters and buffers.
TENSOR_DICTS = ("_parameters", "_buffers")
# A product's result in the shape of its caller, which only traces contain.
UNSAFE_VIEW = torch.ops.aten._unsafe_view.default
# Conversion to another dtype in a trace.
TO_COPY = torch.ops.aten._to_copy.default
# Errors of functions whose operations depend on values, or that the tracer does not know.
UNTRACEABLE = (
    DataDependentOutputException,
    DynamicOutputShapeException,
    GuardOnDataDependentSymNode,
    NotImplementedError,
    UnsupportedFakeTensorException,
    UnsupportedOperatorException,
)


class OperationMode(TorchDispatchMode):
    """A mode that sees every operation inside its context; subclasses define the call."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Nothing is compiled here. The default imports all of torch._dynamo, which takes seconds.
        return False


def argument_names(operation: Any) -> list[str]:
    """Return the names of an operation's arguments, in their order."""
    return [argument.name for argument in operation._schema.arguments]


def writes(operation: Any) -> bool:
    """Return whether an operation changes a tensor in place; functions that are none do not."""
    schema = getattr(operation, "_schema", None)
    return schema is not None and schema.is_mutable


def written(operation: Any) -> list[int]:
    """Return the places of the arguments that an operation changes."""
    infos = [argument.alias_info for argument in operation._schema.arguments]
    return [i for i, info in enumerate(infos) if info is not None and info.is_write]


def tensor_dicts(module: nn.Module) -> tuple[dict[str, Any], ...]:
    """Return the dictionaries that hold a module's own parameters and buffers."""
    return module._parameters, module._buffers


def has_gradient_hook(parameter: Tensor) -> bool:
    """Return whether a hook is registered on a parameter's gradient."""
    hooks = ("_backward_hooks", "_post_accumulate_grad_hooks")
    return any(getattr(parameter, each, None) for each in hooks)


def trace(function: Callable[..., Any], inputs: Sequence[Tensor]) -> GraphModule:
    """Return the operations of a function of tensors, traced on tensors without values.

    Tensors that the function holds keep their values and become constants.
    """
    return make_fx(function, tracing_mode="fake", _allow_non_fake_inputs=True)(*inputs)


@cache
def decompositions() -> dict[Any, Callable[..., Any]]:
    """Return functions that compute operations such as huber_loss by simpler ones."""
    # A tenth of a second, and most runs do not need it.
    from torch._decomp import core_aten_decompositions

    table = core_aten_decompositions()
    # These compare indices with the one that is ignored, which is a part of the loss.
    kept = ("nll_loss", "embedding_dense_backward")
    return {op: table[op] for op in table if not any(name in str(op) for name in kept)}


def compile_graph(graph: GraphModule, inputs: Sequence[Tensor]) -> Callable[..., Any]:
    """Return the program that torch's compiler makes of a graph, for inputs of these layouts.

    `torch.compile` looks at its own state and its arguments at every call, which costs as much as
    a small model's step.
    """
    # Two seconds, and most runs do not compile.
    from torch._inductor import standalone_compile

    return standalone_compile(graph, [*inputs], dynamic_shapes="from_example_inputs")
