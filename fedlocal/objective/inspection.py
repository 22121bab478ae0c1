"""A trial of a user's model and loss on one batch, before the first round.

The trial finds the buffers that `forward` changes and the random functions that it calls, which the
rest of a run has to know. It refuses in one line what no run can compute right.
"""

import pickle
import random
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from fedlocal.objective.criteria import Criterion
from fedlocal.objective.draws import UnkeyedError
from fedlocal.objective.keyed import Keyed
from fedlocal.objective.losses import squared_error
from fedlocal.objective.state import buffers_of, changing, values_of
from fedlocal.utils.torch_private import OperationMode, argument_names

# Beginning of torch's warning.
BROADCAST = "Using a target size"
# Key of the trials. Outcomes with equal keys must be equal, whatever the key is.
KEY = 20_261_128


class Traits(NamedTuple):
    """Properties of a model and a loss.

    changed: Names of the buffers that `forward` changes in train mode.
    random: Whether model or loss draw random numbers in train mode, and in eval mode.
    rowwise: Whether the model in eval mode looks at each example by itself.
    """

    changed: tuple[str, ...]
    random: tuple[bool, bool]
    rowwise: bool


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

    def parameters(self) -> list[Tensor]:
        """Return the trained parameters."""
        return [p for p in self.model.parameters() if p.requires_grad]

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
        whole = not self.inputs.is_floating_point()
        advice = "; to a model of numbers, and not of tokens, pass x.float()" if whole else ""
        with _said(f"the model fails on {about}", advice):
            output = self.model(self.inputs.clone())
        if not isinstance(output, Tensor):
            raise ValueError(
                f"the model returns a {type(output).__name__}, and the loss is of one tensor; wrap"
                " it in a module whose forward returns the tensor, logits for example"
            )
        if output.dim() == 0 or len(output) != len(self.inputs):
            raise ValueError(
                f"the model's output for {len(self.inputs)} examples has the shape"
                f" {list(output.shape)}; its first dimension must be that of the batch"
            )
        return output

    def _loss(self, output: Tensor) -> Tensor:
        shapes = f"output {list(output.shape)} and targets {list(self.targets.shape)}"
        failing = _said(f"the loss fails on {shapes} ({self.targets.dtype})")
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
        if not isinstance(value, Tensor) or value.dim() or not value.is_floating_point():
            found = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"the loss must return one number as a tensor without dimensions, got {found}"
                f" for {shapes}; take the mean over the batch"
            )
        return value


def inspect(
    model: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    inputs: Tensor,
    targets: Tensor,
) -> Traits:
    """Try a model, in train and in eval mode, and a loss on one batch.

    Args:
        model: The model in train mode; it is not changed.
        loss: (output, targets) -> scalar.
        inputs: Inputs of the model, [B, ...].
        targets: [B, ...].

    Raises:
        ValueError: One of them fails, or does what no run can repeat; the message says what.
    """
    trained = Subject(copied(model), loss, inputs, targets)
    before = _tensors(trained.model)
    with _unmoved():
        first = trained.trial()
        _check_written(trained.model, before)
        if not first.loss.requires_grad:
            raise ValueError(
                "the loss does not depend on the model's trained parameters: its output is"
                " detached, rounded, or made by argmax; nothing would be trained"
            )
        _check_leaves(trained, first.loss)
        with _said("the gradient of the loss fails"), Drawn() as later:
            torch.autograd.grad(first.loss, trained.parameters(), allow_unused=True)
        if later.names:
            raise ValueError(
                f"the backward pass draws random numbers ({', '.join(sorted(later.names))}), as"
                " activation checkpointing of dropout does, and they would not be those of the"
                " forward pass; leave the checkpoint or the dropout out"
            )
        _check_pairing(loss, first.output.detach(), targets)
        changed = _changed(trained.model, before)
        _check_repeatable(trained, before, bool(first.drawn))
        evaluated = Subject(copied(model).eval(), loss, inputs, targets)
        second = evaluated.trial()
        rowwise = not second.drawn and _is_rowwise(evaluated)
    random = bool(first.drawn), bool(second.drawn)
    return Traits(changed, random, rowwise)


