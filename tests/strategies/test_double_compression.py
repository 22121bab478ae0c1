import pytest

from fedlocal.slots.compress import Identity, PerLayer, ScaledSign, TopK
from fedlocal.slots.inner.lr_schedules import StepRate
from strategies.double_compression import double_compression
from tests.choices import every_pair
from tests.oracles import double_compression as oracle
from tests.oracles.compressors import identity, per_layer, scaled_sign, top_k
from tests.problems import RUNTIMES, distance, least_squares, simulate, two_layers

PROBLEM = least_squares()
ROUNDS = 6

COMPRESSORS = {
    "top3": (TopK(0.3), top_k(0.3)),
    "top1": (TopK(0.01), top_k(0.01)),
    "sign": (ScaledSign(), scaled_sign),
    "identity": (Identity(), identity),
}


def check(runtime, strategy, rates, period, up, down, problem=PROBLEM, **options):
    result = simulate(problem, strategy, len(rates), runtime=runtime)
    x, e, E = oracle.double_compression(
        problem.gradients, problem.start, rates, period, up, down, **options
    )
    assert distance(result.params, x) < 1e-12
    # The paper's a_i is before - after; what travels here is after - before, so e_i = -residual.
    assert distance(-result.client_states.uplink.residual, e) < 1e-12
    assert distance(-result.server_state.downlink.residual, E[None]) < 1e-12


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("period", [1, 4])
@pytest.mark.parametrize(
    ("up", "down"),
    [
        ("top3", "top3"),
        ("sign", "sign"),
        ("sign", "top3"),
        ("identity", "top3"),
        ("top1", "identity"),
    ],
)
def test_follows_the_paper(runtime, period, up, down):
    (ours_up, theirs_up), (ours_down, theirs_down) = COMPRESSORS[up], COMPRESSORS[down]
    strategy = double_compression(0.05, period, uplink=ours_up, downlink=ours_down)
    check(runtime, strategy, [0.05] * ROUNDS, period, theirs_up, theirs_down)


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("period", [1, 4])
@pytest.mark.parametrize("buffers", ["keep", "reset", "average"])
def test_momentum_form(runtime, period, buffers):
    strategy = double_compression(
        0.01, period, uplink=TopK(0.3), downlink=TopK(0.5), momentum=0.9, buffers=buffers
    )
    rates = [0.01] * ROUNDS
    check(runtime, strategy, rates, period, top_k(0.3), top_k(0.5), mu=0.9, at_sync=buffers)


def test_residuals_are_in_model_units_when_the_rate_drops():
    strategy = double_compression(StepRate(0.05, {3: 0.1}), 4, uplink=TopK(0.3), downlink=TopK(0.3))
    check("vmapped", strategy, [0.05] * 3 + [0.005] * 3, 4, top_k(0.3), top_k(0.3))


def test_per_layer():
    strategy = double_compression(
        0.05, 3, uplink=PerLayer(ScaledSign()), downlink=PerLayer(TopK(0.3))
    )
    up, down = per_layer(scaled_sign, (21, 3)), per_layer(top_k(0.3), (21, 3))
    check("vmapped", strategy, [0.05] * ROUNDS, 3, up, down, problem=two_layers())


def test_one_percent_by_default():
    strategy = double_compression(0.05, 3)
    tops = top_k(0.01), top_k(0.01)
    check("vmapped", strategy, [0.05] * ROUNDS, 3, *tops, problem=two_layers())
