"""dirichlet, dirichlet_prior, shards, label_blocks, classes_per_client and similarity."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from partitions import (
    classes_per_client,
    dirichlet,
    dirichlet_prior,
    iid,
    label_blocks,
    shards,
    similarity,
)
from partitions.statistics import earth_movers_distance, label_histogram, sizes
from partitions.storage import digest

seeds = st.integers(0, 2**32)
columns = st.lists(st.integers(0, 6), min_size=12, max_size=200).map(np.array)
alphas = st.floats(5e-324, 1.7e308)


def mean_distance(scheme, labels, **parameters):
    splits = [scheme(labels, 10, seed, **parameters) for seed in range(3)]
    return np.mean([earth_movers_distance(split, labels).mean() for split in splits])


@pytest.mark.parametrize("scheme", [dirichlet, dirichlet_prior])
def test_skew_grows_as_alpha_falls(scheme):
    labels = np.arange(5000) % 10
    skews = [mean_distance(scheme, labels, alpha=alpha) for alpha in (1e4, 100, 10, 1, 0.1)]
    assert skews == sorted(skews)
    assert skews[0] < 0.2 and skews[-1] > 1.2


@pytest.mark.parametrize("scheme", [dirichlet, dirichlet_prior])
@given(labels=columns, num_clients=st.integers(1, 12), seed=seeds, alpha=alphas)
def test_succeeds_for_every_positive_alpha(scheme, labels, num_clients, seed, alpha):
    split = scheme(labels, num_clients, seed, alpha=alpha)
    assert sorted(np.concatenate(split).tolist()) == list(range(len(labels)))


def test_dirichlet_shares_have_the_mean_and_variance_of_the_law():
    labels = np.zeros(4000, dtype=int)
    shares = np.array([sizes(dirichlet(labels, 4, s, 0.5, min_size=0)) for s in range(400)]) / 4000
    # Dirichlet(0.5 * 1_4): mean 1/4, variance (1/4)(3/4) / (2 + 1).
    assert np.allclose(shares.mean(axis=0), 0.25, atol=0.05)
    assert np.allclose(shares.var(axis=0), 0.0625, atol=0.012)


def test_dirichlet_shuffles_a_class_before_cutting_it():
    split = dirichlet(np.zeros(1000, dtype=int), 2, 0, alpha=1e6)
    assert all(abs(held.mean() - 499.5) < 60 for held in split)


def test_dirichlet_cuts_every_class_at_one_client_in_the_limit():
    labels = np.arange(100) % 5
    counts = label_histogram(dirichlet(labels, 8, 0, alpha=1e-9, min_size=0), labels)
    assert (np.sort(counts, axis=0)[-1] == 20).all()


def test_dirichlet_prior_follows_the_class_frequencies_for_large_alpha():
    labels = np.repeat([0, 1, 2], [6000, 3000, 1000])
    counts = label_histogram(dirichlet_prior(labels, 5, 0, alpha=1e9), labels)
    assert np.allclose(counts / 2000, [0.6, 0.3, 0.1], atol=0.06)


def test_dirichlet_prior_has_hsu_s_alpha():
    """For C balanced classes q ~ Dir(alpha / C * 1): E sum q^2 = (alpha / C + 1) / (alpha + 1)."""
    labels = np.arange(40000) % 4
    splits = [dirichlet_prior(labels, 200, seed, alpha=2.0) for seed in range(5)]
    # The first clients only: nothing is exhausted yet.
    mixes = np.concatenate([label_histogram(split, labels)[:60] for split in splits]) / 200
    assert abs((mixes**2).sum(axis=1).mean() - 0.5) < 0.04


def test_dirichlet_prior_gives_one_class_at_a_time_for_small_alpha():
    labels = np.arange(400) % 4
    counts = label_histogram(dirichlet_prior(labels, 4, 0, alpha=1e-12), labels)
    assert (np.sort(counts, axis=1)[:, -1] == 100).all()


@given(
    labels=st.lists(st.integers(0, 9), min_size=12, max_size=200).map(np.array),
    num_clients=st.integers(1, 12),
    seed=seeds,
    per_client=st.integers(1, 4),
)
def test_shards_are_runs_of_the_sorted_data(labels, num_clients, seed, per_client):
    split = shards(labels, num_clients, seed, shards_per_client=per_client)
    place = np.empty(len(labels), dtype=int)
    place[np.argsort(labels, kind="stable")] = np.arange(len(labels))
    for held in split:
        assert 1 + np.count_nonzero(np.diff(np.sort(place[held])) > 1) <= per_client


def test_shards_of_balanced_data_are_exactly_two_runs():
    labels = np.arange(6000) % 10
    place = np.argsort(np.argsort(labels, kind="stable"))
    split = shards(labels, 100, 0)
    runs = [1 + np.count_nonzero(np.diff(np.sort(place[held])) > 1) for held in split]
    assert set(runs) <= {1, 2} and runs.count(2) > 90
    assert set(sizes(split)) == {60}
    assert (label_histogram(split, labels) > 0).sum(axis=1).max() == 2


@given(labels=columns, num_clients=st.integers(1, 12))
def test_label_blocks_is_array_split_of_the_stable_sort(labels, num_clients):
    blocks = np.array_split(np.argsort(labels, kind="stable"), num_clients)
    split = label_blocks(labels, num_clients, 0)
    assert [held.tolist() for held in split] == [sorted(block.tolist()) for block in blocks]
    assert digest(split) == digest(label_blocks(labels, num_clients, 99))


@given(
    class_sizes=st.lists(st.integers(1, 30), min_size=1, max_size=12),
    num_clients=st.integers(1, 12),
    seed=seeds,
    classes=st.integers(1, 12),
)
def test_classes_per_client_is_exact_whenever_possible(class_sizes, num_clients, seed, classes):
    labels = np.repeat(np.arange(len(class_sizes)), class_sizes)
    if num_clients > len(labels):
        num_clients = len(labels)
    split = classes_per_client(labels, num_clients, seed, classes=classes, min_size=1)
    counts = label_histogram(split, labels)
    assert (counts.sum(axis=0) == class_sizes).all()
    # Possible if every class can have its holders: max-flow of this graph is the sum of minima.
    places = np.minimum(class_sizes, num_clients).sum()
    held = (counts > 0).sum(axis=1)
    if len(class_sizes) <= num_clients * classes <= places:
        assert (held == classes).all()
    else:
        assert held.max() - held.min() <= 1
        assert held.sum() == max(len(class_sizes), min(places, num_clients * classes))


def test_classes_per_client_balances_holders_and_sizes():
    labels = np.arange(6000) % 10
    counts = label_histogram(classes_per_client(labels, 50, 0, classes=3), labels)
    assert set((counts > 0).sum(axis=0)) == {15}
    assert set(counts.sum(axis=1)) == {120}
    assert len({tuple(row) for row in counts > 0}) > 25


def test_classes_per_client_fills_up_short_clients_last():
    labels = np.repeat([0, 1], [95, 5])
    assert sizes(classes_per_client(labels, 2, 0, classes=1)).tolist() in ([90, 10], [10, 90])


@pytest.mark.parametrize("classes", [0, -1, 1.5])
def test_classes_below_one(classes):
    with pytest.raises(
        ValueError, match=f"classes must be an integer of at least 1, got {classes}"
    ):
        classes_per_client([0, 1], 1, 0, classes=classes)


@pytest.mark.parametrize("count", [0, -1, 1.5])
def test_shards_below_one(count):
    with pytest.raises(ValueError, match=f"shards_per_client must be .* at least 1, got {count}"):
        shards([0, 1], 1, 0, shards_per_client=count)


@given(labels=columns, num_clients=st.integers(1, 12), seed=seeds)
def test_similarity_limits(labels, num_clients, seed):
    none, full = (similarity(labels, num_clients, seed, similarity=s) for s in (0.0, 1.0))
    assert digest(none) == digest(label_blocks(labels, num_clients, seed))
    assert digest(full) == digest(iid(labels, num_clients, seed))


def test_similarity_lowers_the_distance_linearly():
    labels = np.arange(20000) % 10
    skews = [mean_distance(similarity, labels, similarity=s) for s in (0.0, 0.25, 0.5, 0.75)]
    assert np.allclose(skews, [1.8, 1.35, 0.9, 0.45], atol=0.05)


@pytest.mark.parametrize("value", [-0.1, 1.1, 10, float("nan")])
def test_similarity_outside_its_range(value):
    message = rf"similarity must be a fraction in \[0, 1\], got {value}; divide a percentage by 100"
    with pytest.raises(ValueError, match=message):
        similarity([0, 1], 1, 0, similarity=value)


def test_more_shards_than_examples():
    with pytest.raises(ValueError) as error:
        shards(np.arange(1437) % 10, 8, 0, shards_per_client=3000)
    assert str(error.value) == (
        "shards_per_client must be at most the number of examples, got 3000 shards for each client"
        " and 1437 examples in all; use 2, as in the paper"
    )
