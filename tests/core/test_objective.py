"""Clipping and precision of local steps, and how a run is told apart by its options."""

import math
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn

import fedlocal
from fedlocal.config.build import build
from fedlocal.config.errors import ConfigError
from fedlocal.data import digits
from fedlocal.models import mlp
from fedlocal.objective import clip_to_norm
from fedlocal.objective.augment import CropFlip, ResizedCrop
from fedlocal.objective.gradients import Batch, Own
from fedlocal.objective.losses import cross_entropy, squared_error
from fedlocal.objective.options import ModelOptions
from fedlocal.objective.precision import products_in
from fedlocal.rounds.fingerprint import run_digest
from fedlocal.rounds.scoring import Examples, score
from fedlocal.rounds.state import RoundPlan, initial_state
from fedlocal.runtime import Loop, Vmapped
from partitions import dirichlet
from partitions.statistics import credit
from strategies import fedavg, fedprox, local_sgd, mime, scaffold
from tests import ragged
from tests.pictures import SIZES, simulation
from tests.problems import RUNTIMES, constant_gradients, least_squares, mean_output, simulate
from tests.runs import final, largest_difference
from tests.strategies_in_conf import composed

PROBLEM = least_squares()


def clip(gradient, norm):
    length = math.sqrt(sum(value**2 for value in gradient))
    return gradient if length <= norm else gradient * (norm / length)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("mu", [0.0, 0.3])
def test_clipped_before_the_correction(runtime, mu):
    """Local SGD and FedProx in numpy: the proximal term is not part of what is clipped."""
    x, norm, clipped_steps = PROBLEM.start, 3.0, 0
    for _ in range(3):
        ends = []
        for gradient in PROBLEM.gradients:
            y = x.copy()
            for _ in range(4):
                clipped_steps += np.linalg.norm(gradient(y)) > norm
                y = y - 0.1 * (clip(gradient(y), norm) + mu * (y - x))
            ends.append(y)
        x = np.mean(ends, axis=0)
    assert 10 < clipped_steps < 50  # of 60: some are, some are not
    strategy = fedprox(0.1, 4, mu, weights="uniform") if mu else local_sgd(0.1, 4)
    found = simulate(PROBLEM, strategy, 3, runtime=runtime, clip_norm=norm).params
    np.testing.assert_allclose(found.numpy(), x, rtol=0, atol=1e-13)


@pytest.mark.parametrize("runtime", [Loop(), Vmapped()])
@pytest.mark.parametrize("strategy", [local_sgd(0.1, 3), fedavg(0.1, epochs=2), mime(0.1, 3)])
def test_an_infinite_norm_changes_no_bit(runtime, strategy):
    for dtype in (torch.float32, torch.float64):
        runs = [simulation(strategy, runtime, dtype=dtype, clip_norm=c) for c in (None, math.inf)]
        assert largest_difference(*map(final, runs)) == 0


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_gradients_of_zeros_stay_zeros(runtime):
    problem = constant_gradients(np.array([[0.0, 0.0, 0.0], [0.0, 3.0, 4.0]]))
    result = simulate(
        problem, local_sgd(1.0, 2), 1, runtime=runtime, clip_norm=0.5, loss=mean_output
    )
    np.testing.assert_allclose(
        (result.params - torch.from_numpy(problem.start)).numpy(), [0, -0.3, -0.4], atol=1e-15
    )


def test_what_is_not_finite_is_not_hidden():
    for bad in (math.inf, math.nan):
        assert clip_to_norm(torch.tensor([1.0, bad]), 1.0).isnan().any()
    # Its square overflows.
    assert clip_to_norm(torch.tensor([1e30, 0.0]), 1.0).isnan().any()


def test_both_gradients_of_a_step_are_clipped():
    # In Mime's first step they cancel, clipped or not.
    plain, short = (final(simulation(mime(0.1, 1), clip_norm=norm)) for norm in (None, 0.01))
    assert largest_difference(plain, short) < 1e-12


def test_full_gradients_are_not_clipped():
    plain, short = (simulation(scaffold(0.1, 2), clip_norm=norm) for norm in (None, 1e-3))
    clients = np.arange(len(SIZES))
    order = RoundPlan(0, 0, clients, clients, np.full(3, 2), clients > 5)
    gradients = [s.population.gradients(s, initial_state(s), order)[1] for s in (plain, short)]
    assert torch.equal(*gradients) and gradients[0].norm() > 0.1


