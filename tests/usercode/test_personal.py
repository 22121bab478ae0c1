"""Personal heads against plain PyTorch, and models of every kind beside every strategy."""

import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fedlocal import simulate
from fedlocal.rounds.result import Result
from fedlocal.runtime import Vmapped
from strategies import local_sgd
from tests.strategies_in_conf import CONF, one_of_each, strategy_of
from tests.usercode import plain

RUNTIMES = {
    "loop": "loop",
    "direct": Vmapped(program="direct"),
    "recorded": Vmapped(program="recorded"),
}
WEIGHTS = torch.tensor([0.3, 2.0, 1.0], dtype=torch.float64)


class Headed(nn.Module):
    """A body and a head."""

    def __init__(self, *middle: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 6), *middle, nn.Tanh())
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


BODY, HEAD = 4 * 6 + 6, 6 * 3 + 3
# Bytes of a message's header.
HEADER = 32


def frozen_layer() -> nn.Module:
    model = Headed(nn.Linear(6, 6))
    model.body[0].requires_grad_(False)
    return model


def everything() -> nn.Module:
    model = Headed(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Dropout(0.3))
    model.body[0].requires_grad_(False)
    return model


def clients(sizes: tuple[int, ...] = plain.SIZES) -> plain.Pairs:
    rng = torch.Generator().manual_seed(9)
    return [
        (
            torch.randn(n, 4, generator=rng, dtype=torch.float64) + 0.4 * i,
            torch.cat([torch.arange(3), torch.randint(0, 3, (n - 3,), generator=rng)]),
        )
        for i, n in enumerate(sizes)
    ]


def stacked(expected: plain.Plain, names: list[str]) -> Tensor:
    return torch.stack([torch.cat([own[n].ravel() for n in names]) for own in expected.clients])


def with_personal_head(make: Callable[[], nn.Module], runtime: str, loss: nn.Module) -> Result:
    return simulate(
        plain.seeded(make),
        clients(),
        local_sgd(plain.RATE, plain.STEPS),
        rounds=plain.ROUNDS,
        batch_size=plain.BATCH,
        loss=loss,
        runtime=RUNTIMES[runtime],
        device="cpu",
        personal=["head"],
    )


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), nn.CrossEntropyLoss(WEIGHTS)])
def test_a_personal_head_is_fedper(runtime, loss):
    expected = plain.local_sgd(plain.seeded(Headed), clients(), loss, personal=["head"])
    result = with_personal_head(Headed, runtime, loss)
    shared = torch.cat([p.detach().ravel() for p in expected.model.body.parameters()])
    own = stacked(expected, ["head.weight", "head.bias"])
    ours = result.client_states.own.personal
    assert ours.shape == (len(plain.SIZES), HEAD)
    assert float((result.params - shared).abs().max()) <= 1e-12
    assert float((ours - own).abs().max()) <= 1e-12
    # Clients differ, and only what is shared travels.
    assert all(float((ours[i] - ours[j]).abs().max()) > 1e-3 for i, j in ((0, 1), (0, 2), (1, 2)))
    assert result.ledger.uplink_bytes == (BODY * 8 + HEADER) * len(plain.SIZES) * plain.ROUNDS
    # The loss of each client's model on its own examples, by example count.
    total = 0.0
    for (x, y), head in zip(clients(), expected.clients, strict=True):
        with torch.no_grad():
            z = expected.model.body(x) @ head["head.weight"].T + head["head.bias"]
            total += float(loss(z, y)) * len(y)
    count = sum(plain.SIZES)
    assert result.history[-1]["train_loss"] == pytest.approx(total / count, rel=1e-12)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_personal_head_beside_averaged_buffers(runtime):
    def make() -> nn.Module:
        return Headed(nn.BatchNorm1d(6))

    loss = nn.CrossEntropyLoss()
    expected = plain.local_sgd(plain.seeded(make), clients(), loss, personal=["head"])
    result = with_personal_head(make, runtime, loss)
    theirs = stacked(expected, ["head.weight", "head.bias"])
    assert float((result.client_states.own.personal - theirs).abs().max()) <= 1e-12
    assert plain.largest(dict(result.model.state_dict()), expected.tensors) <= 1e-12


# A model, its loss, and what stays with the clients.
MODELS: dict[str, tuple[Callable[[], nn.Module], nn.Module, tuple[str, ...]]] = {
    "batch_norm": (lambda: Headed(nn.BatchNorm1d(6)), nn.CrossEntropyLoss(), ()),
    "dropout": (lambda: Headed(nn.Dropout(0.3)), nn.CrossEntropyLoss(), ()),
    "frozen_layer": (frozen_layer, nn.CrossEntropyLoss(), ()),
    "personal_head": (Headed, nn.CrossEntropyLoss(), ("head",)),
    "class_weights": (Headed, nn.CrossEntropyLoss(WEIGHTS), ()),
    "all_together": (everything, nn.CrossEntropyLoss(WEIGHTS), ("head",)),
}
KINDS = [
    pytest.param(kind, marks=() if kind == "all_together" else pytest.mark.slow) for kind in MODELS
]


@cache
def strategy(name: str):
    return strategy_of(name, "K=3")


def outcome(name: str, kind: str, runtime):
    """The shared parameters of every client and all that they keep, or the line of a refusal."""
    make, loss, personal = MODELS[kind]
    try:
        result = simulate(
            plain.seeded(make),
            clients((5, 9, 12)),
            strategy(name),
            rounds=2,
            batch_size=6,
            loss=loss,
            runtime=runtime,
            device="cpu",
            personal=personal,
        )
    except ValueError as refusal:
        # By the framework, and not a library's complaint about a shape.
        place = traceback.extract_tb(refusal.__traceback__)[-1].filename
        assert Path(place).relative_to(CONF.parent).parts[0] in ("fedlocal", "strategies"), refusal
        assert "\n" not in str(refusal)
        return str(refusal)
    return {
        "params": result.params,
        "clients": result.client_params,
        "loss": torch.tensor(result.history[-1]["train_loss"], dtype=torch.float64),
        **{f"model.{n}": t for n, t in result.model.state_dict().items()},
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", one_of_each("inner", "correction", "uplink", "mixing"))
def test_every_strategy_in_both_runtimes(name, kind):
    loop = outcome(name, kind, "loop")
    many = outcome(name, kind, RUNTIMES["direct"])
    if isinstance(loop, str):
        assert loop == many and len(loop) > 20
        return
    apart = plain.largest(many, loop)
    assert apart <= 1e-10, apart
