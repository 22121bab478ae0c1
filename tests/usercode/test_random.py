"""Random functions in a model: the same in every runtime, off in evaluation, right in law."""

import math
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from fedlocal import simulate
from fedlocal.objective.keyed_random import Keyed
from fedlocal.runtime import Vmapped
from strategies import local_sgd
from tests.choices import sample
from tests.usercode import plain

# torch says of some of its layers that it has no fast rule for many at once.
pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop")

RUNTIMES = {
    "one": Vmapped(clients_per_batch=1),
    "two": Vmapped(clients_per_batch=2),
    "all": Vmapped(program="direct"),
    "recorded": Vmapped(program="recorded"),
}


class Noise(nn.Module):
    """What a function makes of the input in train mode."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x) if self.training else x


class Attention(nn.Module):
    """Self-attention that drops weights, of the rows of an example."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.MultiheadAttention(4, 2, dropout=0.3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x, x, x)[0]


def dense(*middle: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), *middle, nn.Linear(8, 3))


def shaped(shape: tuple[int, ...], *middle: nn.Module) -> nn.Module:
    return dense(nn.Unflatten(1, shape), *middle, nn.Flatten())


def dropped_attention(x: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(x, x, x, dropout_p=0.4)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "dropout": lambda: dense(nn.Dropout(0.3)),
    "dropout_in_place": lambda: dense(nn.Dropout(0.3, inplace=True), nn.Tanh()),
    "dropout_1d": lambda: shaped((4, 2), nn.Dropout1d(0.4)),
    "dropout_2d": lambda: shaped((2, 2, 2), nn.Dropout2d(0.4)),
    "dropout_3d": lambda: shaped((4, 2, 1, 1), nn.Dropout3d(0.4)),
    "alpha_dropout": lambda: dense(nn.SELU(), nn.AlphaDropout(0.3)),
    "feature_alpha_dropout": lambda: shaped((4, 2), nn.SELU(), nn.FeatureAlphaDropout(0.3)),
    "rrelu": lambda: dense(nn.RReLU()),
    "attention": lambda: shaped((2, 4), Attention()),
    "dot_product": lambda: shaped((2, 4), Noise(dropped_attention)),
    "gumbel": lambda: dense(Noise(lambda x: F.gumbel_softmax(x, tau=0.7))),
    "rand": lambda: dense(Noise(lambda x: x * torch.rand(x.shape, dtype=x.dtype))),
    "rand_like": lambda: dense(Noise(lambda x: x * torch.rand_like(x))),
    "bernoulli": lambda: dense(Noise(lambda x: x * torch.bernoulli(torch.full_like(x, 0.6)))),
    "bernoulli_": lambda: dense(Noise(lambda x: x * torch.empty_like(x).bernoulli_(0.6))),
    "uniform_": lambda: dense(Noise(lambda x: x * torch.empty_like(x).uniform_(0.5, 1.5))),
    "randint": lambda: dense(Noise(lambda x: x + torch.randint(0, 3, x.shape))),
    "randperm": lambda: dense(Noise(lambda x: x + x[:, torch.randperm(x.shape[1])])),
    "depth": lambda: dense(StochasticDepth(0.4, "row")),
    "depth_of_batch": lambda: dense(StochasticDepth(0.4, "batch")),
}


def clients() -> plain.Pairs:
    rng = torch.Generator().manual_seed(3)
    return [
        (
            torch.randn(n, 4, generator=rng, dtype=torch.float64),
            torch.randint(0, 3, (n,), generator=rng),
        )
        for n in (5, 17, 17, 40)
    ]


def trained(make, runtime, seed: int = 0, rounds: int = 2):
    return simulate(
        plain.seeded(make),
        clients(),
        local_sgd(0.05, 2),
        rounds=rounds,
        batch_size=8,
        seed=seed,
        runtime=runtime,
        device="cpu",
    )


@pytest.mark.parametrize("name", sample(MODELS, 3))
def test_every_runtime_draws_the_same(name):
    loop = trained(MODELS[name], "loop")
    apart = {
        runtime: float((trained(MODELS[name], chosen).params - loop.params).abs().max())
        for runtime, chosen in RUNTIMES.items()
    }
    assert max(apart.values()) <= 1e-12, apart
    # Off in evaluation, so that the loss is that of the model without it.
    x, y = (torch.cat(parts) for parts in zip(*clients(), strict=True))
    with torch.no_grad():
        whole = float(F.cross_entropy(loop.model(x), y))
    assert loop.history[-1]["train_loss"] == pytest.approx(whole, rel=1e-13)


def test_draws_differ_between_seeds_with_the_same_batches():
    """With full batches a seed changes nothing but the draws."""

    def of(make, seed: int) -> Tensor:
        options = {"batch_size": None, "seed": seed, "runtime": "loop", "device": "cpu"}
        model, pairs = plain.seeded(make), clients()[:2]
        return simulate(model, pairs, local_sgd(0.05, 1), rounds=1, **options).params

    alike = [
        name for name, make in MODELS.items() if float((of(make, 0) - of(make, 1)).abs().max()) == 0
    ]
    assert alike == []
    assert torch.equal(of(lambda: dense(nn.Tanh()), 0), of(lambda: dense(nn.Tanh()), 1))


