import pytest

from fedlocal.slots.compress import ErrorFeedback, Identity, PerLayer, RandomK, ScaledSign, TopK
from fedlocal.slots.inner.lr_schedules import StepRate
from strategies.cser import cser
from tests.choices import every_pair
from tests.oracles import cser as oracle
from tests.oracles.compressors import identity, per_layer, scaled_sign, top_k
from tests.problems import RUNTIMES, distance, least_squares, simulate, two_layers

PROBLEM = least_squares()
ROUNDS = 7
COMPRESSORS = {
    "top3": (TopK(0.3), top_k(0.3)),
    "top1": (TopK(0.01), top_k(0.01)),
    "sign": (ScaledSign(), scaled_sign),
    "identity": (Identity(), identity),
}


def check(runtime, strategy, rates, period, resets, reset, step, beta=0.0, problem=PROBLEM):
    result = simulate(problem, strategy, len(rates), runtime=runtime)
    x, e = oracle.cser(problem.gradients, problem.start, rates, period, resets, reset, step, beta)
    assert distance(result.client_params, x) < 1e-12
    assert distance(result.params, x.mean(axis=0)) < 1e-12
    assert distance(result.client_states.mixing.error, e) < 1e-12
    assert distance(result.client_states.uplink.error, e) < 1e-12
    assert distance(result.server_state.anchor[0], (x - e)[0]) < 1e-12


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("period", [1, 4])
@pytest.mark.parametrize("resets", [1, 3])
@pytest.mark.parametrize(
    ("step", "reset"),
    [("top1", "top3"), ("sign", "top3"), ("top3", "sign"), ("top1", "identity")],
)
def test_follows_the_paper(runtime, period, resets, step, reset):
    (ours, theirs), (ours_reset, theirs_reset) = COMPRESSORS[step], COMPRESSORS[reset]
    strategy = cser(0.05, period, resets, ours, ours_reset)
    check(runtime, strategy, [0.05] * ROUNDS, period, resets, theirs_reset, theirs)


@pytest.mark.parametrize("period", [1, 3])
def test_momentum_form(period):
    strategy = cser(0.02, period, 2, TopK(0.3), TopK(0.6), momentum=0.8)
    check("vmapped", strategy, [0.02] * ROUNDS, period, 2, top_k(0.6), top_k(0.3), beta=0.8)


def test_the_error_is_in_model_units_when_the_rate_drops():
    strategy = cser(StepRate(0.05, {3: 0.1}), 1, 2, TopK(0.3), TopK(0.3))
    check("vmapped", strategy, [0.05] * 3 + [0.005] * 4, 1, 2, top_k(0.3), top_k(0.3))


def test_per_layer():
    strategy = cser(0.05, 2, 2, PerLayer(ScaledSign()), PerLayer(TopK(0.3)))
    step, reset = per_layer(scaled_sign, (21, 3)), per_layer(top_k(0.3), (21, 3))
    check("vmapped", strategy, [0.05] * ROUNDS, 2, 2, reset, step, problem=two_layers())


def test_the_second_message_is_paid_for_when_it_is_sent():
    result = simulate(PROBLEM, cser(0.05, 1, 3, TopK(0.3), TopK(0.6)), ROUNDS)
    sent = [int(record.uplink_bytes[0]) for record in result.ledger.records]
    small, large = sorted(set(sent))
    assert [size == large for size in sent] == [False, False, True, False, False, True, False]
    alone = simulate(PROBLEM, cser(0.05, 1, 1, TopK(0.3), TopK(0.6)), 1).ledger.uplink_bytes
    assert alone == len(PROBLEM.sizes) * large > len(PROBLEM.sizes) * small


def test_an_unbiased_compressor_does_not_blow_the_error_up():
    strategy = cser(0.02, 1, 2, RandomK(0.2), RandomK(0.2))
    errors = simulate(PROBLEM, strategy, 60).client_states.mixing.error
    assert 1e-6 < float(errors.abs().max()) < 1.0


def test_sampled_clients_are_refused():
    with pytest.raises(ValueError, match="every client takes part"):
        simulate(PROBLEM, cser(0.05), 1, participation=0.5)


@pytest.mark.parametrize(
    "options",
    [{"uplink": ErrorFeedback(TopK(0.1))}, {"reset": PerLayer(ErrorFeedback(TopK(0.1)))}],
)
def test_error_feedback_beside_the_error_is_refused(options):
    with pytest.raises(ValueError, match=r"keeps the error itself.*error_feedback=false"):
        cser(0.05, **options)


@pytest.mark.parametrize("resets", [0, -1, 1.5])
def test_resets_come(resets):
    with pytest.raises(ValueError, match="reset_period must be a whole number of exchanges >= 1"):
        cser(0.05, 1, resets)
