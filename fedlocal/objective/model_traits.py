"""Properties of a user's model and loss, found on one batch before the first round.

They are the buffers that `forward` changes and the random functions that it calls. Models and
losses that no run can compute correctly raise a ValueError of one line.
"""

import pickle
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from fedlocal.objective.dry_run import Drawn, Subject, check_pairing, deep_copy, failing_as
from fedlocal.objective.random_ops import UnkeyedError
from fedlocal.objective.state import buffers_of, first_difference, values_of

# Public names of random operations of torch, for messages.
WRITTEN = {
    "_sample_dirichlet": "torch.distributions.Beta or Dirichlet",
    "_standard_gamma": "torch.distributions.Gamma, Chi2 or StudentT",
    "binomial": "torch.binomial",
    "poisson": "torch.poisson",
}


# Number of inspections in which a global random state has to change before the model is refused.
# Other threads of the process may draw from it as well, as Flower's connections do.
ATTEMPTS = 3


class Traits(NamedTuple):
    """Properties of a model and a loss.

    changed: Names of the buffers that `forward` changes in train mode.
    random: Whether model or loss draw random numbers in train mode, and in eval mode.
    """

    changed: tuple[str, ...]
    random: tuple[bool, bool]


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
    outcome, moved = _attempt(model, loss, inputs, targets)
    for _ in range(ATTEMPTS - 1):
        if moved:
            outcome, moved = _attempt(model, loss, inputs, targets)
    failure = outcome if isinstance(outcome, ValueError) else None
    if moved:
        raise ValueError(
            f"the model or the loss draws from {moved}, which a run cannot repeat for each client"
            " and step; use torch.rand, torch.randint or torch.bernoulli"
        ) from failure
    if isinstance(outcome, ValueError):
        raise outcome
    return outcome


def _attempt(
    model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], inputs: Tensor, targets: Tensor
) -> tuple[Traits | ValueError, str]:
    """Return the traits or the refusal, and which global random state has changed; "" for none."""
    before, of_torch = _global_states(), torch.get_rng_state()
    try:
        outcome = _traits(model, loss, inputs, targets)
    except ValueError as error:
        outcome = error
    finally:
        torch.set_rng_state(of_torch)
    after = _global_states()
    return outcome, next((name for name in before if before[name] != after[name]), "")


def _traits(
    model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], inputs: Tensor, targets: Tensor
) -> Traits:
    trained = Subject(deep_copy(model), loss, inputs, targets)
    before = _tensors(trained.model)
    first = trained.trial()
    _check_written(trained.model, before)
    if not first.loss.requires_grad:
        raise ValueError(
            "the loss does not depend on the model's trained parameters: its output is"
            " detached, rounded, or made by argmax; nothing would be trained"
        )
    _check_leaves(trained, first.loss)
    with Drawn() as later:
        gradients = trained.gradients(first.loss)
    if later.names:
        raise ValueError(
            f"the backward pass draws random numbers ({', '.join(sorted(later.names))}), as"
            " activation checkpointing of dropout does, and they would not be those of the"
            " forward pass; leave the checkpoint or the dropout out"
        )
    _check_dense(gradients)
    check_pairing(loss, first.output.detach(), targets)
    changed = _changed(trained.model, before)
    _check_repeatable(trained, before, bool(first.drawn))
    evaluated = Subject(deep_copy(model).eval(), loss, inputs, targets)
    second = evaluated.trial()
    with torch.no_grad(), failing_as("the loss fails in evaluations, which take no gradients"):
        loss(second.output.detach().clone(), targets.clone())
    return Traits(changed, (bool(first.drawn), bool(second.drawn)))


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
            drawn_by = ", ".join(sorted(WRITTEN.get(name, name) for name in outcome.drawn))
            raise ValueError(
                f"the model draws by {drawn_by}, which fedlocal cannot draw from a run's own keys;"
                " use torch.rand, torch.randn or torch.bernoulli, or draw a table of values once,"
                " keep it in a buffer and pick from it by torch.randint"
            )
        outcomes.append(outcome)
        attributes.append(values_of(subject.model))
        losses.append(values_of(subject.loss) | buffers_of(subject.loss))
    # The first call may create attributes.
    if name := first_difference(*attributes[1:]):
        raise ValueError(
            f"forward changes the attribute {name} of the model, which a run cannot carry from"
            " step to step; keep such state in a buffer, or leave it out"
        )
    if name := first_difference(*losses[1:]):
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
    """Raise ValueError if the loss depends on a trainable tensor that is no parameter of the copy.

    Tensors that `forward` creates are not meant: a second call creates other ones.
    """
    ours = {id(p) for p in subject.model.parameters()}
    strangers = [leaf for leaf in _leaves(loss) if id(leaf) not in ours]
    if not strangers:
        return
    again = _leaves(replace(subject, model=deep_copy(subject.model)).trial().loss)
    for stranger in strangers:
        if any(leaf is stranger for leaf in again):
            raise ValueError(
                f"the loss depends on a trainable tensor of shape {list(stranger.shape)} that is"
                " none of the parameters that clients train, and would keep its first value: model"
                " or loss reaches it by a function or an object that holds it (a lambda over self,"
                " a penalty over model.parameters()). Make it a parameter of the model that forward"
                " reads as self.name; for an L2 penalty take l2="
            )


def _check_dense(gradients: dict[str, Tensor | None]) -> None:
    for name, gradient in gradients.items():
        if gradient is not None and gradient.is_sparse:
            raise ValueError(
                f"the gradient of the parameter {name} is sparse, and clients exchange dense"
                " vectors; make its embedding without sparse=True"
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


def _global_states() -> dict[str, bytes]:
    """Return the pickled global random states of Python and NumPy, by name."""
    states = {"Python's random": random.getstate(), "numpy.random": np.random.get_state()}
    return {name: pickle.dumps(state) for name, state in states.items()}
