"""Models that look at the number of their examples, in training and in evaluations."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedlocal import simulate
from fedlocal.objective.rowwise_check import is_rowwise
from fedlocal.rounds.scoring import Evaluate
from fedlocal.runtime import Vmapped
from strategies import local_sgd, mime
from tests.usercode import plain

torch.manual_seed(0)
LIMITS = (2, 8, 12, 23, 27, 31, 40)


class Centred(nn.Module):
    """Centres the batch from a number of examples on."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit
        self.last = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x - x.mean(0) if len(x) > self.limit else x)


def clients(*sizes: int) -> plain.Pairs:
    return [(torch.randn(n, 4).double() + 1, torch.randint(0, 3, (n,))) for n in sizes]


RAGGED = clients(64, 25, 12, 30, 5)


def run(limit: int, runtime: Any, strategy: Any = None, **more: Any) -> Any:
    model = plain.seeded(lambda: Centred(limit))
    return simulate(
        model, RAGGED, strategy or local_sgd(0.1, 3), 2, 32,
        loss=F.cross_entropy, runtime=runtime, device="cpu", **more,
    )  # fmt: skip


@pytest.mark.parametrize("limit", LIMITS)
def test_padding_never_changes_the_number_of_examples(limit):
    loop, vmapped = (run(limit, runtime) for runtime in ("loop", Vmapped(program="direct")))
    wanted = plain.local_sgd(
        plain.seeded(lambda: Centred(limit)), RAGGED, F.cross_entropy, 2, 3, 32, rate=0.1
    )
    expected = nn.utils.parameters_to_vector(wanted.model.parameters())
    assert (loop.params - expected).abs().max() < 1e-13
    assert (vmapped.params - expected).abs().max() < 1e-13
    # All clients are padded to one group if no batch reaches the limit.
    assert ("differ in size" in vmapped.executor) == (limit < 32)


@pytest.mark.parametrize("limit", [30, 40, 60])
def test_full_gradients_are_those_of_all_examples(limit):
    loop, vmapped = (run(limit, r, mime(0.1, 3)) for r in ("loop", Vmapped(program="direct")))
    assert (loop.params - vmapped.params).abs().max() < 1e-13


@pytest.mark.parametrize("limit", [30, 40, 60])
def test_diagnostics_are_those_of_all_examples(limit):
    name = "gradient_variance"
    loop, vmapped = (
        run(limit, r, diagnostics=(name,)).history[-1][name]
        for r in ("loop", Vmapped(program="direct"))
    )
    assert loop == pytest.approx(vmapped, rel=1e-12)


@pytest.mark.parametrize("limit", LIMITS)
def test_losses_do_not_depend_on_the_batch_of_evaluations(limit):
    test = (torch.randn(90, 4).double(), torch.randint(0, 3, (90,)))
    rows = [
        run(limit, "loop", test=test, evaluate=Evaluate(batch_size=size)).history[-1]
        for size in (1, 10, 35, 500)
    ]
    for name in ("train_loss", "test_loss", "test_accuracy"):
        assert len({row[name] for row in rows}) == 1 or [row[name] for row in rows] == (
            pytest.approx([rows[-1][name]] * len(rows), rel=1e-12)
        )


class Squeezed(nn.Module):
    """Gives an output without dimensions for a single example."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x).squeeze()


def test_a_part_of_one_example():
    pairs = [(x, x.sum(1)) for x, _ in clients(11, 10)]
    losses = [
        simulate(
            plain.seeded(Squeezed), pairs, local_sgd(0.1, 3), 1, 10, loss=F.mse_loss,
            evaluate=Evaluate(batch_size=size), device="cpu",
        ).history[-1]["train_loss"]
        for size in (20, 1, 500)
    ]  # fmt: skip
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-12)


class Sequential(nn.Module):
    """Takes the batch for a sequence, as a recurrent layer without batch_first does."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.RNN(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x)[0]


@pytest.mark.parametrize(
    ("model", "rowwise"),
    [
        (nn.Linear(4, 3), True),
        (nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)), True),
        (nn.BatchNorm1d(4, track_running_stats=False), False),
        (nn.Softmax(0), False),
        (Sequential(), False),
        (Centred(100), False),
        (Squeezed(), False),
    ],
)
def test_models_by_whether_they_look_at_each_example_by_itself(model, rowwise):
    assert is_rowwise(model.double().eval(), torch.randn(128, 4).double()) == rowwise
