"""Construction of a run's objective from a user's model and loss, or a one-line refusal."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedlocal.data.arrays import place_like
from fedlocal.data.clients import Clients
from fedlocal.data.examples import check_indices, check_targets
from fedlocal.data.pixels import normalise
from fedlocal.objective.accuracy import function_of, ignored_target
from fedlocal.objective.augment import Augment, NoAugment
from fedlocal.objective.criteria import Criterion
from fedlocal.objective.criteria import place_loss as on_device
from fedlocal.objective.dry_run import Subject, deep_copy
from fedlocal.objective.gradient_check import check_gradient
from fedlocal.objective.gradients import Own
from fedlocal.objective.losses import cross_entropy
from fedlocal.objective.model import (
    check_dtype,
    check_kept,
    check_model,
    check_parameters,
    freeze,
    in_train_mode,
    share_tensors,
    split,
)
from fedlocal.objective.model import (
    place_model as placed_model,
)
from fedlocal.objective.model_traits import Traits, inspect
from fedlocal.objective.objective import Layout, Loss, Objective
from fedlocal.objective.options import Buffers, ModelOptions
from fedlocal.objective.precision import Precision
from fedlocal.objective.rowwise_check import WIDTHS, is_rowwise
from fedlocal.utils.arrays import IntArray
from fedlocal.utils.checks import check_number, check_types
from fedlocal.vectors.flat import BufferSpec

# Number of examples in the trial before the first round.
TRIED = 8


@dataclass(frozen=True)
class StepOptions:
    """Options of local steps; see `Objective`."""

    augment: Augment = NoAugment()
    precision: Precision = "full"
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        """Refuse an augmentation of another type, or a bound that is not positive."""
        check_types(augment=(self.augment, Augment))
        if self.clip_norm is not None:
            advice = "; null (None) clips nothing"
            check_number("clip_norm", self.clip_norm, advice, above=0, infinite=True)


class Start(NamedTuple):
    """The objective of a run, and the vectors that it starts from.

    shared: Shared parameters, [P].
    own: Personal parameters and changing buffers.
    """

    objective: Objective
    shared: Tensor
    own: Own


def objective_of(
    model: nn.Module,
    loss: Loss,
    clients: Clients,
    batch_size: int | None,
    options: ModelOptions,
    steps: StepOptions,
    device: torch.device,
    dtype: torch.dtype | None,
) -> Start:
    """Copy a model to its device, split its tensors and try it on one batch.

    Raises:
        ValueError: Model, loss or options cannot be computed right; the message says why.
    """
    check_model(model)
    check_dtype(dtype)
    model = placed_model(model, device, dtype)
    freeze(model, options.frozen)
    check_parameters(model)
    shared, personal = split(model, options.personal)
    named = dict(model.named_parameters())
    like = named[shared.names[0]]
    check_kept(like.dtype)
    loss = on_device(loss, like)
    x, y = place_like(clients.x, like, "x"), place_like(clients.y, like, "y")
    scale = None if clients.pixels is None else clients.pixels.scale(like)

    def examples(rows: IntArray) -> tuple[Tensor, Tensor]:
        ids = torch.from_numpy(rows).to(x.device)
        return normalise(x[ids], scale), y[ids]

    steps.augment.check(examples(np.arange(1))[0])
    first = Subject(deep_copy(model).eval(), loss, *examples(np.arange(min(len(x), TRIED))))
    with torch.no_grad():
        _check_targets(loss, first.output(), y)
    traits, still = _tried(model, loss, clients, batch_size, examples, options.buffers)
    _check_real(traits.changed, model)
    # Outputs that are drawn at random depend on the batch as well.
    rowwise = not traits.random[1] and is_rowwise(
        deep_copy(model).eval(), _probe(clients, examples)
    )
    layout = Layout(shared, personal, BufferSpec.from_names(traits.changed, model))
    objective = Objective(
        model=in_train_mode(model, still),
        evaluated=share_tensors(model).eval(),
        loss=loss,
        x=x,
        y=y,
        layout=layout,
        l2=options.l2,
        scale=scale,
        augment=steps.augment,
        precision=steps.precision,
        clip_norm=steps.clip_norm,
        random=traits.random,
        rowwise=rowwise,
    )
    objective.check(like.dtype)
    named |= dict(model.named_buffers())
    own = Own(
        personal.flat(named, like) if personal.names else (),
        layout.buffers.flat(named, like) if traits.changed else (),
    )
    start = Start(objective, shared.flat(named, like), own)
    check_gradient(*start, torch.arange(min(len(x), TRIED), device=x.device))
    return start


def _check_real(changed: tuple[str, ...], model: nn.Module) -> None:
    for name in changed:
        if model.get_buffer(name).is_complex():
            raise ValueError(
                f"forward changes the buffer {name}, which is complex, and vectors are real; keep"
                " it as [..., 2] and use torch.view_as_complex, or take buffers='frozen'"
            )


def check_test(start: Start, x: Tensor, y: Tensor) -> None:
    """Check all test targets against the model's output, and try the loss on the first examples.

    Args:
        start: The run.
        x: Test inputs, kept like those of the run, [n, ...].
        y: Test targets, [n, ...].

    Raises:
        ValueError: Model or loss cannot take them.
    """
    objective, loss = start.objective, start.objective.loss
    model, few = deep_copy(objective.evaluated), objective.normalise(x[:TRIED])
    subject = Subject(model, loss, few, y[:TRIED])
    try:
        with torch.no_grad():
            output = subject.output()
            # A copy: balanced weights are those of the training examples.
            _check_targets(deepcopy(loss) if isinstance(loss, Criterion) else loss, output, y)
        subject.trial(keyed=objective.random[1])
    except ValueError as error:
        raise ValueError(f"test: {error}") from error


def _check_targets(loss: Loss, output: Tensor, targets: Tensor) -> None:
    """Check all targets against the model's output, for losses whose targets are known."""
    if isinstance(loss, Criterion):
        loss.fit(output, targets)
    elif loss is cross_entropy:
        check_targets(output.shape, targets)
    elif _takes_indices(loss):
        ignored = ignored_target(loss)
        check_indices(output.shape, targets, -100 if ignored is None else ignored)