def test_gradients_of_one_and_of_many_are_the_same():
    sim = simulation(local_sgd(0.1, 1))
    points, rows = (
        sim.start * torch.tensor([[1.0], [0.9], [1.1]]),
        torch.tensor([[0, 3], [1, 2], [4, 0]]),
    )

    def gradient(x, indices):
        found = sim.objective.gradient(x, Own(), Batch(indices))
        return found.shared, found.loss

    many = torch.vmap(gradient)(points, rows)
    shared = torch.vmap(lambda indices: gradient(sim.start, indices))(rows)
    with torch.no_grad():
        alone = [gradient(x, indices) for x, indices in zip(points, rows, strict=True)]
        at_start = [gradient(sim.start, indices) for indices in rows]
    for found, expected in ((many, alone), (shared, at_start)):
        for part, singles in zip(found, zip(*expected, strict=True), strict=True):
            assert torch.allclose(part, torch.stack(singles), rtol=1e-12, atol=1e-12)
    assert not alone[0][0].requires_grad and not alone[0][1].requires_grad


def digits_run(precision, runtime="vmapped", **options):
    data = digits()
    parts = dirichlet(data.y_train.numpy(), 4, seed=0, alpha=0.5)
    clients = fedlocal.Clients(data.x_train, data.y_train, parts.chunks, credit(parts))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = mlp(data.input_shape, 10)
    return fedlocal.simulate(
        model, clients, local_sgd(0.1, 5), rounds=12, test=(data.x_test, data.y_test),
        evaluate=fedlocal.Evaluate(every=12), runtime=runtime, precision=precision, **options,
    )  # fmt: skip


def test_bf16_learns_as_well_with_errors_of_its_size():
    full, low, loop = digits_run("full"), digits_run("bf16"), digits_run("bf16", "loop")
    assert full.params.dtype == low.params.dtype == torch.float32
    for other in (low, loop):
        gap = float((other.params - full.params).norm() / full.params.norm())
        assert 1e-5 < gap < 2**-7
        assert other.history[-1]["train_loss"] < 0.6 < full.history[0]["local_loss"]
        assert abs(other.history[-1]["test_accuracy"] - full.history[-1]["test_accuracy"]) < 0.03


@pytest.mark.parametrize("runtime", [Loop(), Vmapped()])
def test_bf16_gradients_of_convolutions(runtime):
    """One step from the same point; states and messages stay float32."""
    full, low = (
        final(simulation(local_sgd(0.1, 1), runtime, 1, torch.float32, precision=precision))
        for precision in ("full", "bf16")
    )
    assert low.server.anchor.dtype == torch.float32
    assert 1e-6 < largest_difference(full, low) < 1e-2


def two_clients():
    x, y = torch.randn(9, 4), torch.randint(0, 2, (9,))
    return [(x[:5], y[:5]), (x[5:], y[5:])]


@pytest.mark.parametrize("outputs", [1, 2])
def test_bf16_with_other_losses(outputs):
    clients = two_clients()
    if outputs == 2:
        clients = [(a, torch.stack([b, 1 - b], 1).float()) for a, b in clients]
    results = [
        fedlocal.simulate(
            nn.Linear(4, outputs), clients, local_sgd(0.1, 2), rounds=2, precision="bf16",
            **({"loss": squared_error} if outputs == 2 else {}),
        )
    ]  # fmt: skip
    assert all(result.params.isfinite().all() for result in results)


@pytest.mark.parametrize(
    "runtime", [Loop(), Vmapped(program="direct"), Vmapped(program="recorded")]
)
def test_products_of_local_steps_alone_may_be_in_tf32(runtime):
    seen = {"steps": set(), "evaluations": set()}

    def loss(output, target):
        where = "steps" if torch.is_grad_enabled() else "evaluations"
        seen[where].add(torch.get_float32_matmul_precision())
        return cross_entropy(output, target)

    model, clients = nn.Linear(4, 2), two_clients()
    results = [
        fedlocal.simulate(
            model, clients, local_sgd(0.1, 2), rounds=2, loss=loss,
            runtime=runtime, precision=precision, device="cpu",
        )
        for precision in ("tf32", "full")
    ]  # fmt: skip
    assert seen == {"steps": {"high", "highest"}, "evaluations": {"highest"}}
    assert torch.allclose(*(result.params for result in results), rtol=0, atol=1e-2)


