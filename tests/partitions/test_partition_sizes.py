"""iid, quantity, natural, and the repair to a minimum size with its arithmetic."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from partitions import iid, natural, quantity
from partitions._apportion import level_down, split_evenly, split_proportionally
from partitions._repair import repair
from partitions.statistics import earth_movers_distance, sizes
from partitions.storage import digest

seeds = st.integers(0, 2**32)


def test_iid_mixes_the_classes():
    labels = np.repeat(np.arange(5), 2000)
    assert earth_movers_distance(iid(labels, 10, 0), labels).max() < 0.15


@pytest.mark.parametrize(
    ("law", "name", "values"),
    [("dirichlet", "alpha", (1e9, 5.0, 0.5, 0.05)), ("lognormal", "sigma", (0.0, 0.3, 1.0, 3.0))],
)
def test_quantity_skews_sizes_and_not_labels(law, name, values):
    labels = np.arange(20000) % 4
    splits = [quantity(labels, 10, 1, law=law, **{name: value}) for value in values]
    spreads = [sizes(split).std() for split in splits]
    assert spreads == sorted(spreads) and spreads[0] < 2 and spreads[-1] > 1500
    large = sizes(splits[2]) > 500
    assert earth_movers_distance(splits[2], labels)[large].max() < 0.2


def test_quantity_lognormal_has_the_law_s_spread():
    logs = [
        np.log(sizes(quantity(np.zeros(10**5, int), 20, seed, law="lognormal", sigma=0.5)))
        for seed in range(40)
    ]
    assert abs(np.mean([np.var(log, ddof=1) for log in logs]) - 0.25) < 0.03


@given(seed=seeds, alpha=st.floats(5e-324, 1.7e308), sigma=st.floats(0, 1e300))
def test_quantity_succeeds_for_every_parameter(seed, alpha, sigma):
    for law in ("dirichlet", "lognormal"):
        split = quantity([0] * 40, 4, seed, law=law, alpha=alpha, sigma=sigma)
        assert sizes(split).sum() == 40 and sizes(split).min() == 10


def test_quantity_errors():
    with pytest.raises(ValueError, match='law must be "dirichlet" or "lognormal", got \'zipf\''):
        quantity([0, 1], 1, 0, law="zipf")
    for sigma in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"sigma must be finite and not negative, got {sigma}"):
            quantity([0, 1], 1, 0, law="lognormal", sigma=sigma)


@given(ids=st.lists(st.integers(0, 30), min_size=1, max_size=150), seed=seeds, data=st.data())
def test_natural_keeps_ids_whole_and_every_client_busy(ids, seed, data):
    num_clients = data.draw(st.integers(1, len(set(ids))))
    split = natural(ids, num_clients, seed)
    groups = [set(np.array(ids)[held]) for held in split]
    assert sum(map(len, groups)) == len(set(ids)) and all(groups)
    assert [min(group) for group in groups] == sorted(min(group) for group in groups)
    # Greedy bound: the last id put on the largest client found it the smallest one.
    largest_id = np.bincount(ids).max()
    assert sizes(split).max() - sizes(split).min() <= largest_id


@given(ids=st.lists(st.sampled_from(["ann", "bob", "cy", "dee"]), min_size=1, max_size=60), s=seeds)
def test_natural_is_one_client_per_id_in_order(ids, s):
    split = natural(ids, len(set(ids)), s)
    expected = [np.flatnonzero(np.array(ids) == name).tolist() for name in sorted(set(ids))]
    assert [held.tolist() for held in split] == expected


@given(seed=seeds)
def test_natural_deals_the_largest_ids_first(seed):
    ids = np.repeat(np.arange(21), [1] * 20 + [20])
    assert sizes(natural(ids, 2, seed)).tolist() == [20, 20]


def test_natural_errors():
    with pytest.raises(ValueError, match="got 3 clients for 2 ids; use fewer clients or a scheme"):
        natural([7, 7, 8, 8], 3, 0)
    with pytest.raises(ValueError, match="labels must be integers or strings, got dtype float64"):
        natural([0.5, 0.5], 1, 0)


@given(st.integers(0, 10**9), st.integers(1, 50))
def test_evenly(total, parts):
    counts = split_evenly(total, parts)
    assert counts.sum() == total and np.ptp(counts) <= 1 and (np.diff(counts) <= 0).all()


@given(st.integers(0, 10**6), st.lists(st.floats(1e-6, 1), min_size=1, max_size=30))
def test_proportionally_is_exact_in_total_and_within_one_of_each_share(total, shares):
    weights = np.array(shares)
    counts = split_proportionally(total, weights)
    assert counts.sum() == total and counts.min() >= 0
    assert np.abs(counts - total * weights / weights.sum()).max() <= 1 + 1e-6


@given(st.lists(st.integers(0, 40), min_size=1, max_size=12), st.data())
def test_level_off_equals_lowering_the_largest_one_at_a_time(caps, data):
    total = data.draw(st.integers(0, sum(caps)))
    lowered = list(caps)
    for _ in range(sum(caps) - total):
        lowered[int(np.argmax(lowered))] -= 1
    levelled = level_down(np.array(caps), total)
    assert levelled.sum() == total and (levelled <= caps).all()
    assert sorted(levelled.tolist()) == sorted(lowered)


@given(
    owners=st.lists(st.integers(0, 5), min_size=6, max_size=120).map(np.array),
    min_size=st.integers(0, 30),
    seed=seeds,
)
def test_repair_takes_only_from_the_largest_and_only_what_is_missing(owners, min_size, seed):
    before = np.bincount(owners, minlength=6)
    split = repair(owners, 6, min_size, np.random.default_rng(seed))
    floor = min(min_size, len(owners) // 6)
    short = before < floor
    missing = np.maximum(floor - before, 0).sum()
    assert (sizes(split)[short] == floor).all()
    expected = np.where(short, floor, level_down(before, len(owners) - missing))
    assert sizes(split).tolist() == expected.tolist()
    for client, held in enumerate(split):
        kept = set(held.tolist()) & set(np.flatnonzero(owners == client).tolist())
        assert len(kept) == min(before[client], len(held))


def test_repair_moves_random_examples():
    owners = np.zeros(40, dtype=np.int64)
    splits = {digest(repair(owners, 2, 10, np.random.default_rng(s))) for s in range(5)}
    assert len(splits) == 5


def test_repair_deals_the_moved_examples_of_all_donors_to_all_short_clients():
    owners = np.repeat([0, 1], 100)
    split = repair(owners, 4, 40, np.random.default_rng(0))
    assert sizes(split).tolist() == [60, 60, 40, 40]
    assert all(8 <= np.count_nonzero(owners[held]) <= 32 for held in split[2:])
