"""Losses of torch.nn and of one's own, on ragged clients, against plain PyTorch."""

from collections.abc import Callable
from itertools import chain
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedlocal import simulate
from fedlocal.api import prepare
from fedlocal.rounds.definition import Environment, Method, Observation, Problem
from fedlocal.rounds.scoring import Evaluate
from fedlocal.rounds.state import RoundPlan, initial_state
from fedlocal.runtime import Vmapped
from strategies import local_sgd
from tests.choices import sample
from tests.usercode import plain

# torch says of some of its losses that it has no fast rule for many at once.
pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop")

Loss = Callable[[Tensor, Tensor], Tensor]
WEIGHTS = torch.tensor([0.2, 3.0, 1.1], dtype=torch.float64)
RUNTIMES = {
    "loop": "loop",
    "direct": Vmapped(program="direct"),
    "recorded": Vmapped(program="recorded"),
}


def targets(kind: str, n: int, rng: torch.Generator) -> Tensor:
    if kind == "classes":
        # Every client holds every class, so that no batch is ignored as a whole.
        return torch.cat([torch.arange(3), torch.randint(0, 3, (n - 3,), generator=rng)])
    if kind == "labels":
        first = torch.stack([torch.randperm(3, generator=rng) for _ in range(n)])
        first[::2, 1], first[1::3, 2] = -1, -1
        return first
    draws = torch.rand(n, 3, generator=rng, dtype=torch.float64)
    makers = {
        "bits": lambda: (draws > 0.6).double(),
        "signs": lambda: (draws > 0.4).double() * 2 - 1,
        "numbers": lambda: 4 * draws - 1,
        "counts": lambda: (5 * draws).floor(),
        "shares": lambda: draws / draws.sum(1, keepdim=True),
    }
    return makers[kind]()


def clients(kind: str) -> plain.Pairs:
    rng = torch.Generator().manual_seed(11)
    return [
        (
            torch.randn(n, 4, generator=rng, dtype=torch.float64) + 0.3 * i,
            targets(kind, n, rng),
        )
        for i, n in enumerate(plain.SIZES)
    ]


def network(*last: nn.Module) -> nn.Module:
    return plain.seeded(lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3), *last))


def soft_dice(output: Tensor, target: Tensor) -> Tensor:
    share = output.sigmoid()
    both = 2 * (share * target).sum(0) + 1
    return (1 - both / (share.sum(0) + target.sum(0) + 1)).mean()


def rmse(output: Tensor, target: Tensor) -> Tensor:
    return (output - target).square().mean().sqrt()


def focal(output: Tensor, target: Tensor) -> Tensor:
    logs = output.log_softmax(1).gather(1, target[:, None]).squeeze(1)
    return -((1 - logs.exp()).square() * logs).mean()


def ranking(output: Tensor, target: Tensor) -> Tensor:
    """Logistic loss of every pair of examples that the targets order."""
    margins = output[:, 0, None] - output[None, :, 0]
    ordered = (target[:, 0, None] > target[None, :, 0]).to(output.dtype)
    return (F.softplus(-margins) * ordered).sum() / ordered.sum().clamp(min=1)


def log_cosh(output: Tensor, target: Tensor) -> Tensor:
    return torch.log(torch.cosh(output - target)).mean()


def with_variance(output: Tensor, target: Tensor) -> Tensor:
    each = (output - target).square().mean(1)
    return each.mean() + 0.5 * each.var(unbiased=False)


def contrastive(output: Tensor, target: Tensor) -> Tensor:
    """Supervised contrastive loss over the pairs of a batch."""
    unit = F.normalize(output, dim=1)
    alone = torch.eye(len(output), dtype=torch.bool)
    logs = (unit @ unit.T / 0.5).masked_fill(alone, -1e9).log_softmax(1)
    alike = ((target[:, None] == target[None, :]) & ~alone).to(output.dtype)
    return -(logs * alike).sum() / alike.sum().clamp(min=1)


def quantile(output: Tensor, target: Tensor) -> Tensor:
    error = target - output
    return torch.maximum(0.9 * error, -0.1 * error).mean()


def cosine(output: Tensor, target: Tensor) -> Tensor:
    return (1 - F.cosine_similarity(output, target, dim=1)).mean()


def worst(output: Tensor, target: Tensor) -> Tensor:
    return (output - target).square().sum(1).max()


