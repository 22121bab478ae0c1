from dataclasses import replace

import numpy as np
import pytest

from fedlocal.rounds.message_bytes import OVERHEAD
from fedlocal.slots import Field
from fedlocal.slots.compress import Identity, ScaledSign, TernGrad
from fedlocal.slots.inner.lr_schedules import StepRate
from strategies.sign_sgd import sign_sgd
from strategies.vrl_sgd import DriftCorrection
from tests.choices import every_pair
from tests.oracles import sign_sgd as oracle
from tests.problems import RUNTIMES, distance, least_squares, simulate

PROBLEM = least_squares()
EVEN = least_squares((6, 9, 4, 11))
ROUNDS = 12


def check(runtime, strategy, rates, problem=PROBLEM, **options):
    result = simulate(problem, strategy, len(rates), runtime=runtime)
    x = oracle.sign_sgd(problem.gradients, problem.start, rates, **options)
    assert distance(result.params, x) < 1e-12
    return result


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("problem", [PROBLEM, EVEN], ids=["odd", "even"])
@pytest.mark.parametrize("uplink", [ScaledSign(toss=True), ScaledSign(), Identity()], ids=repr)
def test_follows_the_paper(runtime, momentum, problem, uplink):
    strategy = sign_sgd(0.03, momentum, uplink)
    check(runtime, strategy, [0.03] * ROUNDS, problem, beta=momentum)


def test_the_step_size_is_the_round_s():
    strategy = sign_sgd(StepRate(0.05, {3: 0.1}))
    check("vmapped", strategy, [0.05] * 3 + [0.005] * 3)


def test_every_scalar_moves_by_lr_or_stays_where_the_vote_is_tied():
    moves = simulate(EVEN, sign_sgd(0.03), 1).params.numpy() - EVEN.start
    steps = np.round(moves / 0.03)
    assert distance(moves, 0.03 * steps) < 1e-15
    assert set(steps) == {-1.0, 0.0, 1.0}


def test_the_broadcast_is_exact():
    assert sign_sgd().downlink == TernGrad()
    exact = simulate(EVEN, sign_sgd(0.03, downlink=Identity()), ROUNDS)
    packed = simulate(EVEN, sign_sgd(0.03), ROUNDS)
    assert distance(exact.params, packed.params) == 0
    assert packed.ledger.downlink_bytes < exact.ledger.downlink_bytes


def test_a_message_is_a_bit_a_scalar_and_a_float():
    assert tuple(sign_sgd().uplink.layout(800)) == (Field(1), Field(800, 1))
    result = simulate(PROBLEM, sign_sgd(0.03), 2)
    clients = len(PROBLEM.sizes)
    assert result.ledger.uplink_bytes == 2 * clients * (OVERHEAD + 8 + 1)


def test_a_correction_that_needs_the_mean_is_refused():
    with pytest.raises(ValueError, match=r"needs: .* mixing=MajorityVote\(\) breaks that"):
        replace(sign_sgd(downlink=Identity()), correction=DriftCorrection())


def test_nesterov_momentum_is_voted_on():
    strategy = sign_sgd(0.03, 0.9, nesterov=True)
    check("vmapped", strategy, [0.03] * ROUNDS, beta=0.9, nesterov=True)
