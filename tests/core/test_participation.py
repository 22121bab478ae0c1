"""Who takes part: exact sizes, fair draws, and no memory of the rounds before."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedlocal import DropOut
from fedlocal.rounds.faults import check_participation
from fedlocal.slots.sampling import UniformSampling
from fedlocal.vectors.rng import Purpose, client_keys

cohort = UniformSampling().cohort

SEEDS = st.integers(-(2**63), 2**64 - 1)


@pytest.mark.parametrize(
    ("count", "share", "size"),
    [
        (100, 0.29, 29),  # 0.29 * 100 = 28.999999999999996
        (100, 0.57, 57),
        (1000, 0.001, 1),
        (10, 0.05, 1),
        (10, 0.99, 9),
        (7, 0.5, 3),
        (3, 1 / 3, 1),
        (49, 1 / 49, 1),
        (1, 0.1, 1),
        (5, 1.0, 5),
    ],
)
def test_the_size_of_a_cohort(count, share, size):
    assert len(cohort(count, share, seed=0, round_index=0)) == size


@given(percent=st.integers(1, 100), count=st.integers(1, 2000), seed=SEEDS)
def test_a_cohort_is_sorted_exact_and_repeatable(percent, count, seed):
    members = cohort(count, percent / 100, seed, 3)
    assert len(members) == max(1, percent * count // 100)
    assert members.dtype == np.int64
    assert (np.diff(members) > 0).all() and members[0] >= 0 and members[-1] < count
    assert np.array_equal(members, cohort(count, percent / 100, seed, 3))


def test_a_cohort_holds_the_clients_of_the_smallest_keys():
    keys = client_keys(5, Purpose.SAMPLING, np.arange(40), 2)
    for share in (0.1, 0.5):
        members = cohort(40, share, 5, 2)
        assert set(members.tolist()) == set(np.argsort(keys)[: int(40 * share)].tolist())
    # So a larger share only adds clients.
    assert set(cohort(40, 0.1, 5, 2)) < set(cohort(40, 0.5, 5, 2))


@pytest.mark.parametrize("seed", [0, 1, -1])
def test_every_client_equally_often(seed):
    count, size, rounds = 30, 6, 3000
    times = np.bincount(
        np.concatenate([cohort(count, 0.2, seed, t) for t in range(rounds)]), minlength=count
    )
    share = size / count
    chi_square = ((times - rounds * share) ** 2).sum() / (rounds * share * (1 - share))
    chi_square *= (count - 1) / count
    # Mean 29 and deviation sqrt(58) of chi-square with 29 degrees of freedom.
    assert abs(chi_square - 29) < 5 * np.sqrt(58)


@cache
def membership(count, share, seed, rounds=800):
    """[rounds, K]: who took part when."""
    met = np.zeros((rounds, count), dtype=bool)
    for t in range(rounds):
        met[t, cohort(count, share, seed, t)] = True
    return met


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("later", [1, 2, 5])
@pytest.mark.parametrize("shift", [-5, -2, -1, 0, 1, 2, 5])
def test_a_cohort_says_nothing_about_the_next(seed, later, shift):
    """Not even a shifted one: keys made of client + round once moved every cohort down by one."""
    count, share = 30, 0.2
    met = membership(count, share, seed)
    both = met[:-later] & np.roll(met, shift, axis=1)[later:]
    per_round = both.sum(1)
    mean = count * share**2
    assert abs(per_round.mean() - mean) < 5 * per_round.std() / np.sqrt(len(per_round))


def test_pairs_meet_as_often_as_they_should():
    count, rounds = 8, 3000
    together = np.zeros((count, count))
    for t in range(rounds):
        members = cohort(count, 0.5, 0, t)
        together[np.ix_(members, members)] += 1
    share = 4 / 8 * 3 / 7
    off = together[np.triu_indices(count, 1)] - rounds * share
    assert np.abs(off).max() < 5 * np.sqrt(rounds * share * (1 - share))


@given(seed=SEEDS, round_index=st.integers(0, 2**31), count=st.integers(1, 50), data=st.data())
def test_a_key_belongs_to_its_client(seed, round_index, count, data):
    clients = np.arange(count)
    keys = client_keys(seed, Purpose.SAMPLING, clients, round_index)
    assert len(set(keys.tolist())) == count and keys.dtype == np.uint64
    order = np.array(data.draw(st.permutations(range(count))))
    some = order[: data.draw(st.integers(1, count))]
    assert np.array_equal(client_keys(seed, Purpose.SAMPLING, some, round_index), keys[some])


def test_keys_of_neighbours_do_not_collide():
    grid = [
        client_keys(seed, purpose, np.arange(60), t)
        for seed in (-1, 0, 1, 2)
        for purpose in (Purpose.SAMPLING, Purpose.FAULTS)
        for t in range(60)
    ]
    assert len(np.unique(np.concatenate(grid))) == 4 * 2 * 60 * 60


def test_keys_are_uniform():
    keys = client_keys(0, Purpose.SAMPLING, np.arange(200_000), 0) / 2**64
    counts, _ = np.histogram(keys, bins=100, range=(0, 1))
    chi_square = ((counts - 2000) ** 2 / 2000).sum()
    assert abs(chi_square - 99) < 5 * np.sqrt(2 * 99)


@pytest.mark.parametrize("participation", [0.0, -0.1, 1.1, float("nan")])
def test_no_share_is_refused(participation):
    with pytest.raises(ValueError, match=r"participation must be in \(0, 1\], got .*; 0.1 samples"):
        check_participation(participation)


@pytest.mark.parametrize("participation", [1e-9, 0.5, 1, 1.0])
def test_a_share_is_taken(participation):
    check_participation(participation)


@pytest.mark.parametrize("probability", [0.05, 0.3, 0.9])
def test_how_often_clients_drop_out(probability):
    faults, clients, rounds = DropOut(probability), np.arange(10), 1000
    silent = np.array(
        [~np.isin(clients, faults.answering(clients, seed=1, round_index=t)) for t in range(rounds)]
    )
    error = np.sqrt(probability * (1 - probability))
    assert abs(silent.mean() - probability) < 5 * error / np.sqrt(10 * rounds)
    assert np.abs(silent.mean(0) - probability).max() < 5 * error / np.sqrt(rounds)
    # Independent of the round before, and of the neighbour.
    for a, b in ((silent[1:], silent[:-1]), (silent[:, 1:], silent[:, :-1])):
        assert abs((a & b).mean() - probability**2) < 5 * error / np.sqrt(a.size)


def test_who_drops_out_depends_on_nobody_else():
    faults = DropOut(0.5)
    for t in range(20):
        whole = set(faults.answering(np.arange(30), 3, t).tolist())
        some = np.array([29, 3, 11, 4])
        assert faults.answering(some, 3, t).tolist() == [c for c in some.tolist() if c in whole]


def test_nobody_or_everybody():
    clients = np.arange(50)
    assert np.array_equal(DropOut(0.0).answering(clients, 0, 0), clients)
    assert len(DropOut(1.0).answering(clients, 0, 0)) == 0
    assert len(DropOut(0.5).answering(clients[:0], 0, 0)) == 0


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_no_probability_is_refused(probability):
    with pytest.raises(ValueError, match=r"faults.probability must be in \[0, 1\], got"):
        DropOut(probability)


def silent(outages, rounds=range(6), clients=4):
    faults, everyone = DropOut(outages=outages), np.arange(clients)
    return [sorted(set(range(clients)) - set(faults.answering(everyone, 0, t))) for t in rounds]


def test_outages_by_hand():
    assert silent([[1, 2, 4]]) == [[], [], [1], [1], [], []]
    assert silent([[3, 4]]) == [[], [], [], [], [3], [3]]
    assert silent([[0, 1, 2], [0, 3, 5], [2, 0]]) == [[2], [0, 2], [2], [0, 2], [0, 2], [2]]


def test_outages_and_chance_combine():
    both = DropOut(0.5, [[1, 0]])
    for t in range(20):
        lucky = DropOut(0.5).answering(np.arange(5), 3, t)
        assert both.answering(np.arange(5), 3, t).tolist() == [c for c in lucky if c != 1]


def test_the_share_that_can_be_counted_on():
    assert DropOut().share(4) == 1
    assert DropOut(0.25).share(4) == 0.75
    assert DropOut(0.5, [[3, 10], [3, 2, 4], [1, 0, 1]]).share(4) == 0.25
    with pytest.raises(ValueError, match="names client 4, and the clients are 0 to 3"):
        DropOut(outages=[[1, 0], [4, 2]]).share(4)


@pytest.mark.parametrize(
    "outage", [[], [3], [-1, 2], [1, -2], [1, 5, 5], [1, 5, 4], [1, 2, 3, 4]], ids=str
)
def test_no_outage_is_refused(outage):
    with pytest.raises(ValueError, match=r"faults.outages must hold \[client, first round\] or"):
        DropOut(outages=[outage])
