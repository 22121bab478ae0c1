"""Which examples each local step looks at."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedlocal import Clients
from fedlocal.utils.arrays import isin
from partitions.redundant import redundant
from partitions.statistics import credit


def holding(*chunk_sizes):
    """One client per argument; each argument lists the sizes of that client's chunks."""
    edges = np.cumsum([0, *(n for sizes in chunk_sizes for n in sizes)])
    parts = iter([np.arange(a, b) for a, b in pairwise(edges)])
    chunks = tuple(tuple(next(parts) for _ in sizes) for sizes in chunk_sizes)
    pool = torch.zeros(edges[-1], 1)
    return Clients(pool, pool, chunks, np.array([float(sum(sizes)) for sizes in chunk_sizes]))


@given(
    size=st.integers(1, 40),
    batch=st.integers(1, 45),
    steps=st.integers(1, 30),
    seed=st.integers(-(2**63), 2**64 - 1),
)
def test_batches_are_exact_and_hold_nothing_twice(size, batch, steps, seed):
    clients = holding([3], [size])
    indices = clients.batches(1, steps, batch, seed, round_index=4)
    assert indices.shape == (steps, min(batch, size)) and indices.dtype == np.int64
    assert indices.min() >= 3 and indices.max() < 3 + size
    for row in indices:
        assert len(set(row.tolist())) == len(row)
    # Whole batches cut out of permutations: nothing comes back before the permutation is used up.
    per_pass = max(1, size // batch)
    for first in range(0, steps, per_pass):
        several = indices[first : first + per_pass].ravel().tolist()
        assert len(set(several)) == len(several)
    assert np.array_equal(indices, clients.batches(1, steps, batch, seed, 4))


def test_batches_are_keyed_by_seed_client_and_round():
    clients = holding([50], [50], [50])
    keys = [(s, c, t) for s in (0, 1, -1) for c in range(3) for t in range(3)]
    drawn = {}
    for seed, client, round_index in keys:
        rows = clients.batches(client, 5, 8, seed, round_index) - 50 * client
        drawn[rows.tobytes()] = (seed, client, round_index)
    assert len(drawn) == len(keys)


def test_more_steps_begin_with_the_same_batches():
    clients = holding([20])
    long = clients.batches(0, 30, 6, 1, 0)
    assert np.array_equal(clients.batches(0, 7, 6, 1, 0), long[:7])


@pytest.mark.parametrize("batch", [None, 7, 8, 100])
def test_full_batches(batch):
    """None, as many as there are, and more than there are."""
    clients = holding([2], [7])
    indices = clients.batches(1, 3, batch, 0, 0)
    assert indices.tolist() == [list(range(2, 9))] * 3
    assert clients.epoch(1, batch) == 1.0
    assert clients.batch_quotas(1, batch) == [7]


def test_every_example_equally_often():
    """10 examples in batches of 4: two are skipped in every pass, not always the same two."""
    clients, rounds = holding([10]), 1500
    counts = np.zeros(10)
    for t in range(rounds):
        counts += np.bincount(clients.batches(0, 2, 4, 9, t).ravel(), minlength=10)
    assert counts.sum() == rounds * 8
    deviation = np.sqrt(rounds * 0.8 * 0.2)
    assert np.abs(counts - 0.8 * rounds).max() < 5 * deviation


def test_one_pass_sees_everything_once_where_the_batch_divides():
    clients = holding([12])
    for t in range(5):
        assert sorted(clients.batches(0, 3, 4, 0, t).ravel().tolist()) == list(range(12))
        twice = np.bincount(clients.batches(0, 6, 4, 0, t).ravel())
        assert twice.tolist() == [2] * 12


def test_the_pairs_of_a_batch_are_drawn_equally_often():
    clients = holding([6])
    together = np.zeros((6, 6))
    for t in range(2000):
        for row in clients.batches(0, 3, 2, 0, t):
            together[min(row), max(row)] += 1
    counts = together[np.triu_indices(6, 1)]
    assert np.abs(counts - 400).max() < 5 * np.sqrt(6000 / 15)


@pytest.mark.parametrize(
    ("size", "batch", "steps"), [(10, 4, 2.5), (10, 5, 2.0), (10, 1, 10.0), (10, 10, 1.0)]
)
def test_an_epoch_in_steps(size, batch, steps):
    assert holding([size]).epoch(0, batch) == steps


@given(
    own=st.integers(1, 60),
    others=st.lists(st.integers(1, 60), min_size=1, max_size=3),
    batch=st.integers(1, 60),
    steps=st.integers(1, 12),
)
def test_every_chunk_gives_its_part(own, others, batch, steps):
    clients = holding([own, *others])
    quotas = clients.batch_quotas(0, batch)
    # What would give less than one example is drawn from together with the chunk before.
    pools = [own]
    for size in others:
        if batch < own and batch * size < own:
            pools[-1] += size
        else:
            pools.append(size)
    assert len(quotas) == len(pools)
    for size, quota in zip(pools, quotas, strict=True):
        assert 1 <= quota <= size
        assert abs(quota - (size if batch >= own else batch / own * size)) <= 0.5
    indices = clients.batches(0, steps, batch, 0, 0)
    assert indices.shape == (steps, sum(quotas))
    edges = np.cumsum([0, *pools])
    for row in indices:
        assert len(set(row.tolist())) == len(row)
        assert np.histogram(row, edges)[0].tolist() == quotas
    assert clients.epoch(0, batch) == pytest.approx((own + sum(others)) / sum(quotas))


def test_a_chunk_held_to_a_fraction_gives_that_fraction_of_the_batch():
    """RI-SGD: B from the own chunk, B from a whole other chunk, r B from a chunk held to r."""
    clients = holding([40, 40, 10])
    assert clients.batch_quotas(0, 8) == [8, 8, 2]
    assert clients.batch_quotas(0, 1) == [1, 1]
    assert clients.batch_quotas(0, None) == [40, 40, 10]
    assert clients.epoch(0, 8) == 5.0


def test_a_stray_example_is_not_in_every_batch():
    """As often as any other: 40 of 41 batches do without it."""
    clients = holding([40, 40, 1])
    assert clients.batch_quotas(0, 8) == [8, 8]
    drawn = np.concatenate([clients.batches(0, 5, 8, 0, t).ravel() for t in range(800)])
    counts = np.bincount(drawn, minlength=81)
    expected = 800 * 40 / 41
    assert abs(counts[80] - expected) < 5 * np.sqrt(expected)


def test_batches_of_the_redundant_partition():
    labels = np.zeros(80, dtype=int)
    held = redundant(labels, num_clients=4, seed=0, mu=3 / 8)
    assert [[len(c) for c in chunks] for chunks in held.chunks] == [[20, 20, 10]] * 4
    pool = torch.zeros(80, 1)
    clients = Clients(pool, pool, held.chunks, credit(held))
    for client in range(4):
        assert clients.batch_quotas(client, 4) == [4, 4, 2]
        for row in clients.batches(client, 6, 4, 0, 1):
            taken = [np.isin(row, chunk).sum() for chunk in held.chunks[client]]
            assert taken == [4, 4, 2] and len(set(row.tolist())) == 10
    # An example that several clients hold counts once in all.
    assert clients.counts.sum() == pytest.approx(80)


def test_clients_of_pairs():
    pairs = [(torch.full((n, 2), float(n)), torch.full((n,), n)) for n in (3, 1, 4)]
    clients = Clients.of(pairs)
    assert len(clients) == 3 and clients.counts.tolist() == [3.0, 1.0, 4.0]
    assert clients.x.shape == (8, 2) and clients.y.dtype == torch.int64
    for (x, y), (chunk,) in zip(pairs, clients.chunks, strict=True):
        assert torch.equal(clients.x[chunk], x) and torch.equal(clients.y[chunk], y)


@pytest.mark.parametrize(
    ("pairs", "text"),
    [
        ([], r"no clients were given; pass one \(x, y\) pair of tensors per client"),
        (
            [(torch.zeros(2, 1), torch.zeros(2)), (torch.zeros(3, 1), torch.zeros(2))],
            "client 1 has 3 inputs and 2 targets; both must be equal and at least 1",
        ),
        (
            [(torch.zeros(0, 1), torch.zeros(0))],
            "client 0 has 0 inputs and 0 targets; both must be equal and at least 1",
        ),
    ],
)
def test_wrong_clients_are_refused(pairs, text):
    with pytest.raises(ValueError, match=text):
        Clients.of(pairs)


@given(st.lists(st.integers(0, 9), unique=True), st.lists(st.integers(0, 9), unique=True))
def test_isin(ids, these):
    found = isin(np.array(ids, dtype=np.int64), np.array(these, dtype=np.int64))
    assert found.dtype == bool and found.tolist() == [one in these for one in ids]


@pytest.mark.parametrize(
    ("x", "chunks", "text"),
    [
        (torch.zeros(3, 1), [[[0, 3]]], r"client 0 holds indices outside 0\.\.2"),
        (torch.zeros(3, 1), [[[0]], [[-1]]], r"client 1 holds indices outside 0\.\.2"),
        (torch.zeros(3, 1), [[[0]], [[], [1]]], "client 1 holds no example of its own; take fewer"),
        (torch.zeros(2, 1), [[[0]]], "the pool has 2 inputs and 3 targets"),
        (torch.full((3, 1), torch.nan), [[[0]]], "x of the pool has 3 values that are NaN or inf"),
        (torch.zeros(3, 1), [], "0 clients; one for each is needed, and at least one client"),
    ],
)
def test_chunks_are_parts_of_the_pool(x, chunks, text):
    arrays = tuple(tuple(np.array(c, dtype=np.int64) for c in client) for client in chunks)
    with pytest.raises(ValueError, match=text):
        Clients(x, torch.zeros(3), arrays, np.ones(len(arrays)))
