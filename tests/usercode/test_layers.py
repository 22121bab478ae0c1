"""Layers of torch.nn and of one's own, on ragged clients, against plain PyTorch."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torchvision.models import resnet18

from fedlocal import simulate
from fedlocal.runtime import Vmapped
from strategies import local_sgd
from tests.choices import sample
from tests.usercode import plain

# torch says of some of its layers that it has no fast rule for many at once.
pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop")

RUNTIMES = {
    "loop": "loop",
    "direct": Vmapped(program="direct"),
    "recorded": Vmapped(program="recorded"),
}
LOSS = nn.CrossEntropyLoss()
# Bytes of a message's header.
HEADER = 32


def clients(*shape: int, sizes: tuple[int, ...] = plain.SIZES) -> plain.Pairs:
    rng = torch.Generator().manual_seed(5)
    return [
        (
            torch.randn(n, *shape, generator=rng, dtype=torch.float64) * (1 + i) + 0.5 * i,
            torch.randint(0, 3, (n,), generator=rng),
        )
        for i, n in enumerate(sizes)
    ]


def dense(*middle: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), *middle, nn.Tanh(), nn.Linear(6, 3))


def images(*middle: nn.Module) -> nn.Module:
    last = nn.Linear(4 * 16, 3)
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), *middle, nn.ReLU(), nn.Flatten(), last)


class Last(nn.Module):
    """A recurrent layer and a head on the outputs of its last step."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x)[0][:, -1])


class Cell(nn.Module):
    """A recurrent cell in a loop of Python."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell, self.head = cell, nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for t in range(x.shape[1]):
            state = self.cell(x[:, t], state)
        return self.head(state[0] if isinstance(state, tuple) else state)


class Causal(nn.Module):
    """Self-attention in which no position sees a later one, with the mask as a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 3)
        self.register_buffer("mask", torch.full((3, 3), -torch.inf).triu(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x, x, x, attn_mask=self.mask)[0].mean(1))


