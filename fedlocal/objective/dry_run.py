"""Call of a user's model and loss on one batch, with its failures in one line."""

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fedlocal.data.arrays import short
from fedlocal.objective.criteria import Criterion
from fedlocal.objective.keyed_random import Keyed
from fedlocal.objective.losses import squared_error
from fedlocal.objective.random_ops import UnkeyedError
from fedlocal.utils.torch_private import OperationMode, argument_names

# torch's words for a picture with another number of channels than the layer.
CHANNELS = re.compile(r"to have (\d+) channels, but got")
# Beginning of torch's warning.
BROADCAST = "Using a target size"
# Key of the trials. Outcomes with equal keys must be equal, whatever the key is.
KEY = 20_261_128


class Drawn(OperationMode):
    """Records the names of the random operations that are called inside the context."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the operation as it is."""
        if torch.Tag.nondeterministic_seeded in operation.tags and _draws(operation, args, kwargs):
            self.names.add(str(operation.overloadpacket).removeprefix("aten."))
        return operation(*args, **(kwargs or {}))


def _draws(operation: Any, args: Any, kwargs: dict[str, Any] | None) -> bool:
    """Return whether a call is random; attention is random only with a dropout probability."""
    names = argument_names(operation)
    given = dict(zip(names, args, strict=False)) | (kwargs or {})
    return "dropout_p" not in names or bool(given.get("dropout_p", 0.0))


class Trial(NamedTuple):
    """Outcome of one call of model and loss."""

    output: Tensor
    loss: Tensor
    drawn: set[str]


@dataclass(frozen=True)
class Subject:
    """A model and a loss that are tried on one batch; the model is a copy that may change."""

    model: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]
    inputs: Tensor
    targets: Tensor

    def gradients(self, loss: Tensor) -> dict[str, Tensor | None]:
        """Compute the gradient of each trained parameter, None where the loss has none."""
        trained = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        with failing_as("the gradient of the loss fails"):
            found = torch.autograd.grad(loss, [*trained.values()], allow_unused=True)
        return dict(zip(trained, found, strict=True))

    def trial(self, keyed: bool = False) -> Trial:
        """Call model and loss; random numbers are drawn from a key if `keyed`."""
        key = torch.tensor(KEY, device=self.inputs.device)
        source: AbstractContextManager[Any] = Keyed(key) if keyed else nullcontext()
        with torch.enable_grad(), Drawn() as drawn, source:
            output = self.output()
            return Trial(output, self._loss(output), drawn.names)

    def output(self) -> Tensor:
        """Compute the model's output on the batch, [B, ...]."""
        about = f"a batch of shape {list(self.inputs.shape)} ({self.inputs.dtype})"
        with failing_as(f"the model fails on {about}", self._advice):
            output = self.model(self.inputs.clone())
        if not isinstance(output, Tensor):
            raise ValueError(
                f"the model returns a {type(output).__name__}, and the loss is of one tensor; wrap"
                " it in a module whose forward returns the tensor, logits for example"
            )
        if output.dim() == 0 or len(output) != len(self.inputs):
            squeezed = "; squeeze() drops that dimension of a single example: use squeeze(1)"
            raise ValueError(
                f"the model's output for {len(self.inputs)} examples has the shape"
                f" {list(output.shape)}; its first dimension must be that of the batch"
                f"{squeezed if len(self.inputs) == 1 else ''}"
            )
        return output

    def _advice(self, reason: str) -> str:
        if "more than 1 value per channel" in reason:
            return (
                "; batches need 2 examples or more: take a larger batch_size and clients with more"
                " examples, or a model without batch normalisation"
            )
        if not self.inputs.is_floating_point():
            low, high = int(self.inputs.min()), int(self.inputs.max())
            if "index out of range" in reason:
                return f"; tokens are {low} to {high} here: make the embedding with more entries"
            return "; if the model takes numbers and not tokens, pass x.float()"
        channels = CHANNELS.search(reason)
        if channels and self.inputs.dim() == 4 and self.inputs.shape[-1] == int(channels[1]):
            return "; with the channels last pass x.permute(0, 3, 1, 2)"
        return ""

    def _loss(self, output: Tensor) -> Tensor:
        shapes = f"output {list(output.shape)} and targets {list(self.targets.shape)}"
        about = f"the loss fails on {shapes} ({self.targets.dtype})"
        failing = failing_as(about, partial(_loss_advice, output, self.targets))
        try:
            with failing, warnings.catch_warnings():
                # torch only warns where [n, 1] meets [n], and computes n x n differences.
                warnings.filterwarnings("error", message=BROADCAST)
                value = self.loss(output, self.targets.clone())
        except ValueError as error:
            cause = error.__cause__
            if isinstance(cause, UserWarning) and str(cause).startswith(BROADCAST):
                raise ValueError(_unequal(output, self.targets)) from error
            ours = isinstance(self.loss, Criterion) or self.loss is squared_error
            if isinstance(cause, ValueError) and ours:
                # The loss's own message is complete.
                raise cause from error
            raise
        if isinstance(value, Tensor) and value.is_complex():
            raise ValueError(
                f"the loss is {short(value.dtype)}, and a loss must be real; take value.real, or"
                " value.abs()"
            )
        if not isinstance(value, Tensor) or value.dim() or not value.is_floating_point():
            found = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"the loss must return one number as a tensor without dimensions, got {found}"
                f" for {shapes}; take the mean over the batch"
            )
        return value


