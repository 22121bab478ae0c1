from dataclasses import replace

import pytest

from fedlocal.slots.compress import ErrorFeedback, TopK
from fedlocal.slots.mixing import WeightedMean
from strategies.feddyn import feddyn
from tests.choices import every_pair
from tests.oracles import feddyn as oracle
from tests.problems import RUNTIMES, distance, least_squares, simulate

PROBLEM = least_squares()
ROUNDS = 6


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("period", [1, 5])
@pytest.mark.parametrize("alpha", [0.05, 1.0])
@pytest.mark.parametrize("participation", [1.0, 0.4])
def test_follows_the_paper(runtime, period, alpha, participation):
    strategy = feddyn(0.05, period, alpha)
    result = simulate(PROBLEM, strategy, ROUNDS, runtime=runtime, participation=participation)
    cohorts = [record.clients for record in result.ledger.records]
    theta, h, g = oracle.feddyn(PROBLEM.gradients, PROBLEM.start, 0.05, period, alpha, cohorts)
    assert distance(result.params, theta) < 1e-12
    assert distance(alpha * result.server_state.outer.scaled_h[0], h) < 1e-12
    assert distance(result.client_states.correction.own, g) < 1e-12


@pytest.mark.parametrize("link", ["uplink", "downlink"])
def test_h_stays_the_mean_of_the_clients_terms_behind_a_lossy_link(link):
    strategy = replace(feddyn(0.05, 4, 0.5), **{link: ErrorFeedback(TopK(0.3))})
    result = simulate(PROBLEM, strategy, ROUNDS, batch_size=2, participation=0.6)
    own = result.client_states.correction.own
    assert own.abs().max() > 1e-3
    assert distance(own.mean(0), 0.5 * result.server_state.outer.scaled_h[0]) < 1e-12


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf")])
def test_alpha_regularises(alpha):
    with pytest.raises(ValueError, match=r"alpha must be (positive|finite), got"):
        feddyn(0.1, 5, alpha)


def test_weights_by_examples_are_refused():
    with pytest.raises(ValueError, match=r"DynamicRegulariser.*all clients have equal weight"):
        replace(feddyn(0.1, 5), mixing=WeightedMean("examples"))
