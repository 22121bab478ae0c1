"""Local SGD in plain PyTorch: modules, autograd and deep copies, and nothing of the framework.

What a run has to share with it are the mini-batches; `batches` asks the framework for them.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Pairs = list[tuple[Tensor, Tensor]]
Named = dict[str, Tensor]

RATE, STEPS, ROUNDS, BATCH, SIZES = 0.05, 3, 2, 16, (5, 17, 40)


@dataclass(frozen=True)
class Plain:
    """What a plain run ends with.

    Attributes:
        model: The mean of the clients' models; what is personal in it is that of the start.
        clients: The personal tensors of each client, by name.
        moved: The largest change of a parameter, to see that a test moves anything.
    """

    model: nn.Module
    clients: list[Named]
    moved: float

    @property
    def tensors(self) -> Named:
        return dict(self.model.state_dict())


def seeded(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """A new model in float64, the same for one seed; the global generator stays as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make().double()


def batches(
    pairs: Pairs, round_index: int, steps: int = STEPS, size: int | None = BATCH, seed: int = 0
) -> list[np.ndarray]:
    """Pool indices of every client's mini-batches in a round, [steps, b] each."""
    from fedlocal import Clients

    everyone = np.arange(len(pairs))
    wanted = np.full(len(pairs), steps)
    return Clients.of(pairs).cohort_batches(everyone, wanted, size, seed, round_index)


def local_sgd(
    model: nn.Module,
    pairs: Pairs,
    loss: Callable[[Tensor, Tensor], Tensor],
    rounds: int = ROUNDS,
    steps: int = STEPS,
    size: int | None = BATCH,
    personal: Sequence[str] = (),
    buffers: str = "average",
    rate: float = RATE,
) -> Plain:
    """Rounds of local SGD over all clients, whose models weigh the same in the mean."""
    x, y = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    server = deepcopy(model)
    own = _kept(server, personal, buffers)
    kept = [_only(server, own) for _ in pairs]
    for t in range(rounds):
        ends = []
        for k, order in enumerate(batches(pairs, t, steps, size)):
            client = deepcopy(server)
            client.load_state_dict(kept[k], strict=False)
            _descend(client, x, y, loss, order, rate, buffers)
            kept[k] = _only(client, own)
            ends.append({n: v for n, v in client.state_dict().items() if n not in own})
        server.load_state_dict(_mean(ends), strict=False)
    before, after = dict(model.named_parameters()), dict(server.named_parameters())
    moved = max(float((after[n] - before[n]).detach().abs().max()) for n in before)
    assert isfinite(moved)
    return Plain(server, kept, moved)


def _descend(
    client: nn.Module, x: Tensor, y: Tensor, loss: Any, order: np.ndarray, rate: float, buffers: str
) -> None:
    client.train()
    if buffers == "frozen":
        for module in client.modules():
            if "running_mean" in dict(module.named_buffers(recurse=False)):
                module.eval()
    trained = [p for p in client.parameters() if p.requires_grad]
    for rows in order:
        ids = torch.from_numpy(np.array(rows))
        value = loss(client(x[ids].clone()), y[ids])
        grads = torch.autograd.grad(value, trained, allow_unused=True)
        with torch.no_grad():
            for p, g in zip(trained, grads, strict=True):
                if g is not None:
                    p -= rate * g


def _kept(model: nn.Module, personal: Sequence[str], buffers: str) -> set[str]:
    """Names of the tensors that stay with their client."""
    named = {
        name
        for name, _ in model.named_parameters()
        for pattern in personal
        if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")
    }
    if buffers == "personal":
        named |= {name for name, _ in model.named_buffers()}
    return named


def _only(model: nn.Module, names: set[str]) -> Named:
    return {n: v.clone() for n, v in model.state_dict().items() if n in names}


def _mean(ends: list[Named]) -> Named:
    return {name: _mean_of([end[name] for end in ends]) for name in ends[0]}


def _mean_of(tensors: list[Tensor]) -> Tensor:
    like, whole = tensors[0], torch.stack([t.double() for t in tensors]).mean(0)
    return whole.to(like.dtype) if like.is_floating_point() else whole.round().to(like.dtype)


def largest(ours: Named, theirs: Named) -> float:
    """The largest difference of tensors with the same names and shapes; masks may be infinite."""
    assert ours.keys() == theirs.keys()
    assert all(ours[n].shape == theirs[n].shape for n in ours)
    pairs = [(ours[n].double(), theirs[n].double()) for n in ours]
    assert not any(bool(a.isnan().any() or b.isnan().any()) for a, b in pairs)
    return max(float(torch.where(a == b, 0.0, a - b).abs().max()) for a, b in pairs)