def summed(output: Tensor, target: Tensor) -> Tensor:
    return 0.02 * F.cross_entropy(output, target, reduction="sum")


class Case(NamedTuple):
    """A loss, the targets that it takes, the layer that its outputs come from, and a step size."""

    loss: Loss
    kind: str
    last: tuple[nn.Module, ...] = ()
    rate: float = plain.RATE


SIGMOID, LOGS = (nn.Sigmoid(),), (nn.LogSoftmax(1),)
CASES = {
    "cross_entropy": Case(nn.CrossEntropyLoss(), "classes"),
    "cross_entropy_weights": Case(nn.CrossEntropyLoss(WEIGHTS), "classes"),
    "cross_entropy_ignore": Case(nn.CrossEntropyLoss(ignore_index=2), "classes"),
    "cross_entropy_smooth": Case(nn.CrossEntropyLoss(label_smoothing=0.2), "classes"),
    "cross_entropy_both": Case(nn.CrossEntropyLoss(WEIGHTS, label_smoothing=0.2), "classes"),
    "cross_entropy_all": Case(
        nn.CrossEntropyLoss(WEIGHTS, ignore_index=0, label_smoothing=0.1), "classes"
    ),
    "cross_entropy_sum": Case(nn.CrossEntropyLoss(reduction="sum"), "classes"),
    "cross_entropy_shares": Case(nn.CrossEntropyLoss(), "shares"),
    "cross_entropy_function": Case(F.cross_entropy, "classes"),
    "nll": Case(nn.NLLLoss(), "classes", LOGS),
    "nll_weights": Case(nn.NLLLoss(WEIGHTS), "classes", LOGS),
    "nll_ignore": Case(nn.NLLLoss(ignore_index=1), "classes", LOGS),
    "bce_logits": Case(nn.BCEWithLogitsLoss(), "bits"),
    "bce_logits_weights": Case(nn.BCEWithLogitsLoss(weight=WEIGHTS), "bits"),
    "bce_logits_positive": Case(nn.BCEWithLogitsLoss(pos_weight=WEIGHTS), "bits"),
    "bce": Case(nn.BCELoss(), "bits", SIGMOID),
    "bce_sum": Case(nn.BCELoss(reduction="sum"), "bits", SIGMOID),
    "mse": Case(nn.MSELoss(), "numbers"),
    "mse_sum": Case(nn.MSELoss(reduction="sum"), "numbers", rate=0.001),
    "l1": Case(nn.L1Loss(), "numbers"),
    "smooth_l1": Case(nn.SmoothL1Loss(beta=0.7), "numbers"),
    "huber": Case(nn.HuberLoss(delta=0.6), "numbers"),
    "poisson": Case(nn.PoissonNLLLoss(), "counts"),
    "poisson_full": Case(nn.PoissonNLLLoss(full=True), "counts"),
    "kl_batchmean": Case(nn.KLDivLoss(reduction="batchmean"), "shares", LOGS),
    "soft_margin": Case(nn.SoftMarginLoss(), "signs"),
    "multi_margin": Case(nn.MultiMarginLoss(), "classes"),
    "multi_margin_weights": Case(nn.MultiMarginLoss(p=2, weight=WEIGHTS), "classes"),
    "multi_label_soft": Case(nn.MultiLabelSoftMarginLoss(), "bits"),
    "multi_label_soft_weights": Case(nn.MultiLabelSoftMarginLoss(WEIGHTS), "bits"),
    "multi_label_margin": Case(nn.MultiLabelMarginLoss(), "labels"),
    "hinge_embedding": Case(nn.HingeEmbeddingLoss(margin=0.8), "signs"),
    "soft_dice": Case(soft_dice, "bits"),
    "rmse": Case(rmse, "numbers"),
    "focal": Case(focal, "classes"),
    "ranking": Case(ranking, "numbers"),
    "log_cosh": Case(log_cosh, "numbers"),
    "with_variance": Case(with_variance, "numbers"),
    "contrastive": Case(contrastive, "classes"),
    "quantile": Case(quantile, "numbers"),
    "cosine": Case(cosine, "numbers"),
    "worst": Case(worst, "numbers"),
    "summed": Case(summed, "classes"),
}


# Losses that are recorded for ragged clients as well: padded ones, and one of the whole batch.
RAGGED = {"cross_entropy", "mse", "cross_entropy_both", "contrastive"}


