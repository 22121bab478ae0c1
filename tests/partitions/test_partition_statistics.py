"""Statistics against brute force, and the Partition type."""

import copy
import pickle
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from partitions import Partition, dirichlet, iid, redundant
from partitions.statistics import (
    credit,
    earth_movers_distance,
    label_histogram,
    multiplicity,
    overlap_matrix,
    sizes,
)
from partitions.storage import digest, load_npz, save_npz


@st.composite
def splits(draw: st.DrawFn) -> tuple[Partition, np.ndarray]:
    """Any overlapping partition, empty clients included, with labels."""
    n = draw(st.integers(1, 40))
    sets = draw(st.lists(st.sets(st.integers(0, n - 1)), min_size=1, max_size=6))
    labels = np.array(draw(st.lists(st.integers(-2, 3), min_size=n, max_size=n)))
    return Partition([sorted(held) for held in sets]), labels


@given(splits())
def test_counts_equal_brute_force(case):
    split, labels = case
    sets = [set(held.tolist()) for held in split]
    assert sizes(split).tolist() == [len(held) for held in sets]
    assert overlap_matrix(split).tolist() == [[len(a & b) for b in sets] for a in sets]
    extent = 1 + max(set().union(*sets), default=-1)
    assert multiplicity(split).tolist() == [sum(e in h for h in sets) for e in range(extent)]
    values = sorted(set(labels.tolist()))
    expected = [[sum(labels[e] == v for e in held) for v in values] for held in sets]
    assert label_histogram(split, labels).tolist() == expected


@given(splits())
def test_credit_shares_every_example_between_its_holders(case):
    split, _ = case
    sets = [set(held.tolist()) for held in split]
    expected = [sum(1 / sum(e in other for other in sets) for e in held) for held in sets]
    assert np.allclose(credit(split), expected, rtol=1e-12)
    assert abs(credit(split).sum() - len(set().union(*sets))) < 1e-9


@given(splits())
def test_distance_equals_its_formula(case):
    split, labels = case
    for held, distance in zip(split, earth_movers_distance(split, labels), strict=True):
        if held.size == 0:
            assert np.isnan(distance)
            continue
        mixes = [(np.mean(labels[held] == v), np.mean(labels == v)) for v in set(labels.tolist())]
        assert abs(distance - sum(abs(own - overall) for own, overall in mixes)) < 1e-12


def test_overlap_of_more_examples_than_one_block():
    split = redundant(np.zeros(30000, int), 3, 0, mu=0.5)
    sets = [set(held.tolist()) for held in split]
    assert overlap_matrix(split).tolist() == [[len(a & b) for b in sets] for a in sets]


def test_credit_of_a_disjoint_partition_is_its_sizes():
    split = dirichlet(np.arange(200) % 5, 6, 0)
    assert credit(split).tolist() == sizes(split).tolist()
    assert overlap_matrix(split).tolist() == np.diag(sizes(split)).tolist()


def test_too_few_labels():
    with pytest.raises(ValueError, match="needs at least 4 labels, got 3; pass the labels it was"):
        label_histogram(Partition([[0, 3]]), [0, 1, 2])


@pytest.mark.parametrize(
    "clone", [copy.copy, copy.deepcopy, lambda split: pickle.loads(pickle.dumps(split))]
)
def test_copies_keep_type_indices_and_chunks(clone):
    split = redundant(np.arange(60) % 5, 4, 0, mu=0.3)
    twin = clone(split)
    assert type(twin) is Partition and digest(twin) == digest(split)
    assert [held.tolist() for held in twin] == [held.tolist() for held in split]


@given(splits())
def test_partition_of_index_arrays(case):
    split, _ = case
    assert isinstance(split, tuple)
    assert all(held.dtype == np.int64 for held in split)
    for held, chunks in zip(split, split.chunks, strict=True):
        assert len(chunks) == 1 and chunks[0] is held
    held_sizes = [len(held) for held in split]
    assert repr(split) == (
        f"Partition({len(split)} clients, sizes {min(held_sizes)} to {max(held_sizes)})"
    )


@pytest.mark.parametrize("indices", [[1, 0], [0, 0], [0.0, 1.0], [[0], [1]]])
def test_partition_refuses_other_arrays(indices):
    with pytest.raises(
        ValueError, match=r"strictly increasing 1-D integer array, got dtype .*unique"
    ):
        Partition([indices])


def test_partition_refuses_chunks_that_do_not_add_up():
    with pytest.raises(
        ValueError, match=r"chunks of sizes \[1\] do not split clients of sizes \[2\]"
    ):
        Partition([[0, 1]], chunks=[[[0]]])
    overlapping = [[np.array([0, 1]), np.array([1, 2])]]
    with pytest.raises(
        ValueError, match=r"chunks of sizes \[4\] do not split clients of sizes \[3\]"
    ):
        Partition.from_chunks(overlapping)


def test_digest_is_the_documented_bytes():
    import hashlib

    split = Partition([[0, 5], [], [2]], chunks=[[[5], [0]], [[]], [[2]]])
    words = np.array([3, 2, 1, 1, 1, 1, 0, 1, 5, 0, 2], dtype="<i8")
    assert digest(split) == hashlib.sha256(words.tobytes()).hexdigest()


