import pytest

from fedlocal.rounds.message_bytes import OVERHEAD
from strategies.d_psgd import d_psgd
from tests.oracles import d_psgd as oracle
from tests.problems import distance, least_squares, simulate

PROBLEM = least_squares()
K, P = len(PROBLEM.sizes), len(PROBLEM.start)
ROUNDS = 8


@pytest.mark.parametrize("order", ["adapt_then_combine", "combine_then_adapt"])
def test_follows_the_paper(order):
    result = simulate(PROBLEM, d_psgd(0.05, "ring", order), ROUNDS)
    before = order == "combine_then_adapt"
    x = oracle.d_psgd(PROBLEM.gradients, PROBLEM.start, [0.05] * ROUNDS, before)
    assert distance(result.client_params, x) < 1e-12
    assert distance(result.params, x.mean(0)) < 1e-12


def test_one_step_a_round():
    history = simulate(PROBLEM, d_psgd(0.05), ROUNDS).history
    assert [row["period"] for row in history] == [1] * ROUNDS


def test_a_client_sends_its_model_to_both_neighbours():
    record = simulate(PROBLEM, d_psgd(0.05), 1).ledger.records[0]
    message = 8 * P + OVERHEAD
    assert record.uplink_bytes.tolist() == [2 * message] * K
    assert record.downlink_bytes.tolist() == [2 * message] * K


def test_clients_keep_models_of_their_own():
    x = simulate(PROBLEM, d_psgd(0.05), ROUNDS).client_params
    assert (x - x.mean(0)).abs().max() > 1e-3


def test_a_directed_graph_is_refused():
    with pytest.raises(ValueError, match=r"every row of W must sum to 1.*or sgp"):
        simulate(PROBLEM, d_psgd(0.05, "erdos_renyi:0.5:0:directed"), 1)
