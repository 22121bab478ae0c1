"""SHA-256 digests of a parameter vector and of a run."""

import hashlib
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedlocal.rounds.state import Simulation
from fedlocal.vectors.trees import leaves


def params_sha256(params: Tensor) -> str:
    """Return the digest of a parameter vector, in little-endian bytes of its own dtype."""
    values = _as_numpy(params.detach().cpu())
    return hashlib.sha256(values.astype(values.dtype.newbyteorder("<")).tobytes()).hexdigest()


def _as_numpy(values: Tensor) -> NDArray[Any]:
    # numpy has no bfloat16; its bits are those of an int16.
    return (values.view(torch.int16) if values.dtype == torch.bfloat16 else values).numpy()


def run_digest(sim: Simulation) -> str:
    """Return the digest of everything a client's round depends on, except data and messages.

    Server and clients of a Flower run, and a checkpoint and the run that resumes it, must agree on
    it. It covers method, model, loss, batches, augmentation, precision and clipping, and the values
    of frozen tensors and of personal parts.
    """
    fixed = sim.objective.constants
    agreed = (
        version("fedlocal"),
        sim.strategy,
        sim.objective.layout,
        sim.buffers,
        sim.personal_steps,
        sim.objective.l2,
        describe_loss(sim.objective.loss),
        params_sha256(sim.start),
        str(sim.start.dtype),
        len(sim.clients),
        sim.batch_size,
        sim.seed,
        sim.clients.pixels,
        sim.objective.augment,
        sim.objective.precision,
        sim.objective.clip_norm,
        *(f"{name} {describe_loss(tensor)}" for name, tensor in fixed.items()),
        *map(describe_loss, leaves(sim.own)),
    )
    return hashlib.sha256(repr(agreed).encode()).hexdigest()


def describe_loss(value: Any) -> str:
    """Describe a loss by a string that is the same in every process.

    A function is its module and name with bound keywords; a module its class, settings and tensors;
    a plain value its repr; anything else its class.

    >>> from fedlocal.objective.losses import cross_entropy
    >>> describe_loss(partial(cross_entropy, margin=2))
    'fedlocal.objective.losses.cross_entropy(margin=2)'
    """
    if isinstance(value, partial):
        words = [describe_loss(each) for each in value.args]
        words += [f"{key}={describe_loss(each)}" for key, each in sorted(value.keywords.items())]
        return f"{describe_loss(value.func)}({', '.join(words)})"
    if isinstance(value, Tensor):
        return f"{value.dtype}{list(value.shape)} {params_sha256(value)}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(describe_loss, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {describe_loss(each)}" for key, each in value.items()) + "}"
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    return _named(value)


def _named(value: Any) -> str:
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if not isinstance(value, nn.Module):
        return f"{kind} {describe_loss(vars(value))}" if hasattr(value, "__dict__") else kind
    plain = {key: each for key, each in vars(value).items() if not key.startswith("_")}
    parts = {key: describe_loss(each) for key, each in value.named_children()}
    return f"{kind} {describe_loss(plain)} {describe_loss(value.state_dict())} {parts}"