@torch.no_grad()
def _is_rowwise(subject: Subject) -> bool:
    """Return whether outputs of a batch are those of its halves, at moved parameters."""
    generator = torch.Generator().manual_seed(KEY)
    for p in subject.model.parameters():
        if p.is_floating_point():
            p += 0.1 * torch.randn(p.shape, generator=generator).to(p)
    inputs = subject.inputs
    whole = subject.model(inputs.clone())
    parts = [subject.model(part.clone()) for part in inputs.split(max(1, len(inputs) // 2))]
    scale = float(whole.abs().max())
    allowed = torch.finfo(whole.dtype).eps ** 0.5 * scale if whole.is_floating_point() else 0
    return not np.isfinite(scale) or bool(((torch.cat(parts) - whole).abs() <= allowed).all())


def _check_repeatable(subject: Subject, before: dict[str, Tensor], drawn: bool) -> None:
    """Raise ValueError if the outcome depends on more than the model's tensors and the key."""
    outcomes, attributes, losses = [], [], []
    for _ in range(3):
        _restore(subject.model, before)
        try:
            outcome = subject.trial(keyed=drawn)
        except UnkeyedError as error:
            raise ValueError(f"the model's random numbers cannot be repeated: {error}") from error
        if drawn and outcome.drawn:
            raise ValueError(
                f"the model draws by {', '.join(sorted(outcome.drawn))}, which fedlocal cannot"
                " draw from a run's own keys; use nn.Dropout, torch.rand or torch.bernoulli"
            )
        outcomes.append(outcome)
        attributes.append(values_of(subject.model))
        losses.append(values_of(subject.loss) | buffers_of(subject.loss))
    # The first call may create attributes.
    if name := changing(*attributes[1:]):
        raise ValueError(
            f"forward changes the attribute {name} of the model, which a run cannot carry from"
            " step to step; keep such state in a buffer, or leave it out"
        )
    if name := changing(*losses[1:]):
        raise ValueError(
            f"the loss changes its {name} at every call, and what it changes would depend on the"
            " order in which clients are computed; a loss must keep no state"
        )
    for other in outcomes[1:]:
        if not _same(outcomes[0].output, other.output) or not _same(outcomes[0].loss, other.loss):
            raise ValueError(
                "two calls of the model and the loss on the same batch give different outcomes with"
                " the same parameters and buffers: one of them keeps state; a model may keep it in"
                " a buffer, and a loss must keep none"
            )


def _check_leaves(subject: Subject, loss: Tensor) -> None:
    """Raise ValueError if the loss depends on a trainable tensor that is none of the copy's.

    Tensors that `forward` makes, such as an input with a gradient of its own, are others in a
    second call.
    """
    ours = {id(p) for p in subject.model.parameters()}
    strangers = [leaf for leaf in _leaves(loss) if id(leaf) not in ours]
    if not strangers:
        return
    again = _leaves(replace(subject, model=copied(subject.model)).trial().loss)
    for stranger in strangers:
        if any(leaf is stranger for leaf in again):
            raise ValueError(
                f"the loss depends on a trainable tensor of shape {list(stranger.shape)} that is"
                " none of the parameters that clients train, and would keep its first value: model"
                " or loss reaches it by a function or an object that holds it (a lambda over self,"
                " a penalty over model.parameters()). Make it a parameter of the model that forward"
                " reads as self.name; for an L2 penalty take l2="
            )


def _leaves(value: Tensor) -> list[Tensor]:
    """Return the leaves of a tensor's graph that take a gradient."""
    leaves, seen, waiting = list[Tensor](), set[Any](), [value.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        # Only nodes that accumulate a leaf's gradient have one.
        variable = getattr(node, "variable", None)
        if variable is not None:
            leaves.append(variable)
        waiting += [following for following, _ in node.next_functions]
    return leaves


def _check_written(model: nn.Module, before: dict[str, Tensor]) -> None:
    for name, parameter in model.named_parameters():
        if not torch.equal(parameter.detach(), before[name]):
            raise ValueError(
                f"forward writes to the parameter {name}; compute a new tensor instead, for"
                " example with torch.nn.utils.parametrize"
            )


def _check_pairing(loss: Callable[..., Tensor], output: Tensor, targets: Tensor) -> None:
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


def _changed(model: nn.Module, before: dict[str, Tensor]) -> tuple[str, ...]:
    """Return the names of the buffers that differ from before."""
    return tuple(name for name, b in model.named_buffers() if not _same(b, before[name]))


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(
        a.detach(), b.detach(), rtol=0, atol=0, equal_nan=True
    )


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    every = dict(model.named_parameters()) | dict(model.named_buffers())
    return {name: t.detach().clone() for name, t in every.items()}


@torch.no_grad()
def _restore(model: nn.Module, values: dict[str, Tensor]) -> None:
    for name, buffer in model.named_buffers():
        buffer.copy_(values[name])


def copied(model: nn.Module) -> nn.Module:
    """Return a deep copy.

    Raises:
        ValueError: The model cannot be copied.
    """
    try:
        return deepcopy(model)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"the model cannot be copied ({_first_line(error)}); torch.nn.utils.parametrizations"
            " has a weight_norm and a spectral_norm that can"
        ) from error


class _said:
    """Turns what user code raises into a ValueError of one line.

    Args:
        beginning: First words of the message, which name the call that failed.
        ending: Advice at the end of the message, with a semicolon before it.
    """

    def __init__(self, beginning: str, ending: str = "") -> None:
        self._beginning, self._ending = beginning, ending

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, UnkeyedError):
            said = f"{type(error).__name__}: {_first_line(error)}"
            raise ValueError(f"{self._beginning}: {said}{self._ending}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0]


class _unmoved:
    """Refuses code that moves the global random states of Python or NumPy; torch's is restored."""

    def __enter__(self) -> None:
        self._before, self._torch = _global_states(), torch.get_rng_state()

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        torch.set_rng_state(self._torch)
        for name, state in _global_states().items():
            if state == self._before[name]:
                continue
            raise ValueError(
                f"the model or the loss draws from {name}, which a run cannot repeat for each"
                " client and step; use torch.rand, torch.randint or torch.bernoulli"
            ) from error


def _global_states() -> dict[str, bytes]:
    """Return the pickled global random states of Python and NumPy, by name."""
    states = {"Python's random": random.getstate(), "numpy.random": np.random.get_state()}
    return {name: pickle.dumps(state) for name, state in states.items()}