def _takes_indices(loss: Loss) -> bool:
    """Return whether the loss is one of torch's for class indices."""
    functions = (F.cross_entropy, F.nll_loss)
    return isinstance(loss, nn.CrossEntropyLoss | nn.NLLLoss) or function_of(loss) in functions


def _tried(
    model: nn.Module,
    loss: Loss,
    clients: Clients,
    batch_size: int | None,
    pool: Callable[[IntArray], tuple[Tensor, Tensor]],
    buffers: Buffers,
) -> tuple[Traits, tuple[str, ...]]:
    """Return the traits of the model, and the names of its modules that stay in eval mode."""
    widths = clients.batch_widths(batch_size)
    largest = max(widths, key=lambda k: widths[k], default=None)
    rows = np.zeros(TRIED, int) if largest is None else clients.examples(largest)[:TRIED]
    given, still = pool(rows) if widths else _drawn(*pool(rows)), ()
    traits = inspect(in_train_mode(model, still), loss, *given)
    if buffers == "frozen" and traits.changed:
        still = tuple(dict.fromkeys(name.rpartition(".")[0] for name in traits.changed))
        traits = inspect(in_train_mode(model, still), loss, *given)
    if len(rows) > 2:
        # Targets [8] may fit an output [8, 8] by chance, and [7] do not.
        Subject(in_train_mode(deepcopy(model), still), loss, *(part[:-1] for part in given)).trial()
    if widths:
        smallest = min(widths, key=lambda k: widths[k])
        if widths[smallest] < len(rows):
            rows = clients.examples(smallest)[: widths[smallest]]
            _check_smallest(in_train_mode(model, still), loss, smallest, pool(rows))
    return traits, still


def _probe(clients: Clients, pool: Callable[[IntArray], tuple[Tensor, Tensor]]) -> Tensor:
    """Return inputs of examples that are in this process, or random ones where none are."""
    if clients.here is None:
        return pool(np.arange(min(len(clients.x), max(WIDTHS))))[0]
    if not clients.here:
        return _drawn(*pool(np.zeros(max(WIDTHS), int)))[0]
    return pool(np.concatenate([clients.examples(k) for k in clients.here])[: max(WIDTHS)])[0]


def _drawn(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Draw examples in place of those that other machines hold: zeros may hide what changes."""
    if not x.is_floating_point():
        return x, y
    generator = torch.Generator().manual_seed(TRIED)
    return torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x), y


def _check_smallest(
    model: nn.Module, loss: Loss, client: int, given: tuple[Tensor, Tensor]
) -> None:
    """Raise ValueError, with the client's number, if its batch is too small for the model."""
    try:
        Subject(deepcopy(model), loss, *given).trial()
    except ValueError as error:
        advice = "; give every client more examples, or use a model and a loss that take so few"
        known = "; " in str(error)
        raise ValueError(
            f"client {client} has batches of {len(given[0])}: {error}{'' if known else advice}"
        ) from error