def test_clients_and_steps_have_draws_of_their_own():
    """Clients with equal data end apart, and a second step draws another mask than the first."""
    x, y = clients()[1]
    model = plain.seeded(MODELS["dropout"])
    result = simulate(
        model,
        [(x, y), (x, y)],
        local_sgd(0.05, 3),
        rounds=1,
        batch_size=None,
        device="cpu",
        personal=["2"],
    )
    own = result.client_states.own.personal
    assert float((own[0] - own[1]).abs().max()) > 1e-4


N = 40_000
ONES = torch.ones(N, 1, 1, dtype=torch.float64)


def drawn(function: Callable[[], Tensor], key: int = 7) -> Tensor:
    with Keyed(torch.tensor(key)):
        return function().double()


# Mean and variance of each draw.
LAWS: dict[str, tuple[Callable[[], Tensor], float, float]] = {
    "dropout": (lambda: F.dropout(ONES, 0.3), 1, 0.3 / 0.7),
    "dropout_1d": (lambda: F.dropout1d(ONES, 0.3), 1, 0.3 / 0.7),
    "dropout_2d": (lambda: F.dropout2d(ONES[..., None], 0.3), 1, 0.3 / 0.7),
    "dropout_3d": (lambda: F.dropout3d(ONES[..., None, None], 0.3), 1, 0.3 / 0.7),
    "rand": (lambda: torch.rand(N), 1 / 2, 1 / 12),
    "rand_double": (lambda: torch.rand(N, dtype=torch.float64), 1 / 2, 1 / 12),
    "bernoulli": (lambda: torch.bernoulli(0.2 * ONES), 0.2, 0.16),
    "randint": (lambda: torch.randint(2, 7, (N,)), 4, 2),
    "randint_like": (lambda: torch.randint_like(ONES, 5), 2, 2),
    "uniform_": (lambda: torch.empty(N).uniform_(-1, 3), 1, 16 / 12),
    "exponential_": (lambda: torch.empty(N).exponential_(2.0), 1 / 2, 1 / 4),
    "geometric_": (lambda: torch.empty(N).geometric_(0.4), 2.5, 0.6 / 0.16),
    "rrelu": (lambda: F.rrelu(-ONES, 0.1, 0.5, True), -0.3, 0.16 / 12),
    "depth": (lambda: StochasticDepth(0.25, "row")(ONES), 1, 1 / 3),
}


@pytest.mark.parametrize("name", LAWS)
def test_laws(name):
    draw, mean, variance = LAWS[name]
    values = drawn(draw)
    assert values.numel() == N
    # Five standard errors of a mean, and of a variance with a generous fourth moment.
    assert abs(float(values.mean()) - mean) < 5 * math.sqrt(variance / N)
    assert float(values.var()) == pytest.approx(variance, rel=0.06)
    assert torch.equal(values, drawn(draw)) and not torch.equal(values, drawn(draw, key=8))


def test_alpha_dropout_keeps_mean_and_variance():
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(N, generator=rng, dtype=torch.float64)
    values = drawn(lambda: F.alpha_dropout(x, 0.4, training=True))
    assert float(values.mean()) == pytest.approx(0, abs=0.03)
    assert float(values.var()) == pytest.approx(1, abs=0.05)


def test_whole_channels_are_dropped():
    values = drawn(lambda: F.dropout2d(torch.ones(500, 8, 3, 3), 0.3)).reshape(500 * 8, 9)
    assert bool((values == values[:, :1]).all())
    assert float((values[:, 0] == 0).double().mean()) == pytest.approx(0.3, abs=0.04)


def test_permutations_are_uniform():
    orders = torch.stack([drawn(lambda: torch.randperm(3), key) for key in range(1200)])
    assert bool((orders.sort(1).values == torch.arange(3)).all())
    _, counts = orders.unique(dim=0, return_counts=True)
    assert len(counts) == 6 and float((counts - 200).abs().max()) < 5 * math.sqrt(200)


def test_gumbel_softmax_draws_the_shares():
    logits = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64).log().expand(N, 3)
    hard = drawn(lambda: F.gumbel_softmax(logits, hard=True))
    assert torch.allclose(hard.mean(0), logits[0].exp(), atol=5 * 0.5 / math.sqrt(N))


class Counting(nn.Linear):
    """Remembers in an attribute how often it was called."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x) / self.calls


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.LSTM(4, 8, num_layers=2, dropout=0.5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x[:, None])[0][:, -1]


GENERATOR = torch.Generator()
REFUSED = {
    "lstm": (lambda: nn.Sequential(Recurrent(), nn.Linear(8, 3)), r"LSTM\(dropout=0.5\) draws"),
    "python": (
        lambda: dense(Noise(lambda x: x * random.random())),
        "the model or the loss draws from Python's random, which a run cannot repeat",
    ),
    "numpy": (
        lambda: dense(Noise(lambda x: x * np.random.rand())),
        r"the model or the loss draws from numpy\.random, which a run cannot repeat",
    ),
    "counter": (lambda: Counting(4, 3), "forward changes the attribute calls"),
    "generator": (
        lambda: dense(
            Noise(lambda x: x * torch.rand(x.shape, generator=GENERATOR, dtype=torch.float64))
        ),
        "draws from a torch.Generator of its own",
    ),
}


@pytest.mark.parametrize("runtime", ["loop", "vmapped"])
@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(name, runtime):
    make, says = REFUSED[name]
    with pytest.raises(ValueError, match=says) as caught:
        trained(make, runtime, rounds=1)
    assert "\n" not in str(caught.value)
