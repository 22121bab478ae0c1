from dataclasses import replace

import pytest

from fedlocal.slots.compress import ErrorFeedback, TopK
from fedlocal.slots.inner.lr_schedules import StepRate
from fedlocal.slots.inner.sgd import AdamW, Momentum
from fedlocal.slots.mixing import WeightedMean
from strategies.scaffold import scaffold
from tests.choices import every_pair
from tests.oracles import scaffold as oracle
from tests.problems import RUNTIMES, distance, least_squares, repeated_rows, simulate

PROBLEM = least_squares()
ROUNDS = 6


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("option", ["I", "II"])
@pytest.mark.parametrize(("period", "server_lr"), [(1, 1.0), (4, 1.0), (4, 0.6)])
@pytest.mark.parametrize("participation", [1.0, 0.4])
def test_follows_the_paper(runtime, option, period, server_lr, participation):
    strategy = scaffold(0.05, period, server_lr, option)
    result = simulate(PROBLEM, strategy, ROUNDS, runtime=runtime, participation=participation)
    cohorts = [record.clients for record in result.ledger.records]
    assert len({tuple(cohort) for cohort in cohorts}) == (1 if participation == 1 else 5)
    x, c, c_i = oracle.scaffold(
        PROBLEM.gradients, PROBLEM.start, 0.05, period, ROUNDS, server_lr, option, cohorts
    )
    assert distance(result.params, x) < 1e-12
    assert distance(result.server_state.correction.mean, c) < 1e-12
    assert distance(result.client_states.correction.own, c_i) < 1e-12


@pytest.mark.parametrize("option", ["I", "II"])
def test_mini_batches_give_option_i_its_full_gradient(option):
    problem = repeated_rows()
    result = simulate(problem, scaffold(0.05, 3, option=option), ROUNDS, batch_size=2)
    x, _, c_i = oracle.scaffold(problem.gradients, problem.start, 0.05, 3, ROUNDS, option=option)
    assert distance(result.params, x) < 1e-12
    assert distance(result.client_states.correction.own, c_i) < 1e-12


def test_a_drop_of_the_rate_rescales_nothing():
    result = simulate(PROBLEM, scaffold(StepRate(0.05, {2: 0.1}), 4), 3)
    before = oracle.scaffold(PROBLEM.gradients, PROBLEM.start, 0.05, 4, 2)
    # One more round at a tenth, from the state that two rounds left.
    x, c, c_i = before
    ends = []
    for i, gradient in enumerate(PROBLEM.gradients):
        y = x
        for _ in range(4):
            y = y - 0.005 * (gradient(y) - c_i[i] + c)
        ends.append(y)
    assert distance(result.params, sum(ends) / len(ends)) < 1e-12


def test_option_two_sends_nothing_but_the_model():
    size = len(PROBLEM.start)
    both, one = (simulate(PROBLEM, scaffold(0.05, 2, option=o), 1).ledger for o in ("I", "II"))
    extra = 8 * size * len(PROBLEM.sizes)
    assert both.uplink_bytes - one.uplink_bytes == extra
    assert both.downlink_bytes == one.downlink_bytes


@pytest.mark.parametrize("option", ["I", "II"])
@pytest.mark.parametrize("link", ["uplink", "downlink"])
def test_c_stays_the_mean_behind_a_lossy_link(option, link):
    strategy = replace(scaffold(0.05, 3, option=option), **{link: ErrorFeedback(TopK(0.3))})
    result = simulate(PROBLEM, strategy, ROUNDS, batch_size=2, participation=0.6)
    own, mean = result.client_states.correction.own, result.server_state.correction.mean
    assert mean.abs().max() > 1e-3
    assert distance(own.mean(0), mean) < 1e-12


def test_an_unknown_option_is_refused():
    with pytest.raises(ValueError, match="option must be 'I' or 'II', got 'III'"):
        scaffold(0.1, 5, option="III")  # type: ignore[arg-type]


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("option", ["I", "II"])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("participation", [1.0, 0.4])
def test_momentum_divides_by_the_effective_step(runtime, option, nesterov, participation):
    strategy = scaffold(0.02, 4, 1.0, option, momentum=0.7, nesterov=nesterov)
    result = simulate(PROBLEM, strategy, ROUNDS, runtime=runtime, participation=participation)
    cohorts = [record.clients for record in result.ledger.records]
    x, c, c_i = oracle.scaffold(
        PROBLEM.gradients, PROBLEM.start, 0.02, 4, ROUNDS, 1.0, option, cohorts, 0.7, nesterov
    )
    assert distance(result.params, x) < 1e-12
    assert distance(result.server_state.correction.mean, c) < 1e-12
    assert distance(result.client_states.correction.own, c_i) < 1e-12


@pytest.mark.parametrize("option", ["I", "II"])
@pytest.mark.parametrize(
    ("slot", "piece", "needs"),
    [
        ("inner", AdamW(0.01, "reset"), "known multiple of its direction"),
        ("inner", Momentum(0.01, "keep"), "when a round begins|begin every round at zero"),
        ("inner", Momentum(0.01, "average"), "begin every round at zero"),
        ("mixing", WeightedMean("examples"), "all clients have equal weight"),
    ],
    ids=["AdamW", "keep", "average", "examples"],
)
def test_what_would_bias_the_variates_is_refused_by_name(option, slot, piece, needs):
    with pytest.raises(ValueError, match=needs) as refusal:
        replace(scaffold(0.01, 5, option=option), **{slot: piece})
    assert f"{slot}={piece!r}" in str(refusal.value)
