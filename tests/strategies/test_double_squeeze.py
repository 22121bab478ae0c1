import pytest

from fedlocal.slots.compress import PerLayer, ScaledSign, TopK
from fedlocal.slots.inner.lr_schedules import StepRate
from strategies.double_squeeze import double_squeeze
from tests.oracles import double_squeeze as oracle
from tests.oracles.compressors import identity, per_layer, scaled_sign, top_k
from tests.problems import distance, least_squares, simulate, two_layers

PROBLEM = least_squares()
ROUNDS = 6
LR = 0.05


def check(strategy, up, down, problem=PROBLEM):
    result = simulate(problem, strategy, ROUNDS)
    x, worker, server = oracle.double_squeeze(
        problem.gradients, problem.start, [LR] * ROUNDS, up, down
    )
    assert distance(result.params, x) < 1e-12
    # In model units, and after - before.
    assert distance(-result.client_states.uplink.residual / LR, worker) < 1e-12
    assert distance(-result.server_state.downlink.residual / LR, server[None]) < 1e-12


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(TopK(0.3), top_k(0.3)), (ScaledSign(), scaled_sign)],
    ids=["top", "sign"],
)
def test_follows_the_paper(ours, theirs):
    check(double_squeeze(LR, ours, ours), theirs, theirs)


def test_unlike_links():
    check(double_squeeze(LR, ScaledSign(), TopK(0.3)), scaled_sign, top_k(0.3))
    check(double_squeeze(LR, TopK(1.0), TopK(0.3)), identity, top_k(0.3))


def test_signs_of_each_layer_by_default():
    compress = per_layer(scaled_sign, (21, 3))
    check(double_squeeze(LR), compress, compress, problem=two_layers())
    assert double_squeeze().uplink == double_squeeze(uplink=PerLayer(ScaledSign())).uplink


def test_the_units_of_the_residual_matter_once_the_rate_has_dropped():
    strategy = double_squeeze(StepRate(LR, {3: 0.1}), TopK(0.3), TopK(0.3))
    rates = [LR] * 3 + [LR / 10] * 3
    for rounds, same in [(3, True), (6, False)]:
        ours = simulate(PROBLEM, strategy, rounds).params
        x, _, _ = oracle.double_squeeze(
            PROBLEM.gradients, PROBLEM.start, rates[:rounds], top_k(0.3), top_k(0.3)
        )
        assert distance(ours, x) < 1e-12 if same else distance(ours, x) > 1e-3