def check_pairing(loss: Callable[..., Tensor], output: Tensor, targets: Tensor) -> None:
    """Raise ValueError if the loss broadcasts outputs [B, 1] and targets [B] to a square [B, B]."""
    shapes = {tuple(output.shape), tuple(targets.shape)}
    one_column = output.dim() != targets.dim() and len({s[:1] for s in shapes}) == 1
    if not one_column or not targets.is_floating_point() or output.numel() != targets.numel():
        return
    # With distinct outputs and targets, a loss of pairs changes when the targets are reordered.
    count = torch.arange(output.numel(), dtype=output.dtype, device=output.device)
    outputs, values = (0.1 * count).reshape(output.shape), count.square().reshape(targets.shape)
    together, shuffled = loss(outputs, values), loss(outputs, values.flip(0))
    if len(output) > 1 and torch.allclose(together, shuffled, rtol=1e-5, atol=0):
        raise ValueError(_unequal(output, targets))


def _loss_advice(output: Tensor, targets: Tensor, reason: str) -> str:
    """Return advice on what torch's losses refuse; "" where there is none."""
    if "size" in reason and output.shape == (*targets.shape, 1):
        return f"; give both one shape: y.unsqueeze({targets.dim()})"
    if "not implemented for 'Long'" in reason:
        return "; a loss is called with (output, target), in this order"
    return ""


def _unequal(output: Tensor, targets: Tensor) -> str:
    """Say that a loss broadcasts outputs against targets of another shape, and what to do."""
    shapes = f"output {list(output.shape)} and targets {list(targets.shape)}"
    square = f"the loss compares every output with every target: {shapes} are broadcast to a square"
    if output.shape == (*targets.shape, 1):
        last = targets.dim()
        return f"{square}; give both one shape: y.unsqueeze({last}) or output.squeeze({last})"
    if targets.shape == (*output.shape, 1):
        last = output.dim()
        return f"{square}; give both one shape: y.squeeze({last}) or output.unsqueeze({last})"
    advice = (
        "give both one shape"
        if targets.is_floating_point()
        else "for class indices take a loss of classes, such as cross_entropy"
    )
    return f"the loss compares numbers one by one, and {shapes} differ in shape; {advice}"


def deep_copy(model: nn.Module) -> nn.Module:
    """Return a deep copy.

    Raises:
        ValueError: The model cannot be copied.
    """
    try:
        return deepcopy(model)
    except (RuntimeError, TypeError) as error:
        name = _computed(model)
        if name is None:
            raise ValueError(f"the model cannot be copied: {_first_line(error)}") from error
        raise ValueError(
            f"the model cannot be copied with the attribute {name}, which was computed from its"
            " parameters: leave it out, or keep it detached; torch.nn.utils.parametrizations has a"
            " weight_norm and a spectral_norm that compute theirs in forward"
        ) from error


def _computed(model: nn.Module) -> str | None:
    """Return the name of an attribute that is part of a graph, which torch does not copy."""
    for place, module in model.named_modules():
        for key, value in vars(module).items():
            if isinstance(value, Tensor) and not value.is_leaf:
                return f"{place}.{key}".lstrip(".")
    return None


@contextmanager
def failing_as(beginning: str, advice: Callable[[str], str] = lambda _: "") -> Iterator[None]:
    """Turn what user code raises into a ValueError of one line.

    Args:
        beginning: First words of the message, which name the call that failed.
        advice: Advice on a reason, with a semicolon before it.
    """
    try:
        yield
    except UnkeyedError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {_first_line(error)}"
        raise ValueError(f"{beginning}: {reason}{advice(reason)}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0]
