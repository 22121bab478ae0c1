import numpy as np
import pytest

from fedlocal.rounds.message_bytes import OVERHEAD
from fedlocal.rounds.payload import check_messages
from fedlocal.slots.compress import TopK
from fedlocal.slots.inner.sgd import Momentum
from fedlocal.slots.strategy import Strategy
from strategies.dynamic_averaging import dynamic_averaging
from strategies.scaffold import scaffold
from tests import ragged
from tests.choices import every_pair
from tests.oracles import dynamic_averaging as oracle
from tests.problems import RUNTIMES, distance, least_squares, simulate

PROBLEM = least_squares()
K, SIZE = len(PROBLEM.sizes), len(PROBLEM.start)
ROUNDS = 12


def expected(period, threshold, momentum=0.0, nesterov=False, lr=0.02):
    return oracle.dynamic_averaging(
        PROBLEM.gradients, PROBLEM.start, [lr] * ROUNDS, period, threshold, momentum, nesterov
    )


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("period", [1, 4])
@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.4, 1e9])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.5, True)])
def test_follows_the_paper(runtime, period, threshold, momentum, nesterov):
    strategy = dynamic_averaging(0.02, period, threshold, momentum, nesterov)
    result = simulate(PROBLEM, strategy, ROUNDS, runtime=runtime)
    models, reference, alarms = expected(period, threshold, momentum, nesterov)[-1]
    assert distance(result.client_params, models) < 1e-12
    assert distance(result.params, models.mean(0)) < 1e-12
    assert distance(result.server_state.mixing.reference, reference) < 1e-12
    assert distance(result.server_state.mixing.alarms, alarms) == 0


def test_the_thresholds_above_average_always_sometimes_and_never():
    rounds = [[look[2] for look in expected(4, Delta)] for Delta in (0.0, 0.4, 1e9)]
    assert np.all(rounds[0]) and not np.any(rounds[2])
    # In the middle, rounds with and without alarms, and alarms of some and of all.
    assert {int(alarms.sum()) for alarms in rounds[1]} >= {0, 1}


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.4, 1e9])
def test_bytes_are_those_of_the_words_and_models_that_the_protocol_sends(threshold):
    result = simulate(PROBLEM, dynamic_averaging(0.02, 4, threshold), ROUNDS)
    word, model = OVERHEAD + 1, OVERHEAD + 8 * SIZE
    averaged = True
    for record, (_, _, alarms) in zip(result.ledger.records, expected(4, threshold), strict=True):
        # Down: the new average, or that there is none. Up: an alarm is a model, calm is a word.
        down, up = np.full(K, model if averaged else word), np.where(alarms, model, word)
        averaged = bool(alarms.any())
        if averaged:
            # A request to the calm, and their models.
            down, up = down + np.where(alarms, 0, word), up + np.where(alarms, 0, model)
        assert record.uplink_bytes.tolist() == up.tolist()
        assert record.downlink_bytes.tolist() == down.tolist()
    assert result.history[-1]["uplink_bytes"] == result.ledger.uplink_bytes
    assert result.history[-1]["downlink_bytes"] == result.ledger.downlink_bytes


def test_calm_rounds_are_short():
    far, near = (simulate(PROBLEM, dynamic_averaging(0.02, 4, t), 3) for t in (0.0, 1e9))
    assert far.history[-1]["sim_seconds"] > near.history[-1]["sim_seconds"]
    assert near.ledger.uplink_bytes == 3 * K * (OVERHEAD + 1)


@pytest.mark.parametrize("threshold", [-1.0, float("nan")])
def test_a_threshold_is_a_bound(threshold):
    with pytest.raises(ValueError, match="threshold must be >= 0, got"):
        dynamic_averaging(0.1, 4, threshold)


def test_what_is_lossy_is_refused():
    plain = dynamic_averaging(0.1, 4)
    with pytest.raises(ValueError, match="the server reads every upload exactly"):
        Strategy(plain.inner, plain.period, uplink=TopK(0.1), mixing=plain.mixing)
    with pytest.raises(ValueError, match="every client receives the anchor exactly"):
        Strategy(plain.inner, plain.period, downlink=TopK(0.1), mixing=plain.mixing)


def test_what_needs_an_averaging_server_is_refused():
    plain = dynamic_averaging(0.1, 4)
    with pytest.raises(ValueError, match="a server averages the models"):
        Strategy(Momentum(0.1, "average"), plain.period, mixing=plain.mixing)
    with pytest.raises(ValueError, match="mixing=AverageOnAlarm"):
        Strategy(plain.inner, plain.period, scaffold(0.1, 4).correction, mixing=plain.mixing)


def test_everybody_is_needed():
    with pytest.raises(ValueError, match="every client takes part"):
        simulate(PROBLEM, dynamic_averaging(0.1, 4), 1, participation=0.5)


def test_messages_over_flower_are_refused():
    sim = ragged.simulation(dynamic_averaging(0.1, 3))
    with pytest.raises(
        ValueError, match=r"AverageOnAlarm.*in the middle of a round, which is not supported"
    ):
        check_messages(sim)
