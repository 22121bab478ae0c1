from dataclasses import replace

import numpy as np
import pytest

from fedlocal.data.clients import Clients
from fedlocal.rounds.message_bytes import OVERHEAD
from fedlocal.slots.compress import ErrorFeedback, TopK
from strategies.mime import mime
from tests.choices import every_pair
from tests.oracles import mime as oracle
from tests.problems import (
    RUNTIMES,
    distance,
    least_squares,
    linear_gradient,
    repeated_rows,
    simulate,
)

PROBLEM = least_squares()
K, SIZE = len(PROBLEM.sizes), len(PROBLEM.start)
ROUNDS, SEED, BATCH = 5, 3, 2


def batches(period: int):
    """Gradient functions of the mini-batches that the run sees."""
    pool, inputs, targets = Clients.of(PROBLEM.clients), *map(np.concatenate, data())
    return [
        [
            [
                linear_gradient(inputs[rows], targets[rows])
                for rows in pool.batches(i, period, BATCH, SEED, t)
            ]
            for i in range(K)
        ]
        for t in range(ROUNDS)
    ]


def data():
    return PROBLEM.features, PROBLEM.targets


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("lite", [False, True])
@pytest.mark.parametrize(
    ("momentum", "server_lr", "weights"),
    [(0.0, 1.0, "examples"), (0.9, 1.0, "uniform"), (0.7, 0.5, "examples")],
)
@pytest.mark.parametrize("participation", [1.0, 0.6])
def test_follows_the_paper(runtime, lite, momentum, server_lr, weights, participation):
    strategy = mime(0.05, 3, momentum, lite, server_lr, weights)
    result = simulate(
        PROBLEM,
        strategy,
        ROUNDS,
        runtime=runtime,
        batch_size=BATCH,
        seed=SEED,
        participation=participation,
    )
    n = PROBLEM.sizes if weights == "examples" else [1] * K
    cohorts = [record.clients for record in result.ledger.records]
    x, s = oracle.mime(
        PROBLEM.gradients, batches(3), PROBLEM.start, 0.05, momentum, n, cohorts, lite, server_lr
    )
    assert distance(result.params, x) < 1e-12
    assert distance(result.server_state.correction.momentum, s) < 1e-12


@pytest.mark.parametrize("lite", [False, True])
def test_full_gradients_of_more_than_one_part_are_still_means(lite):
    # 1100 examples are read in three parts, 700 in two and 5 in one.
    problem = least_squares((1100, 5, 700))
    result = simulate(problem, mime(0.05, 1, 0.5, lite), 1, batch_size=4)
    p = problem.by_examples
    c = sum(w * gradient(problem.start) for w, gradient in zip(p, problem.gradients, strict=True))
    assert distance(result.server_state.correction.momentum, 0.5 * c) < 1e-12


def test_clients_keep_nothing():
    for lite in (False, True):
        result = simulate(PROBLEM, mime(0.05, 2, lite=lite), 2)
        assert result.client_states.correction == ()


def test_bytes_of_both_exchanges():
    model, header = 8 * SIZE, OVERHEAD
    full, lite = (simulate(PROBLEM, mime(0.05, 2, lite=each), 1).ledger for each in (False, True))
    # Gradient and change in two messages, or in one.
    assert full.uplink_bytes == K * 2 * (model + header)
    assert lite.uplink_bytes == K * (2 * model + header)
    # The model; then model, s and c. Or model and s.
    assert full.downlink_bytes == K * (model + header + 3 * model + header)
    assert lite.downlink_bytes == K * (2 * model + header)


@pytest.mark.parametrize("lite", [False, True])
def test_a_lossy_link_leaves_the_gradients_alone(lite):
    problem = repeated_rows()
    for link in ("uplink", "downlink"):
        strategy = replace(mime(0.05, 1, 0.0, lite), **{link: ErrorFeedback(TopK(0.3))})
        result = simulate(problem, strategy, 1, batch_size=2)
        p = problem.by_examples
        c = sum(w * g(problem.start) for w, g in zip(p, problem.gradients, strict=True))
        assert distance(result.server_state.correction.momentum, c) < 1e-12


def test_momentum_must_not_grow():
    with pytest.raises(ValueError, match=r"momentum must be in \[0, 1\), got 1.0"):
        mime(0.1, 5, momentum=1.0)


def test_nesterov_is_refused():
    with pytest.raises(ValueError, match="mime takes no nesterov, got True: its momentum is const"):
        mime(0.1, 5, nesterov=True)