def test_after_an_error_products_are_what_they_were():
    with pytest.raises(RuntimeError, match="lost"), products_in("tf32"):
        raise RuntimeError("lost")
    assert torch.get_float32_matmul_precision() == "highest"


def test_evaluations_are_in_full_precision():
    full, low = (
        simulation(local_sgd(0.1, 1), dtype=torch.float32, precision=precision)
        for precision in ("full", "bf16")
    )
    examples = Examples(full.objective.x, full.objective.y)
    losses = [score(sim.objective, sim.start, Own(), examples, 4) for sim in (full, low)]
    assert losses[0] == losses[1]


OPTIONS = [
    {"augment": CropFlip(1)},
    {"augment": CropFlip(1, flip=False)},
    {"augment": ResizedCrop()},
    {"precision": "bf16"},
    {"precision": "tf32"},
    {"clip_norm": 1.0},
    {"clip_norm": 2.0},
]


def test_runs_with_other_options_have_other_digests():
    sims = [simulation(local_sgd(0.1, 2), dtype=torch.float32, **given) for given in [{}, *OPTIONS]]
    digests = [run_digest(sim) for sim in sims]
    assert len(set(digests)) == len(sims)
    assert digests[0] == run_digest(simulation(local_sgd(0.1, 2), dtype=torch.float32))


def changed(model, name):
    """A copy in which a number of one tensor is another."""
    other = deepcopy(model)
    with torch.no_grad():
        other.state_dict()[name].view(-1)[0].add_(1)
    return other


def digest(model, **options):
    sim = ragged.simulation(local_sgd(0.1, 2), model=model, options=ModelOptions(**options))
    return run_digest(sim)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("0.weight", {"frozen": ["0"]}),
        ("1.running_mean", {"buffers": "frozen"}),
        ("1.running_mean", {"buffers": "average"}),
        ("1.running_mean", {"buffers": "personal"}),
        ("1.num_batches_tracked", {"buffers": "average"}),
        ("2.weight", {"personal": ["2"]}),
        ("2.weight", {}),
        ("table", {}),
    ],
)
def test_every_tensor_of_a_model_counts_in_the_digest(name, options):
    model = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))
    model.register_buffer("table", torch.ones(2, dtype=torch.bfloat16))
    assert digest(model, **options) == digest(deepcopy(model), **options)
    assert digest(model, **options) != digest(changed(model, name), **options)


def test_from_the_configuration():
    base = ("rounds=1", "dataset.flat=false", "K=2")
    objective = build(composed(*base)).simulation.objective
    assert (repr(objective.augment), objective.precision, objective.clip_norm) == (
        "NoAugment()", "full", None,
    )  # fmt: skip
    given = ("augment=crop_flip", "augment.padding=1", "precision=bf16", "clip_norm=2")
    objective = build(composed(*base, *given)).simulation.objective
    assert (objective.augment, objective.precision, objective.clip_norm) == (CropFlip(1), "bf16", 2)
    given = ("augment=resized_crop", "augment.flip=false")
    objective = build(composed(*base, *given)).simulation.objective
    assert objective.augment == ResizedCrop(flip=False)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("precision=half", "precision must be full, tf32 or bf16, got 'half'"),
        ("precision=16", "precision must be text, got 16"),
        ("precision=tf32 dtype=float64", "precision=tf32 lowers float32 only, and dtype is"),
        ("precision=bf16 dtype=float64", "lowers float32 only, and dtype is torch.float64; use"),
        ("clip_norm=0", "clip_norm must be positive, got 0; null"),
        ("clip_norm=-1", "clip_norm must be positive, got -1; null"),
        ("clip_norm=nan", "clip_norm must be positive, got nan; null"),
        ("clip_norm=abc", "clip_norm must be a number, got 'abc'"),
        ("augment=crop_flip", "an example is [64] of torch.float32; use augment=none"),
        ("augment=crop_flip augment.padding=1.5", "augment.padding must be a whole number"),
        ("augment=crop_flip augment.flip=2", "augment.flip must be true or false, got 2"),
        ("augment=crop_flip dataset.flat=false augment.padding=8", "padding=8 may leave nothing"),
    ],
)
def test_refusals_in_one_line(given, message):
    with pytest.raises(ConfigError) as error:
        build(composed(*given.split()))
    assert message in str(error.value) and "\n" not in str(error.value)
