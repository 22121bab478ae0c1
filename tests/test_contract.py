"""What every strategy of conf/strategy must hold to. No exception by name."""

import pickle
from dataclasses import replace

import pytest
import torch
from torch import nn

import fedlocal
import strategies
from fedlocal.data.clients import Clients
from fedlocal.rounds.run_loop import advance
from fedlocal.rounds.state import initial_state
from fedlocal.runtime import Loop, Vmapped
from fedlocal.slots.compress import Identity
from fedlocal.vectors.trees import leaves, tree_map
from tests import ragged
from tests.ragged import ROUNDS, SIZES, ragged_clients, small_model
from tests.runs import advanced, final, held, largest_difference
from tests.strategies_in_conf import NAMES, strategy_of


def simulation(name: str, runtime=None, participation: float = 1.0, dtype=torch.float64):
    return ragged.simulation(
        strategy_of(name),
        runtime or Vmapped(),
        participation=participation,
        dtype=dtype,
        every=1,
    )


# Of the module, so that one strategy's tests follow each other and share its run.
@pytest.fixture(scope="module", params=NAMES)
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def reference(name):
    """The simulation and its end, all clients at once."""
    sim = simulation(name)
    return sim, final(sim)


def test_file_function_and_conf_share_a_name(name):
    assert getattr(strategies, name).__name__ == name
    assert getattr(strategies, name).__module__ == f"strategies.{name}"


def test_is_a_value(name):
    strategy = strategy_of(name)
    again = pickle.loads(pickle.dumps(strategy))
    # Composed anew.
    assert again == strategy == strategy_of.__wrapped__(name)
    assert hash(again) == hash(strategy)
    assert type(strategy).__name__ in repr(strategy)


def test_loop_and_vmapped_agree(name, reference):
    together, vmapped = reference
    loop = final(simulation(name, Loop()))
    # Else both would have run the same way.
    assert "one client at a time" not in together.cohort.about
    assert largest_difference(vmapped, loop) < 1e-12
    assert vmapped.uplink_bytes == loop.uplink_bytes
    assert vmapped.downlink_bytes == loop.downlink_bytes
    assert vmapped.sim_seconds == loop.sim_seconds


def test_training_moves_the_model(reference):
    sim, end = reference
    assert float((end.server.anchor[0] - sim.start).abs().max()) > 1e-4


def test_grouping_changes_nothing(name, reference):
    # Groups of two leave one client over; other sizes take their turn.
    clients_per_batch = (2, 1, 2, 3)[NAMES.index(name) % 4]
    groups = final(simulation(name, Vmapped(clients_per_batch)))
    assert largest_difference(groups, reference[1]) < 1e-12


def test_loop_and_vmapped_agree_on_sampled_clients(name):
    try:
        strategy_of(name).check_participation(0.5)
    except ValueError as refusal:
        assert "every client takes part" in str(refusal) or "no cohorts" in str(refusal)
        return
    both = [final(simulation(name, runtime, participation=0.5)) for runtime in (Vmapped(), Loop())]
    assert largest_difference(*both) < 1e-12


def test_state_keeps_its_shapes_and_dtypes(name):
    sim = simulation(name, dtype=torch.float32)
    state = initial_state(sim)
    shapes = [(t.shape, t.dtype) for t in leaves(held(state))]
    for _ in range(sim.rounds):
        state, _, _ = advance(sim, state)
        assert [(t.shape, t.dtype) for t in leaves(held(state))] == shapes


@pytest.mark.parametrize("runtime", [Vmapped(), Loop()], ids=["vmapped", "loop"])
def test_nothing_handed_in_is_changed(name, runtime):
    # vmap changes a batched input in place without a word, so look.
    sim = simulation(name, runtime)
    state = advanced(sim, initial_state(sim), 1)
    before = tree_map(torch.clone, held(state))
    data = sim.objective.x.clone()
    advance(sim, state)
    for was, now in zip(leaves(before), leaves(held(state)), strict=True):
        assert torch.equal(was, now)
    assert torch.equal(data, sim.objective.x)


def test_a_pickled_run_goes_on_to_the_same_bits(name):
    sim = simulation(name)
    halfway = advanced(sim, initial_state(sim), 2)
    straight = advanced(sim, halfway, ROUNDS - 2)
    resumed = advanced(sim, pickle.loads(pickle.dumps(halfway)), ROUNDS - 2)
    assert largest_difference(resumed, straight) == 0
    assert resumed.uplink_bytes == straight.uplink_bytes
    assert resumed.sim_seconds == straight.sim_seconds


def test_identical_clients_stay_identical(name):
    x, y = ragged_clients()[0]
    sim = simulation(name)
    same = Clients.of([(x.double(), y)] * 4)
    sim = replace(
        sim, clients=same, objective=replace(sim.objective, x=same.x, y=same.y), batch_size=None
    )
    if sim.strategy.uplink.noise_size(len(sim.start)):
        # Noise is a client's own; without it the rest of the strategy must hold.
        sim = replace(sim, strategy=replace(sim.strategy, uplink=Identity()))
    state = final(sim)
    for tensor in leaves(state.clients.everyone()):
        assert float((tensor - tensor[:1]).abs().max() if tensor.numel() else 0.0) < 1e-12
    assert sim.population.models(sim, state).shape == (4, len(sim.start))


def test_result_is_what_the_api_promises(name):
    result = fedlocal.simulate(
        small_model(), ragged_clients(), strategy_of(name), rounds=2, batch_size=4, device="cpu"
    )
    size = sum(p.numel() for p in small_model().parameters())
    assert result.params.shape == (size,)
    assert result.client_params.shape == (len(SIZES), size)
    assert torch.equal(nn.utils.parameters_to_vector(result.model.parameters()), result.params)
    assert [row["round"] for row in result.history] == list(range(1, len(result.history) + 1))
    assert result.ledger.uplink_bytes == result.history[-1]["uplink_bytes"]
