from itertools import pairwise

import numpy as np
import pytest

from fedlocal import Clock
from fedlocal.rounds.scoring import Evaluate
from fedlocal.slots.inner.lr_schedules import StepRate
from strategies.adacomm import adacomm
from tests.choices import every_pair
from tests.oracles import adacomm as oracle
from tests.problems import RUNTIMES, distance, least_squares, simulate

PROBLEM = least_squares()
ROUNDS = 14


def losses():
    def of(a, b):
        return lambda x: 0.5 * np.mean((a @ x - b[:, 0]) ** 2)

    return [of(a, b) for a, b in zip(PROBLEM.features, PROBLEM.targets, strict=True)]


def periods(result):
    return [row["period"] for row in result.history]


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("drops", [{}, {6: 0.1}, {4: 4.0, 9: 0.05}], ids=["constant", "drop", "up"])
@pytest.mark.parametrize(("exponent", "gamma", "block"), [(1, 0.5, 2), (3, 0.7, 1), (0, 0.5, 3)])
def test_follows_the_paper(runtime, drops, exponent, gamma, block):
    rate = StepRate(0.02, drops)
    strategy = adacomm(rate, 12, gamma, exponent, block)
    result = simulate(PROBLEM, strategy, ROUNDS, runtime=runtime)
    rates = [float(rate.at(t, 0, 1)[0]) for t in range(ROUNDS)]
    x, taken = oracle.adacomm(
        PROBLEM.gradients, losses(), PROBLEM.start, rates, 12, gamma, exponent, block
    )
    assert periods(result) == taken
    assert distance(result.params, x) < 1e-12
    assert len(set(taken)) > 2


def test_a_lower_rate_may_lengthen_the_period():
    strategy = adacomm(StepRate(0.02, {6: 0.01}), 12, block=2)
    taken = periods(simulate(PROBLEM, strategy, ROUNDS))
    assert taken[8] > taken[6]
    ignored = periods(simulate(PROBLEM, adacomm(StepRate(0.02, {6: 0.01}), 12, 0.5, 0, 2), ROUNDS))
    assert all(a >= b for a, b in pairwise(ignored))


def test_blocks_in_simulated_seconds():
    # A round of n local steps lasts n seconds.
    clock = Clock("constant", 1.0, latency_seconds=0.0, bandwidth_bytes=float("inf"))
    strategy = adacomm(0.02, 8, block=16.0, unit="seconds")
    taken = periods(simulate(PROBLEM, strategy, ROUNDS, clock=clock))
    # The first round measures; then two rounds of 8 seconds are a block.
    assert taken[:3] == [8, 8, 8] and taken[3] < 8
    lengths = [taken.count(period) * period for period in dict.fromkeys(taken) if period > 1]
    assert all(length >= 16 for length in lengths[:-1])


def test_the_train_loss_of_the_runs_evaluations():
    strategy = adacomm(0.02, 12, block=1, loss="train_loss")
    result = simulate(PROBLEM, strategy, ROUNDS, evaluate=Evaluate(every=4))
    taken = periods(result)
    # Evaluated after rounds 4, 8 and 12: the first measures, the others end blocks.
    assert set(taken[:8]) == {12} and taken[8] == taken[11] < 12 and taken[12] < taken[8]
    rows = result.history
    expected = np.ceil(np.sqrt(rows[7]["train_loss"] / rows[3]["train_loss"]) * 12)
    assert taken[8] == min(expected, 6) or taken[8] == expected < 12


def test_momentum_stays_between_periods():
    strategy = adacomm(0.02, 6, block=2, momentum=0.9)
    result = simulate(PROBLEM, strategy, ROUNDS)
    assert result.client_states.inner.velocity.abs().max() > 1e-3
