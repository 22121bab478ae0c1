import numpy as np
import pytest

from fedlocal import Clock
from fedlocal.data.clients import Clients
from strategies.anytime_minibatch import anytime_minibatch
from tests.oracles import anytime_minibatch as oracle
from tests.problems import distance, least_squares, linear_gradient, simulate

PROBLEM = least_squares()
ROUNDS = 6
# 8, 4, 2, 1 and no steps in 0.08 seconds.
SPEEDS = [0.01, 0.02, 0.04, 0.08, 0.16]
STEPS = [8, 4, 2, 1, 0]


def full(gradient):
    return lambda w, epoch, step: gradient(w)


@pytest.mark.parametrize("mu", [0.5, 40.0, float("inf")])
def test_follows_the_paper(mu):
    clock = Clock(seconds_per_step=SPEEDS)
    strategy = anytime_minibatch(0.05, 0.08, mu)
    result = simulate(PROBLEM, strategy, ROUNDS, clock=clock)
    assert [record.steps.tolist() for record in result.ledger.records] == [STEPS] * ROUNDS
    gradients = [full(gradient) for gradient in PROBLEM.gradients]
    w = oracle.anytime_minibatch(gradients, PROBLEM.start, [STEPS] * ROUNDS, 20.0, mu)
    assert distance(result.params, w) < 1e-12


def test_mini_batches_and_random_speeds():
    clock, seed, size = Clock("exponential", 0.02), 4, 3
    strategy = anytime_minibatch(0.05, 0.08, 30.0, most=6)
    options = {"clock": clock, "seed": seed, "batch_size": size}
    result = simulate(PROBLEM, strategy, ROUNDS, **options)
    pool = Clients.of(PROBLEM.clients)

    def gradient(client):
        features, targets = pool.x.numpy(), pool.y.numpy()

        def at(w, epoch, step):
            rows = pool.batches(client, 6, size, seed, epoch)[step]
            return linear_gradient(features[rows], targets[rows])(w)

        return at

    steps = [record.steps.tolist() for record in result.ledger.records]
    assert len({h for row in steps for h in row}) > 3
    gradients = [gradient(client) for client in range(len(PROBLEM.sizes))]
    w = oracle.anytime_minibatch(gradients, PROBLEM.start, steps, 20.0, 30.0)
    assert distance(result.params, w) < 1e-12


def test_a_round_takes_its_time_and_the_messages():
    clock = Clock(seconds_per_step=SPEEDS, latency_seconds=0.1, bandwidth_bytes=float("inf"))
    result = simulate(PROBLEM, anytime_minibatch(0.05, 0.09), 3, clock=clock)
    # 0.09 is a whole number of steps of the fastest only; the others compute till the end.
    seconds = [row["sim_seconds"] for row in result.history]
    assert seconds == pytest.approx([0.29, 0.58, 0.87], rel=1e-12)


def test_enough_is_enough():
    strategy = anytime_minibatch(0.05, 0.08, most=3)
    result = simulate(PROBLEM, strategy, 2, clock=Clock(seconds_per_step=SPEEDS))
    assert [r.steps.tolist() for r in result.ledger.records] == [[3, 3, 2, 1, 0]] * 2


def test_nobody_manages_a_step():
    result = simulate(PROBLEM, anytime_minibatch(0.05, 0.005), 2)
    assert distance(result.params, PROBLEM.start) == 0
    assert [row["answered"] for row in result.history] == [0, 0]
    assert np.all([record.uplink_bytes == 0 for record in result.ledger.records])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"seconds": 0.0}, "seconds must be positive, got 0.0"),
        ({"most": 0}, "most must be a whole number >= 1, got 0"),
        ({"expected_examples": 0.0}, "expected_examples must be positive, got 0"),
        ({"lr": 0.0}, "lr must be positive"),
        ({"momentum": 0.9}, "takes no momentum, got 0.9: its mean counts every gradient once"),
        ({"nesterov": True}, "takes no nesterov, got True"),
        ({"weight_decay": -1.0}, "weight_decay must be >= 0, got -1.0"),
    ],
)
def test_refusals(given, says):
    with pytest.raises(ValueError, match=says):
        anytime_minibatch(**given)