def test_digest_sees_order_chunks_and_clients():
    variants = [
        Partition([[0, 1], [2]]),
        Partition([[2], [0, 1]]),
        Partition([[0, 1], [2]], chunks=[[[0], [1]], [[2]]]),
        Partition([[0, 1], [2]], chunks=[[[1], [0]], [[2]]]),
        Partition([[0, 1, 2]]),
        Partition([[0, 1, 2], []]),
    ]
    assert len({digest(variant) for variant in variants}) == len(variants)


@pytest.mark.parametrize("scheme", [iid, dirichlet, partial(redundant, mu=0.4)])
def test_npz_round_trip(scheme, tmp_path):
    split = scheme(np.arange(97) % 5, 6, 0)
    path = tmp_path / "split"
    save_npz(path, split)
    loaded = load_npz(str(path))
    assert digest(loaded) == digest(split)
    assert [held.tolist() for held in loaded] == [held.tolist() for held in split]
    with np.load(path, allow_pickle=False) as arrays:
        assert all(arrays[name].dtype == np.int64 for name in arrays)


@given(splits())
def test_npz_round_trip_of_any_partition(tmp_path_factory, case):
    path = tmp_path_factory.mktemp("npz") / "partition.npz"
    save_npz(path, case[0])
    assert digest(load_npz(path)) == digest(case[0])


def test_a_partition_is_saved_with_its_statistics(tmp_path):
    labels = np.arange(60) % 5
    split = redundant(labels, 4, 0, mu=0.3)
    path = str(tmp_path / "partition.npz")
    save_npz(path, split, labels)
    assert digest(load_npz(path)) == digest(split)
    with np.load(path, allow_pickle=False) as arrays:
        assert arrays["sizes"].tolist() == sizes(split).tolist()
        for statistic in (label_histogram, earth_movers_distance):
            assert arrays[statistic.__name__].tolist() == statistic(split, labels).tolist()
        assert arrays["overlap_matrix"].tolist() == overlap_matrix(split).tolist()


def test_npz_of_something_else(tmp_path):
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    with pytest.raises(
        ValueError, match=r"is not a partition, it holds \['weights'\]; pass a file"
    ):
        load_npz(tmp_path / "other.npz")


def test_overlap_of_many_clients_of_whom_few_share():
    split = redundant(np.zeros(400, dtype=int), num_clients=100, seed=0, mu=0.02)
    sets = [set(held.tolist()) for held in split]
    assert overlap_matrix(split).tolist() == [[len(a & b) for b in sets] for a in sets]


@pytest.mark.parametrize("mu", [0.0, 0.001])
def test_npz_of_many_clients_has_all_pairs_only_where_some_share(tmp_path, mu):
    labels = np.arange(2200) % 2
    split = redundant(labels, num_clients=1100, seed=0, mu=mu)
    save_npz(tmp_path / "p.npz", split, labels)
    with np.load(tmp_path / "p.npz") as arrays:
        assert ("overlap_matrix" in arrays) == (mu > 0)


def test_a_scheme_may_return_plain_arrays():
    split = Partition.of([[3, 0], np.array([1]), np.array([2, 1], dtype=np.uint8)], 3, 4)
    assert [held.tolist() for held in split] == [[0, 3], [1], [1, 2]]
    assert all(held.dtype == np.int64 for held in split)
    assert Partition.of(split, 3, 4) is split


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {0: [0]},
            "the scheme returned a dict; it must return one array of indices per client, as a list"
            " or a partitions.Partition",
        ),
        (
            None,
            "the scheme returned a NoneType; it must return one array of indices per client, as a"
            " list or a partitions.Partition",
        ),
        (
            [[0], [1], [2]],
            "the scheme returned 3 clients, but num_clients=2; it must return one"
            " array of indices per client",
        ),
        ([[0], [4]], "client 1 has the index 4; there are 4 examples, 0 to 3"),
        ([[-1], [1]], "client 0 has the index -1; there are 4 examples, 0 to 3"),
        (Partition([[0], [1, 9]]), "client 1 has the index 9; there are 4 examples, 0 to 3"),
        (
            [[0, 2, 2], [1]],
            "client 0 has the index 2 more than once; drop repetitions with numpy.unique",
        ),
        (
            [[0.0, 2.0], [1]],
            "client 0 has float64 of shape (2,); give the indices of its examples, integers [n]",
        ),
        (
            [[0], [[1]]],
            "client 1 has int64 of shape (1, 1); give the indices of its examples, integers [n]",
        ),
        (
            [[True, False, True, False], [1]],
            "client 0 has a boolean mask; give indices: numpy.flatnonzero(mask)",
        ),
        ([[0], []], "client 1 holds no example; use fewer clients, or min_size >= 1"),
    ],
)
def test_what_a_scheme_may_not_return(given, message):
    with pytest.raises(ValueError) as error:
        Partition.of(given, 2, 4)
    assert str(error.value) == message