def trained(case: Case, runtime, pairs: plain.Pairs, evaluate: Evaluate | None = None):
    result = simulate(
        network(*case.last),
        pairs,
        local_sgd(case.rate, plain.STEPS),
        rounds=plain.ROUNDS,
        batch_size=plain.BATCH,
        loss=case.loss,
        runtime=runtime,
        device="cpu",
        evaluate=evaluate,
    )
    # Else a comparison with `loop` would be one of `loop` with itself.
    assert "one client at a time" not in result.executor
    return result


@pytest.mark.parametrize("name", sample(CASES, 2))
def test_every_runtime_is_plain_local_sgd(name):
    case = CASES[name]
    pairs = clients(case.kind)
    expected = plain.local_sgd(network(*case.last), pairs, case.loss, rate=case.rate)
    assert expected.moved > 1e-4
    # Evaluated in one batch, and in batches that the examples do not divide.
    sizes = {"loop": 500, "direct": 7}
    runs = {
        runtime: trained(case, RUNTIMES[runtime], pairs, Evaluate(batch_size=size))
        for runtime, size in sizes.items()
    }
    apart = {
        runtime: plain.largest(dict(run.model.state_dict()), expected.tensors)
        for runtime, run in runs.items()
    }
    assert max(apart.values()) <= 1e-12, apart
    x, y = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    for run in runs.values():
        with torch.no_grad():
            whole = float(case.loss(run.model(x), y))
        assert run.history[-1]["train_loss"] == pytest.approx(whole, rel=1e-13, abs=1e-14)


@pytest.mark.parametrize("name", sample(CASES, 4))
def test_a_recorded_step_is_plain_local_sgd(name):
    case = CASES[name]
    # A record is made for each width of batch; most losses are recorded for one.
    pairs = clients(case.kind)[0 if name in RAGGED else 1 :]
    expected = plain.local_sgd(network(*case.last), pairs, case.loss, rate=case.rate)
    ours = trained(case, RUNTIMES["recorded"], pairs)
    assert plain.largest(dict(ours.model.state_dict()), expected.tensors) <= 1e-12


@pytest.mark.slow
def test_a_compiled_step_is_plain_local_sgd():
    case = CASES["cross_entropy_both"]
    pairs = clients(case.kind)
    expected = plain.local_sgd(network(*case.last), pairs, case.loss, rate=case.rate)
    ours = trained(case, Vmapped(program="compiled"), pairs)
    assert plain.largest(dict(ours.model.state_dict()), expected.tensors) <= 1e-12


def test_the_callers_loss_and_data_stay_as_they_were():
    case = Case(nn.CrossEntropyLoss(WEIGHTS.float()), "classes")
    pairs, model = clients("classes"), network()
    before = [t.clone() for pair in pairs for t in pair]
    kept = {name: t.clone() for name, t in model.state_dict().items()}
    simulate(model, pairs, local_sgd(0.05, 2), rounds=1, loss=case.loss, device="cpu")
    assert all(torch.equal(a, b) for a, b in zip(before, chain(*pairs), strict=True))
    assert plain.largest(dict(model.state_dict()), kept) == 0
    assert case.loss.weight.dtype == torch.float32


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", ["cross_entropy_both", "soft_dice", "contrastive", "mse_sum"])
def test_full_gradients_are_those_of_the_loss_of_all_examples(name, runtime):
    """Of clients whose examples are more than a batch, and of different numbers."""
    case = CASES[name]
    pairs = clients(case.kind)
    sim = prepare(
        Problem(network(*case.last), pairs, case.loss),
        Method(local_sgd(case.rate, plain.STEPS), 1, plain.BATCH),
        Environment(RUNTIMES[runtime], "cpu"),
        Observation(),
    )
    everyone = np.arange(len(pairs))
    steps = np.full(len(pairs), plain.STEPS)
    order = RoundPlan(0, 0, everyone, everyone, steps, everyone < 0)
    ids, gradients = sim.population.gradients(sim, initial_state(sim), order)
    assert ids.tolist() == everyone.tolist()
    model = network(*case.last)
    for (x, y), ours in zip(pairs, gradients, strict=True):
        found = torch.autograd.grad(case.loss(model(x), y), tuple(model.parameters()))
        whole = torch.cat([part.reshape(-1) for part in found])
        assert float(whole.abs().max()) > 1e-3
        assert float((ours - whole).abs().max()) <= 1e-12 * max(1.0, float(whole.abs().max()))
