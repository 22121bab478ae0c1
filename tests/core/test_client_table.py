"""The table of clients' states against a plain dictionary of rows, and runs that keep theirs."""

import os
import pickle
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import fedlocal.rounds.client_table
from fedlocal.api import prepare, simulate
from fedlocal.rounds.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fedlocal.rounds.client_table import ClientTable
from fedlocal.rounds.definition import Environment, Method, Observation, Problem
from fedlocal.rounds.run_loop import Progress
from fedlocal.rounds.state import initial_state
from fedlocal.slots.compress import TopK
from fedlocal.vectors.trees import leaves, tree_map
from strategies import async_local_sgd, double_compression, local_sgd, scaffold, vrl_sgd
from tests.ragged import ragged_clients, small_model
from tests.runs import advanced, held, largest_difference

CPU = torch.device("cpu")


class State(NamedTuple):
    vector: Tensor
    parts: tuple
    count: Tensor


FRESH = State(torch.full((3,), -1.0), ((), torch.zeros(2, 0)), torch.tensor(7))
# Rounds: who takes part, in any order.
POPULATION = 12
COHORTS = st.lists(
    st.lists(st.integers(0, POPULATION - 1), unique=True, max_size=POPULATION), max_size=40
)


def of_round(number: int, ids: np.ndarray) -> State:
    """States that tell round and client."""
    clients = torch.from_numpy(ids)
    vectors = torch.stack([clients, clients * 0 + number, clients + number], 1).float()
    return State(vectors, ((), torch.zeros(len(ids), 2, 0)), 100 * number + clients)


def rows(tree, count: int) -> list:
    return [tree_map(lambda t, i=i: t[i].tolist(), tree) for i in range(count)]


def filled(cohorts, spill=None) -> tuple[list[ClientTable], list[dict]]:
    """A table after each round, and what a dictionary would hold then."""
    tables, known = [ClientTable.of(FRESH, POPULATION)], [{}]
    for number, cohort in enumerate(cohorts):
        ids = np.array(cohort, dtype=np.int64)
        states = of_round(number, ids)
        tables.append(tables[-1].put(ids, states, spill))
        known.append(known[-1] | dict(zip(cohort, rows(states, len(ids)), strict=True)))
    return tables, known


def check(table: ClientTable, known: dict, ids) -> None:
    fresh = tree_map(Tensor.tolist, FRESH)
    found = table.take(np.array(ids, dtype=np.int64))
    assert rows(found, len(ids)) == [known.get(i, fresh) for i in ids]
    assert [t.dtype for t in leaves(found)] == [t.dtype for t in leaves(FRESH)]


@pytest.mark.parametrize("most", [2, 3, 1000])
@given(cohorts=COHORTS, asked=st.lists(st.integers(0, POPULATION - 1), min_size=1))
def test_a_dictionary_of_rows(most, cohorts, asked):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fedlocal.rounds.client_table, "MOST_BLOCKS", most)
        tables, known = filled(cohorts)
    # Those from before later rounds, too: they must not have changed.
    for table, rows_then in zip(tables, known, strict=True):
        check(table, rows_then, range(POPULATION))
        check(table, rows_then, asked)
        assert table.rows_held <= 2 * len(rows_then)
        assert len(table.blocks) <= most