class Adapted(nn.Module):
    """A frozen linear layer and a trained change of low rank."""

    def __init__(self, layer: nn.Linear, rank: int = 2) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.down = nn.Parameter(0.3 * torch.randn(rank, layer.in_features))
        self.up = nn.Parameter(torch.zeros(layer.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + x @ self.down.T @ self.up.T


class Writes(nn.Module):
    """Writes into what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x.mul_(2).sub_(x.mean(1, keepdim=True))
        x[:, 0] = 1.0
        return self.head(x)


def frozen_backbone() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))
    model[:2].requires_grad_(False)
    return model


NORMS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "batch_norm": (lambda: dense(nn.BatchNorm1d(6)), (4,)),
    "batch_norm_stateless": (lambda: dense(nn.BatchNorm1d(6, track_running_stats=False)), (4,)),
    "batch_norm_cumulative": (lambda: dense(nn.BatchNorm1d(6, momentum=None)), (4,)),
    "batch_norm_plain": (lambda: dense(nn.BatchNorm1d(6, affine=False, momentum=0.3)), (4,)),
    "batch_norm_2d": (lambda: images(nn.BatchNorm2d(4)), (2, 4, 4)),
    "batch_norm_2d_stateless": (
        lambda: images(nn.BatchNorm2d(4, track_running_stats=False)),
        (2, 4, 4),
    ),
    "batch_norm_2d_cumulative": (lambda: images(nn.BatchNorm2d(4, momentum=None)), (2, 4, 4)),
    "group_norm": (lambda: images(nn.GroupNorm(2, 4)), (2, 4, 4)),
    "layer_norm": (lambda: dense(nn.LayerNorm(6)), (4,)),
    "instance_norm": (lambda: images(nn.InstanceNorm2d(4, affine=True)), (2, 4, 4)),
    "instance_norm_tracked": (
        lambda: images(nn.InstanceNorm2d(4, affine=True, track_running_stats=True)),
        (2, 4, 4),
    ),
    "local_response": (lambda: images(nn.LocalResponseNorm(3)), (2, 4, 4)),
    "rms_norm": (lambda: dense(nn.RMSNorm(6)), (4,)),
    "spectral_norm": (lambda: dense(parametrizations.spectral_norm(nn.Linear(6, 6))), (4,)),
    "weight_norm": (lambda: dense(parametrizations.weight_norm(nn.Linear(6, 6))), (4,)),
}
OTHERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "rnn": (lambda: Last(nn.RNN(4, 5, batch_first=True), 5), (3, 4)),
    "rnn_relu": (lambda: Last(nn.RNN(4, 5, nonlinearity="relu", batch_first=True), 5), (3, 4)),
    "gru": (lambda: Last(nn.GRU(4, 5, batch_first=True), 5), (3, 4)),
    "lstm": (lambda: Last(nn.LSTM(4, 5, batch_first=True), 5), (3, 4)),
    "lstm_both_ways": (
        lambda: Last(nn.LSTM(4, 5, batch_first=True, bidirectional=True), 10),
        (3, 4),
    ),
    "lstm_two_layers": (lambda: Last(nn.LSTM(4, 5, num_layers=2, batch_first=True), 5), (3, 4)),
    "lstm_projected": (lambda: Last(nn.LSTM(4, 5, proj_size=3, batch_first=True), 3), (3, 4)),
    "gru_all": (
        lambda: Last(nn.GRU(4, 5, num_layers=2, batch_first=True, bidirectional=True), 10),
        (3, 4),
    ),
    "rnn_cell": (lambda: Cell(nn.RNNCell(4, 5)), (3, 4)),
    "gru_cell": (lambda: Cell(nn.GRUCell(4, 5)), (3, 4)),
    "lstm_cell": (lambda: Cell(nn.LSTMCell(4, 5)), (3, 4)),
    "attention": (Causal, (3, 4)),
    "adapted": (lambda: nn.Sequential(Adapted(nn.Linear(4, 6)), nn.ReLU(), nn.Linear(6, 3)), (4,)),
    "frozen_backbone": (frozen_backbone, (4,)),
    "in_place": (
        lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Linear(6, 3)),
        (4,),
    ),
    "in_place_first": (lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 3)), (4,)),
    "writes": (Writes, (4,)),
}


# vmap has no rule for what these do: a branch on the number of batches, an operation with `out=`.
ALONE = [
    (NORMS | OTHERS)[name][0]
    for name in ("batch_norm_cumulative", "batch_norm_2d_cumulative", "spectral_norm")
]


def trained(model: nn.Module, pairs: plain.Pairs, runtime, **given):
    return simulate(
        model,
        pairs,
        local_sgd(plain.RATE, plain.STEPS),
        **{"rounds": plain.ROUNDS, "batch_size": plain.BATCH, "loss": LOSS} | given,
        runtime=runtime,
        device="cpu",
    )


def apart(make, shape, buffers: str = "average") -> dict[str, float]:
    """How far every runtime is from plain PyTorch."""
    pairs = clients(*shape)
    # A record is made for each width of batch; one width is enough.
    found = distances(make, pairs, ["loop", "direct"], buffers)
    return found | distances(make, pairs[1:], ["recorded"], buffers)


def distances(make, pairs, runtimes, buffers) -> dict[str, float]:
    kept = [(x.clone(), y.clone()) for x, y in pairs]
    model = plain.seeded(make)
    expected = plain.local_sgd(model, kept, LOSS, buffers=buffers)
    assert expected.moved > 1e-4
    before = {name: t.clone() for name, t in model.state_dict().items()}
    results = {name: trained(model, pairs, RUNTIMES[name], buffers=buffers) for name in runtimes}
    found = {
        name: plain.largest(dict(result.model.state_dict()), expected.tensors)
        for name, result in results.items()
    }
    # Two clients share a batch, so a comparison with `loop` is one of two ways to compute.
    alone = {"one client at a time" in result.executor for result in results.values()}
    assert alone - {False} == (set() if make not in ALONE or buffers == "frozen" else {True})
    assert plain.largest(dict(model.state_dict()), before) == 0
    assert all(torch.equal(a[0], b[0]) for a, b in zip(pairs, kept, strict=True))
    return found


@pytest.mark.parametrize("name", sample(NORMS | OTHERS, 3))
def test_every_runtime_is_plain_local_sgd(name):
    found = apart(*(NORMS | OTHERS)[name])
    assert max(found.values()) <= 1e-12, found


@pytest.mark.parametrize("buffers", ["personal", "frozen"])
@pytest.mark.parametrize("name", ["batch_norm_cumulative", "batch_norm_2d"])
def test_buffers_that_stay(name, buffers):
    found = apart(*NORMS[name], buffers=buffers)
    assert max(found.values()) <= 1e-12, found


def test_personal_buffers_are_each_clients_own():
    make, shape = NORMS["batch_norm"]
    expected = plain.local_sgd(plain.seeded(make), clients(*shape), LOSS, buffers="personal")
    whole = torch.stack(
        [torch.cat([t.double().ravel() for t in own.values()]) for own in expected.clients]
    )
    for runtime in RUNTIMES.values():
        ours = trained(plain.seeded(make), clients(*shape), runtime, buffers="personal")
        assert torch.allclose(ours.client_states.own.buffers, whole, rtol=0, atol=1e-12)
    assert float((whole[0] - whole[1]).abs().max()) > 0.1


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_is_frozen_neither_moves_nor_travels(runtime):
    model = plain.seeded(frozen_backbone)
    result = trained(model, clients(4), RUNTIMES[runtime])
    after = result.model.state_dict()
    for name in ("0.weight", "0.bias", "1.weight", "1.bias"):
        assert torch.equal(after[name], model.state_dict()[name])
    head = 6 * 3 + 3
    # Running means and variances are averaged with the model, and counted; so is their counter.
    sent = (head + 6 + 6 + 1) * 8 + HEADER
    assert result.params.shape == (head,)
    assert result.ledger.uplink_bytes == sent * len(plain.SIZES) * plain.ROUNDS


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["loop", "direct"])
def test_resnet18(runtime):
    def make() -> nn.Module:
        return resnet18(num_classes=3)

    pairs = clients(3, 16, 16, sizes=(4, 6))
    expected = plain.local_sgd(plain.seeded(make), pairs, LOSS, rounds=1, steps=2, size=4)
    ours = simulate(
        plain.seeded(make),
        pairs,
        local_sgd(plain.RATE, 2),
        rounds=1,
        batch_size=4,
        loss=LOSS,
        runtime=RUNTIMES[runtime],
        device="cpu",
    )
    # Batches of 4 and depth make rounding grow: see how far a reordered sum is.
    assert plain.largest(dict(ours.model.state_dict()), expected.tensors) <= 1e-9
