import pytest

from fedlocal.slots.compress import QSGD, TopK, error_feedback
from strategies.cocod_sgd import cocod_sgd
from tests.choices import every_pair
from tests.oracles import cocod_sgd as oracle
from tests.problems import RUNTIMES, distance, least_squares, simulate

PROBLEM = least_squares()
ROUNDS = 6


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("period", [1, 4])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, True), (0.5, False)])
def test_follows_the_paper(runtime, period, momentum, nesterov):
    strategy = cocod_sgd(0.02, period, momentum, nesterov)
    result = simulate(PROBLEM, strategy, ROUNDS, runtime=runtime)
    history = oracle.cocod_sgd(
        PROBLEM.gradients, PROBLEM.start, [0.02] * ROUNDS, period, momentum, nesterov
    )
    assert distance(result.client_params, history[-1]) < 1e-12
    assert distance(result.params, history[-1].mean(0)) < 1e-12
    # What the server averaged last is where the last round started from.
    assert distance(result.server_state.anchor[0], history[-2].mean(0)) < 1e-12


def test_clients_stay_different():
    models = simulate(PROBLEM, cocod_sgd(0.02, 4), ROUNDS).client_params
    assert float((models - models.mean(0)).abs().max()) > 1e-2


@pytest.mark.parametrize("compressor", [TopK(0.4), QSGD(2)], ids=repr)
def test_a_lossy_uplink_leaves_nothing_behind(compressor):
    # With gradients that do not depend on the model, everybody's progress is known beforehand.
    lossy = simulate(PROBLEM, cocod_sgd(0.02, 4, uplink=compressor), 2)
    exact = simulate(PROBLEM, cocod_sgd(0.02, 4), 2)
    # The second message is the first that has something to tell; the mean does not depend on it.
    assert distance(lossy.client_params, exact.client_params) > 1e-4
    assert distance(lossy.params, exact.params) < 1e-12


def test_error_feedback_is_refused():
    with pytest.raises(ValueError, match="without error feedback"):
        cocod_sgd(0.1, 4, uplink=error_feedback(TopK(0.1)))


def test_the_mean_of_starts_needs_everybody():
    with pytest.raises(ValueError, match="every client takes part"):
        simulate(PROBLEM, cocod_sgd(0.1, 4), 1, participation=0.5)
