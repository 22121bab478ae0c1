"""Makes a user's model and loss into the objective of a run, or refuses them in one line."""

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedlocal.accuracy import function_of, ignored_target
from fedlocal.augment import Augment, NoAugment
from fedlocal.client import Own
from fedlocal.clients import Clients, IntArray
from fedlocal.criteria import Criterion
from fedlocal.criteria import placed as on_device
from fedlocal.data.arrays import placed
from fedlocal.data.examples import check_indices, check_targets
from fedlocal.data.pixels import numbers
from fedlocal.flat import BufferSpec, ParamSpec
from fedlocal.losses import cross_entropy
from fedlocal.objective.agreement import check_gradient
from fedlocal.objective.inspection import Subject, Traits, copied, inspect
from fedlocal.objective.objective import Layout, Loss, Objective
from fedlocal.options import Buffers, ModelOptions
from fedlocal.precision import Precision
from fedlocal.wire import DTYPES

# Number of examples in the trial before the first round.
TRIED = 8


@dataclass(frozen=True)
class StepOptions:
    """Options of local steps; see `Objective`."""

    augment: Augment = NoAugment()
    precision: Precision = "full"
    clip_norm: float | None = None


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
    _check_model(model)
    _check_dtype(dtype)
    model = _placed(model, device, dtype)
    _freeze(model, options.frozen)
    shared, personal = _split(model, options.personal)
    named = dict(model.named_parameters())
    like = named[shared.names[0]]
    _check_dtype(like.dtype)
    loss = on_device(loss, like)
    x, y = placed(clients.x, like, "x"), placed(clients.y, like, "y")
    scale = None if clients.pixels is None else clients.pixels.scale(like)

    def examples(rows: IntArray) -> tuple[Tensor, Tensor]:
        ids = torch.from_numpy(rows).to(x.device)
        return (x[ids] if scale is None else numbers(x[ids], scale)), y[ids]

    steps.augment.check(examples(np.arange(1))[0])
    first = Subject(copied(model).eval(), loss, *examples(np.arange(min(len(x), TRIED))))
    with torch.no_grad():
        _check_targets(loss, first.output(), y)
    traits, still = _tried(model, loss, clients, batch_size, examples, options.buffers)
    layout = Layout(shared, personal, BufferSpec.named_as(traits.changed, model))
    objective = Objective(
        model=in_train_mode(model, still),
        evaluated=_sharing(model).eval(),
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
        rowwise=traits.rowwise,
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


def in_train_mode(model: nn.Module, still: Sequence[str]) -> nn.Module:
    """Put the model into train mode, and the modules named `still` into eval mode."""
    model.train()
    for name in still:
        model.get_submodule(name).eval()
    return model


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
    here = range(len(clients)) if clients.here is None else clients.here
    widths = {k: sum(clients.batch_quotas(k, batch_size)) for k in here}
    largest = max(widths, key=lambda k: widths[k], default=None)
    rows = np.zeros(TRIED, int) if largest is None else clients.examples(largest)[:TRIED]
    given, still = pool(rows) if widths else _drawn(*pool(rows)), ()
    traits = inspect(in_train_mode(model, still), loss, *given)
    if buffers == "frozen" and traits.changed:
        still = tuple(dict.fromkeys(name.rpartition(".")[0] for name in traits.changed))
        traits = inspect(in_train_mode(model, still), loss, *given)
    if widths:
        smallest = min(widths, key=lambda k: widths[k])
        if widths[smallest] < len(rows):
            rows = clients.examples(smallest)[: widths[smallest]]
            _check_smallest(in_train_mode(model, still), loss, smallest, pool(rows))
    return traits, still


def _drawn(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Examples in the place of those that other machines hold: zeros may hide what changes."""
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
        raise ValueError(
            f"client {client} has batches of {len(given[0])}: {error}; give every client more"
            " examples, or use a model without batch normalisation"
        ) from error


def _check_model(model: Any) -> None:
    if isinstance(model, type):
        raise ValueError(
            f"model is the class {model.__name__}, which has not been made yet; write"
            f" {model.__name__}(...)"
        )
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"model must be a torch.nn.Module, got {model!r}; put a function into a module's"
            " forward"
        )


def _check_dtype(dtype: Any) -> None:
    if dtype is not None and dtype not in DTYPES:
        allowed = ", ".join(str(each) for each in DTYPES)
        raise ValueError(f"dtype must be one of {allowed}, got {dtype!r}")


def _placed(model: nn.Module, device: torch.device, dtype: torch.dtype | None) -> nn.Module:
    for name, parameter in model.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise ValueError(
                f"the parameter {name} is lazy and has no shape yet; call the model once on a"
                " batch before it is given to fedlocal"
            )
    return copied(model).to(device, dtype)


def _freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    named = dict(model.named_parameters())
    for name in matching("frozen", patterns, named):
        named[name].requires_grad_(False)


def _split(model: nn.Module, personal: Sequence[str]) -> tuple[ParamSpec, ParamSpec]:
    """Return the layouts of the shared and of the personal parameters."""
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    if not trained:
        raise ValueError(_nothing_trained(model))
    everything = matching("personal", personal, [name for name, _ in model.named_parameters()])
    own = set(everything).intersection(trained)
    if everything and not own:
        raise ValueError(
            f"personal={list(personal)} matches frozen parameters only ({everything[0]}, ...);"
            " leave them out of personal, or out of frozen"
        )
    if own == set(trained):
        raise ValueError(
            f"personal={list(personal)} matches all trained parameters, and clients would have"
            " nothing to exchange; leave some of them out"
        )
    return ParamSpec.of(model, lambda n: n not in own), ParamSpec.of(model, lambda n: n in own)


def _nothing_trained(model: nn.Module) -> str:
    frozen = next((name for name, _ in model.named_parameters()), None)
    if frozen is None:
        return "the model has no parameters; nothing would be trained"
    return (
        f"all parameters of the model are frozen ({frozen}, ...) and nothing would be trained;"
        " leave some out of frozen=, or set requires_grad_(True)"
    )


def matching(key: str, patterns: Sequence[str], names: Iterable[str]) -> list[str]:
    """Return the names that match one of the patterns; a module's name matches all inside of it.

    >>> matching("frozen", ["body", "head.b*"], ["body.0.weight", "head.weight", "head.bias"])
    ['body.0.weight', 'head.bias']

    Raises:
        ValueError: A pattern is no text, or matches nothing.
    """
    names, found = list(names), set()
    if not isinstance(patterns, Sequence) or not all(isinstance(each, str) for each in patterns):
        given = patterns if isinstance(patterns, Iterable) else ["head"]
        raise ValueError(
            f"{key} must be a list of patterns, each text, got {patterns!r}; for example"
            f" {key}={[str(each) for each in given]}"
        )
    for pattern in patterns:
        fitting = {n for n in names if fnmatchcase(n, pattern) or fnmatchcase(n, f"{pattern}.*")}
        if not fitting:
            near = get_close_matches(pattern, names, n=3, cutoff=0.3) or names[:3]
            raise ValueError(
                f"{key}: no parameter matches {pattern!r}; there are {', '.join(near)}, ..."
            )
        found |= fitting
    return [name for name in names if name in found]


def _sharing(model: nn.Module) -> nn.Module:
    """Return a copy of the modules that shares their tensors."""
    tensors = chain(model.parameters(), model.buffers())
    return deepcopy(model, {id(t): t for t in tensors})