@given(cohorts=COHORTS)
def test_spilled_or_pickled_it_is_the_same(cohorts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("spill")
    plain, known = filled(cohorts)
    spilled, _ = filled(cohorts, str(folder))
    assert spilled[-1].rows_held == plain[-1].rows_held
    for table in (spilled[-1], pickle.loads(pickle.dumps(spilled[-1])), plain[-1].to(CPU)):
        check(table, known[-1], range(POPULATION))


def test_all_in_order_are_handed_out_as_they_are():
    everyone = np.arange(POPULATION)
    states = of_round(0, everyone)
    table = ClientTable.of(FRESH, POPULATION).put(everyone, states)
    assert all(a is b for a, b in zip(leaves(table.everyone()), leaves(states), strict=True))
    assert table.take(everyone[::-1]).count.tolist() == everyone[::-1].tolist()
    again = table.put(everyone, of_round(1, everyone))
    assert len(again.blocks) == 1 and again.rows_held == POPULATION


def test_no_state_costs_nothing():
    table = ClientTable.of(((), ()), POPULATION)
    assert table.put(np.arange(3), ((), ())) is table
    assert table.take(np.arange(3)) == ((), ())


def test_memory_grows_with_those_who_have_taken_part():
    table, rng, met = ClientTable.of(torch.zeros(4), 10_000), np.random.default_rng(0), set()
    for number in range(300):
        ids = np.sort(rng.choice(10_000, 20, replace=False))
        table = table.put(ids, torch.full((20, 4), float(number)))
        met |= set(ids.tolist())
        stored = sum(len(block.states) for block in table.blocks)
        assert len(met) <= stored == table.rows_held <= 2 * len(met)
    # Nothing but the rows themselves is of the population's size.
    assert len(met) < 5000
    assert len(table.blocks) < 2 * len(met) / 20


def test_clients_that_come_one_at_a_time_leave_few_blocks():
    table, rng = ClientTable.of(torch.zeros(1), 4000), np.random.default_rng(0)
    for number, client in enumerate(rng.integers(4000, size=6000)):
        table = table.put(np.array([client]), torch.full((1, 1), float(number)))
    assert len(table.blocks) <= fedlocal.rounds.client_table.MOST_BLOCKS


def mapped() -> int:
    """Files of spilled rows that this process still maps."""
    with open("/proc/self/maps") as maps:
        return sum("/fedlocal-" in line for line in maps)


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="needs Linux's /proc")
def test_files_go_with_what_is_in_them(tmp_path):
    table = ClientTable.of(torch.zeros(5), 4)
    before = mapped()
    for number in range(5):
        table = table.put(np.arange(4), torch.full((4, 5), float(number)), str(tmp_path))
        assert mapped() - before == 1
    assert all(block.spilled for block in table.blocks)
    # Without a name from the beginning, so that nothing is left of a run that is killed.
    assert list(tmp_path.iterdir()) == []
    del table
    assert mapped() == before


STRATEGIES = {
    "local_sgd": local_sgd(0.1, 3),
    "momentum": local_sgd(0.1, 3, momentum=0.9),
    "scaffold": scaffold(0.1, 3),
    "double_compression": double_compression(0.1, 3, TopK(0.3), TopK(0.3)),
}


def sampled(strategy, spill=None, participation=0.4, rounds=9):
    return prepare(
        Problem(small_model(), ragged_clients()),
        Method(strategy, rounds, 4, participation),
        Environment(device="cpu", spill=spill),
        Observation(),
    )


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_spilled_run_has_the_same_bits(name, tmp_path):
    strategy = STRATEGIES[name]
    sims = sampled(strategy), sampled(strategy, str(tmp_path / "new" / "folder"))
    here, spilled = (advanced(sim, initial_state(sim), 9) for sim in sims)
    assert largest_difference(here, spilled) == 0
    assert (here.uplink_bytes, here.sim_seconds) == (spilled.uplink_bytes, spilled.sim_seconds)
    assert all(block.spilled for block in spilled.clients.blocks)


@pytest.mark.parametrize("strategy", [vrl_sgd(0.1, 3), async_local_sgd(0.1, 3)], ids=["vrl", "as"])
def test_a_spilled_run_of_everyone_has_the_same_bits(strategy, tmp_path):
    results = [
        simulate(small_model(), ragged_clients(), strategy, 5, 4, device="cpu", spill=spill)
        for spill in (None, str(tmp_path))
    ]
    assert torch.equal(results[0].params, results[1].params)
    assert torch.equal(results[0].client_params, results[1].client_params)
    for a, b in zip(*(leaves(result.client_states) for result in results), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("then", [True, False])
@pytest.mark.parametrize("name", ["momentum", "scaffold"])
def test_it_goes_on_from_a_checkpoint(name, first, then, tmp_path):
    strategy, spill, place = STRATEGIES[name], str(tmp_path), tmp_path / "checkpoint"
    straight = sampled(strategy)
    expected = advanced(straight, initial_state(straight), 9)
    before = sampled(strategy, spill if first else None)
    halfway = advanced(before, initial_state(before), 4)
    save_checkpoint(place, Checkpoint("", Progress(halfway, [], [])))
    loaded = load_checkpoint(place, CPU)
    assert loaded is not None
    # The file may be replaced while states are read from it.
    save_checkpoint(place, Checkpoint("", Progress(initial_state(before), [], [])))
    state = loaded.progress.state
    assert largest_difference(state, halfway) == 0
    assert all(block.spilled == first for block in state.clients.blocks)
    after = sampled(strategy, spill if then else None)
    assert largest_difference(advanced(after, state, 5), expected) == 0
    assert len(list(leaves(held(state)))) > 1


def test_stars_show_models_without_looking_at_states():
    sim = sampled(STRATEGIES["momentum"])
    state = advanced(sim, initial_state(sim), 2)
    models = sim.population.models(sim, state)
    # One row, seen K times: 10,000 models take no memory.
    assert models.stride(0) == 0 and torch.equal(models[3], state.server.anchor[0])
