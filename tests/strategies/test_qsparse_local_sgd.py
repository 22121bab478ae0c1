import pytest

from fedlocal.slots.compress import PerLayer, ScaledSign, TopK
from fedlocal.slots.inner.lr_schedules import StepRate
from strategies.qsparse_local_sgd import qsparse_local_sgd
from tests.choices import every_pair
from tests.oracles import qsparse_local_sgd as oracle
from tests.oracles.compressors import per_layer, scaled_sign, top_k
from tests.problems import RUNTIMES, distance, least_squares, simulate, two_layers

PROBLEM = least_squares()
ROUNDS = 6


def check(runtime, strategy, rates, period, compress, problem=PROBLEM, **options):
    result = simulate(problem, strategy, len(rates), runtime=runtime)
    x, memory = oracle.qsparse_local_sgd(
        problem.gradients, problem.start, rates, period, compress, **options
    )
    assert distance(result.params, x) < 1e-12
    # The paper's a_i is before - after; what travels here is after - before.
    assert distance(-result.client_states.uplink.residual, memory) < 1e-12


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("period", [1, 4])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(TopK(0.3), top_k(0.3)), (ScaledSign(), scaled_sign)],
    ids=["top", "sign"],
)
def test_follows_the_paper(runtime, period, momentum, ours, theirs):
    strategy = qsparse_local_sgd(0.01, period, uplink=ours, momentum=momentum)
    check(runtime, strategy, [0.01] * ROUNDS, period, theirs, momentum=momentum)


def test_memory_is_in_model_units_when_the_rate_drops():
    strategy = qsparse_local_sgd(StepRate(0.05, {3: 0.1}), 4, uplink=TopK(0.3))
    check("vmapped", strategy, [0.05] * 3 + [0.005] * 3, 4, top_k(0.3))


def test_per_layer():
    strategy = qsparse_local_sgd(0.05, 3, uplink=PerLayer(TopK(0.3)))
    compress = per_layer(top_k(0.3), (21, 3))
    check("vmapped", strategy, [0.05] * ROUNDS, 3, compress, problem=two_layers())
