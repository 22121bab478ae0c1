import numpy as np
import pytest

from fedlocal.slots.compress import ErrorFeedback, PerLayer, ScaledSign, TopK
from fedlocal.slots.inner.lr_schedules import StepRate
from fedlocal.vectors.flat import ParamSpec
from strategies.ef_sign_sgd import ef_sign_sgd
from strategies.qsparse_local_sgd import qsparse_local_sgd
from tests.choices import every_pair
from tests.oracles import ef_sign_sgd as oracle
from tests.problems import RUNTIMES, distance, simulate, two_layers

PROBLEM = two_layers()
SIZES = (21, 3)
ROUNDS = 6


def check(runtime, strategy, rates, period, sizes=SIZES, **options):
    result = simulate(PROBLEM, strategy, len(rates), runtime=runtime)
    x, e = oracle.ef_sign_sgd(PROBLEM.gradients, PROBLEM.start, rates, period, sizes, **options)
    assert distance(result.params, x) < 1e-12
    # The paper's p is before - after; what travels here is after - before.
    assert distance(-result.client_states.uplink.residual, e) < 1e-12


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("period", [1, 4])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_follows_the_paper(runtime, period, momentum):
    strategy = ef_sign_sgd(0.02, period, momentum=momentum)
    check(runtime, strategy, [0.02] * ROUNDS, period, momentum=momentum)


def test_one_scale_for_all_layers():
    strategy = ef_sign_sgd(0.02, uplink=ScaledSign())
    check("vmapped", strategy, [0.02] * ROUNDS, 1, sizes=(24,))


def test_the_residual_is_in_model_units_when_the_rate_drops():
    strategy = ef_sign_sgd(StepRate(0.05, {3: 0.1}), 1)
    check("vmapped", strategy, [0.05] * 3 + [0.005] * 3, 1)


def test_a_message_is_a_bit_a_scalar_and_a_float_a_layer():
    layout = ef_sign_sgd().bind(ParamSpec.of(PROBLEM.model())).uplink.layout(24)
    fields = [field for layer in layout for field in layer]
    assert [(f.length, f.bits) for f in fields] == [(1, 0), (21, 1), (1, 0), (3, 1)]


def test_feedback_is_not_wrapped_twice():
    assert ef_sign_sgd(uplink=ErrorFeedback(ScaledSign())).uplink == ErrorFeedback(ScaledSign())
    assert ef_sign_sgd().uplink == ErrorFeedback(PerLayer(ScaledSign()))


def test_it_is_error_feedback_with_another_compressor():
    one, other = ef_sign_sgd(0.02, 3, TopK(0.3)), qsparse_local_sgd(0.02, 3, TopK(0.3))
    ends = [simulate(PROBLEM, strategy, ROUNDS).params for strategy in (one, other)]
    assert np.array_equal(*ends)
