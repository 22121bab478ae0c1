"""Laws of the compressed methods. Rows are those of the equivalence matrix, as in test_laws."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fedlocal.slots import Compressor, Field
from fedlocal.slots.compress import (
    ErrorFeedback,
    Identity,
    PowerSGD,
    RandomK,
    ScaledSign,
    TopK,
)
from fedlocal.vectors.trees import Tree
from strategies.cser import cser
from strategies.double_squeeze import double_squeeze
from strategies.ef_sign_sgd import ef_sign_sgd
from strategies.local_sgd import local_sgd
from strategies.minibatch_sgd import minibatch_sgd
from strategies.power_sgd import power_sgd
from strategies.qsparse_local_sgd import qsparse_local_sgd
from strategies.sign_sgd import sign_sgd
from tests.gaps import DIFFERENT, EXACT, gap
from tests.laws.domain import ROUNDS, crowds, law, momenta, periods, rates, runtimes, seeds
from tests.matrices import many_outputs
from tests.problems import (
    RUNTIMES,
    constant_gradients,
    distance,
    identical_clients,
    least_squares,
    leaves,
    mean_output,
    simulate,
)


@dataclass(frozen=True)
class Nothing(Compressor):
    """The other end of the scale: a message without content."""

    def encode(self, v: Tensor, state: Tree, noise: Tensor) -> tuple[Tree, Tree]:
        return v[:0], state

    def decode(self, message: Tree, noise: Tensor, size: int) -> Tensor:
        return message.new_zeros(size)

    def layout(self, size: int) -> Tree:
        return Field(0)


# Row 16: what is lossless is local SGD, or synchronous SGD.


@law
@given(problem=crowds, lr=rates, period=periods, seed=seeds, runtime=runtimes)
def test_row_16_lossless_messages_are_local_sgd(problem, lr, period, seed, runtime):
    local = local_sgd(lr, period)
    for other in (
        ef_sign_sgd(lr, period, Identity()),
        power_sgd(lr, period, Identity(), momentum=0.0),
        power_sgd(lr, period, PowerSGD(4), momentum=0.0),
        cser(lr, period, 2, Identity(), Identity()),
        cser(lr, period, 2, TopK(1.0), TopK(0.1)),
        # An exact reset at every exchange sends what the first message left out.
        cser(lr, period, 1, TopK(0.3), Identity()),
    ):
        assert gap(problem, local, other, seed=seed, runtime=runtime) < EXACT


@law
@given(problem=crowds, lr=rates, seed=seeds, beta=momenta, runtime=runtimes)
def test_row_16_lossless_messages_of_one_step_are_synchronous(problem, lr, seed, beta, runtime):
    options = {"seed": seed, "runtime": runtime}
    plain, heavy = minibatch_sgd(lr), minibatch_sgd(lr, beta)
    nesterov = minibatch_sgd(lr, beta, nesterov=True)
    assert gap(problem, plain, double_squeeze(lr, Identity(), TopK(1.0)), **options) < EXACT
    assert gap(problem, plain, ef_sign_sgd(lr, 1, TopK(1.0)), **options) < EXACT
    assert gap(problem, heavy, ef_sign_sgd(lr, 1, TopK(1.0), beta), **options) < EXACT
    assert gap(problem, nesterov, cser(lr, 1, 2, Identity(), momentum=beta), **options) < EXACT
    # After the mean, or before it on every client: momentum is linear.
    assert gap(problem, nesterov, power_sgd(lr, 1, PowerSGD(9), beta), **options) < EXACT


@law
@given(problem=crowds, lr=st.floats(0.02, 0.04), period=periods, seed=seeds)
def test_lossy_messages_are_not_local_sgd(problem, lr, period, seed):
    local = local_sgd(lr, period)
    for other in (ef_sign_sgd(lr, period), cser(lr, period, 2, TopK(0.25), TopK(0.25))):
        assert gap(problem, local, other, seed=seed) > DIFFERENT
    assert gap(problem, minibatch_sgd(lr), double_squeeze(lr), seed=seed) > DIFFERENT


@law
@given(problem=crowds, lr=rates, period=periods, seed=seeds)
def test_error_feedback_lies_between_all_and_nothing(problem, lr, period, seed):
    local = local_sgd(lr, period)
    everything = replace(local, uplink=ErrorFeedback(Identity()))
    assert gap(problem, local, everything, seed=seed) < EXACT
    nothing = replace(local, uplink=ErrorFeedback(Nothing()))
    result = simulate(problem, nothing, ROUNDS, batch_size=2, seed=seed)
    assert distance(result.params, problem.start) == 0
    one = simulate(problem, local, 1, batch_size=2, seed=seed).params.numpy() - problem.start
    first = simulate(problem, nothing, 1, batch_size=2, seed=seed).client_states.uplink.residual
    assert distance(first.mean(0), one) < EXACT


# Row 17: nothing is lost for good.

FEEDBACK = {
    "ef_sign_sgd": ef_sign_sgd(0.03),
    "double_squeeze": double_squeeze(0.03),
    "double_squeeze_top": double_squeeze(0.03, TopK(0.2), RandomK(0.3)),
    "power_sgd": power_sgd(0.03, 1, PowerSGD(1), momentum=0.0),
}


def owed(result) -> Tensor:
    """The model once everybody will have sent what they keep."""
    held = result.server_state.downlink
    return (
        result.params
        + result.client_states.uplink.residual.mean(dim=0)
        + (held.residual[0] if held != () else 0.0)
    )


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", FEEDBACK)
def test_row_17_error_feedback_loses_nothing(name, runtime):
    problem = many_outputs()
    model = problem.start
    expected = model
    for rounds in range(1, 5):
        expected = expected - 0.03 * np.mean([g(model) for g in problem.gradients], axis=0)
        result = simulate(problem, FEEDBACK[name], rounds, runtime=runtime)
        assert result.client_states.uplink.residual.abs().max() > 1e-3
        assert distance(owed(result), expected) < EXACT
        model = result.params.numpy()


@law
@given(name=st.sampled_from(sorted(FEEDBACK)), seed=seeds, num_clients=st.integers(1, 5))
def test_row_17_wherever_the_gradients_come_from(name, seed, num_clients):
    vectors = np.random.default_rng(seed).standard_normal((num_clients, 6))
    problem = constant_gradients(vectors, size=3)
    result = simulate(problem, FEEDBACK[name], 7, batch_size=2, loss=mean_output, seed=seed)
    assert distance(owed(result), problem.start - 0.03 * 7 * vectors.mean(axis=0)) < EXACT


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("reset", [TopK(0.3), ScaledSign(), PowerSGD(1), Nothing()], ids=repr)
def test_row_17_the_mean_of_cser_moves_by_the_mean_gradient(reset, runtime):
    # Taken at the clients' own models: what is left out is applied there at once.
    problem = many_outputs()
    models, mean = np.tile(problem.start, (5, 1)), problem.start
    for rounds in range(1, 6):
        pairs = zip(problem.gradients, models, strict=True)
        mean = mean - 0.03 * np.mean([gradient(x) for gradient, x in pairs], axis=0)
        result = simulate(problem, cser(0.03, 1, 2, TopK(0.1), reset), rounds, runtime=runtime)
        models = result.client_params.numpy()
        errors = result.client_states.mixing.error
        assert errors.abs().max() > 1e-3
        assert distance(result.params, mean) < EXACT
        assert distance(result.server_state.anchor[0] + errors.mean(0), mean) < EXACT


@law
@given(seed=seeds, period=periods, kept=st.sampled_from([0.2, 0.5]))
def test_the_error_of_cser_is_a_residual_applied_early(seed, period, kept):
    # Where gradients are the same everywhere, it does not matter where they are taken.
    vectors = np.random.default_rng(seed).standard_normal((4, 6))
    problem = constant_gradients(vectors, size=3)
    waiting = qsparse_local_sgd(0.03, period, TopK(kept))
    early = cser(0.03, period, 1, Nothing(), TopK(kept))
    one, other = (
        simulate(problem, strategy, ROUNDS, batch_size=2, loss=mean_output)
        for strategy in (waiting, early)
    )
    assert distance(one.params, other.server_state.anchor[0]) < EXACT
    residual = one.client_states.uplink.residual
    assert distance(residual, other.client_states.mixing.error) < EXACT
    assert residual.abs().max() > 1e-3


# Row 23: low rank.


@law
@given(lr=rates, period=periods, seed=seeds, runtime=runtimes)
def test_row_23_the_full_rank_is_exact(lr, period, seed, runtime):
    problem, local = many_outputs(seed=seed), local_sgd(lr, period)
    options = {"seed": seed, "runtime": runtime}
    assert gap(problem, local, power_sgd(lr, period, PowerSGD(4), 0.0), **options) < EXACT
    assert gap(problem, local, power_sgd(lr, period, PowerSGD(1), 0.0), **options) > DIFFERENT
    # In the broadcast, too.
    both = replace(local, uplink=PowerSGD(4), downlink=PowerSGD(5))
    assert gap(problem, local, both, **options) < EXACT


@law
@given(lr=rates, seed=seeds)
def test_the_gradient_of_one_example_has_rank_one(lr, seed):
    problem = many_outputs(seed=seed)
    one = replace(minibatch_sgd(lr), uplink=PowerSGD(1))
    assert gap(problem, minibatch_sgd(lr), one, batch_size=1, seed=seed) < EXACT


# Votes.


def votes(vectors, rounds=1, **options):
    """How far the model went, in units of lr, on constant gradients."""
    problem = constant_gradients(np.asarray(vectors, dtype=float))
    result = simulate(problem, sign_sgd(0.1, **options), rounds, loss=mean_output)
    return (result.params.numpy() - problem.start) / 0.1


def test_a_majority_decides_for_each_coordinate():
    gradients = [[1.0, -3.0, 0.1, 5.0], [2.0, -1.0, -9.0, -1.0], [0.5, 4.0, -0.2, -1.0]]
    assert distance(votes(gradients), [-1, 1, 1, 1]) < 1e-12
    # Two against two: nothing happens.
    assert distance(votes([*gradients, [-7.0, -1.0, 1.0, 2.0]]), [-1, 1, 0, 0]) < 1e-12


@law
@given(problem=crowds, lr=rates, seed=seeds, runtime=runtimes)
def test_alone_it_is_sign_descent(problem, lr, seed, runtime):
    alone = replace(
        problem,
        features=problem.features[:1],
        targets=problem.targets[:1],
        gradients=problem.gradients[:1],
    )
    x = alone.start
    for _ in range(ROUNDS):
        x = x - lr * np.sign(alone.gradients[0](x))
    result = simulate(alone, sign_sgd(lr), ROUNDS, runtime=runtime, seed=seed)
    assert distance(result.params, x) < EXACT


@law
@given(lr=rates, beta=st.just(0.0) | momenta, seed=seeds)
def test_identical_clients_are_of_one_mind(lr, beta, seed):
    many, one = identical_clients(5, seed=seed), identical_clients(1, seed=seed)
    ends = [simulate(problem, sign_sgd(lr, beta), ROUNDS).params for problem in (many, one)]
    assert distance(*ends) < EXACT


@law
@given(seed=seeds, size=st.sampled_from([1e-3, 10.0, 1e6]), beta=momenta)
def test_how_loudly_a_client_votes_does_not_matter(seed, size, beta):
    vectors = np.random.default_rng(seed).standard_normal((5, 8))
    louder = vectors * np.array([[size], [1], [1], [1], [1]])
    assert distance(votes(vectors, rounds=4), votes(louder, rounds=4)) < 1e-9
    # Nor does momentum, of gradients that are the same everywhere.
    assert distance(votes(vectors, rounds=4), votes(vectors, rounds=4, momentum=beta)) < 1e-9


def test_two_adversaries_cannot_outvote_three():
    honest = np.array([1.0, -1.0, 2.0, -0.5])
    assert distance(votes([honest] * 3 + [-100 * honest] * 2), [-1, 1, -1, 1]) < 1e-12
    assert distance(votes([honest] * 2 + [-honest] * 3), [1, -1, 1, -1]) < 1e-12


def test_who_has_nothing_to_say_tosses_a_coin_or_abstains():
    # One client in five knows of the second half of the coordinates.
    vectors = np.ones((5, 800))
    vectors[1:, 400:] = 0.0
    tossed, abstained = votes(vectors), votes(vectors, uplink=Identity())
    fixed = votes(vectors, uplink=ScaledSign())
    assert (tossed[:400] < 0).all() and (abstained < 0).all()
    # It takes three tosses of four to stop it, which happens in 5 of 16 cases.
    with_it = float((tossed[400:] < 0).mean())
    assert abs(with_it - 11 / 16) < 5 * (11 / 16 * 5 / 16 / 400) ** 0.5
    assert (fixed[400:] > 0).all()


def test_where_nobody_has_anything_to_say_the_model_stays_on_average():
    vectors = np.zeros((5, 2000))
    vectors[:, 0] = 1.0
    moves = votes(vectors)
    assert set(np.round(moves)) == {-1.0, 1.0}
    assert abs(moves[1:].mean()) < 5 / 2000**0.5


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_vote_of_some_is_a_vote(runtime):
    problem = least_squares()
    result = simulate(problem, sign_sgd(0.1), 1, runtime=runtime, participation=0.4, seed=2)
    moves = (result.params.numpy() - problem.start) / 0.1
    signs = np.array([-np.sign(gradient(problem.start)) for gradient in problem.gradients])
    pairs = [np.sign(signs[i] + signs[j]) for i in range(5) for j in range(i)]
    assert min(distance(moves, pair) for pair in pairs) < EXACT
    assert torch.isfinite(result.params).all()


# Order of clients.

EVERYONE = {
    "ef_sign_sgd": ef_sign_sgd(0.02, 3, momentum=0.9),
    "double_squeeze": double_squeeze(0.02, TopK(0.3), TopK(0.3)),
    "sign_sgd": sign_sgd(0.02, 0.9),
    "power_sgd": power_sgd(0.02, 3, PowerSGD(1)),
    "cser": cser(0.02, 3, 2, TopK(0.1), ScaledSign(), momentum=0.5),
}


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", EVERYONE)
def test_permuting_clients_permutes_their_states(name, runtime):
    problem, order = many_outputs(), [3, 0, 4, 1, 2]
    shuffled = replace(
        problem,
        features=tuple(problem.features[i] for i in order),
        targets=tuple(problem.targets[i] for i in order),
    )
    one, other = (
        simulate(each, EVERYONE[name], 4, runtime=runtime) for each in (problem, shuffled)
    )
    assert distance(one.params, other.params) < EXACT
    ours, theirs = list(leaves(one.client_states)), list(leaves(other.client_states))
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert distance(a[order], b) < EXACT
