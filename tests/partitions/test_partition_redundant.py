"""RI-SGD's redundancy against a transcription of its rule."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from partitions import Partition, dirichlet, iid, label_blocks, natural, redundant
from partitions.statistics import credit, multiplicity, sizes
from partitions.storage import digest

seeds = st.integers(0, 2**32)
fractions = st.floats(0, 1, exclude_max=True)
bases = st.sampled_from([iid, label_blocks, partial(dirichlet, alpha=0.1, min_size=0)])


def promised(sizes, mu):
    """Extra examples of each client: the least level at which all copies are stored."""
    n, copies = sum(sizes), min(int(mu * len(sizes) + 1e-9), len(sizes) - 1)
    level = round(mu * n)
    while sum(min(level, n - size) for size in sizes) < copies * n:
        level += 1
    return level, copies


@given(st.integers(1, 10), st.integers(10, 150), seeds, fractions, bases)
def test_own_chunk_first_and_as_many_others_as_promised(num_clients, n, seed, mu, base):
    labels = np.arange(n) % 5
    own = base(labels, num_clients, seed)
    split = redundant(labels, num_clients, seed, mu=mu, base=base)
    level, _ = promised([len(chunk) for chunk in own], mu)
    for client, (held, chunks) in enumerate(zip(split, split.chunks, strict=True)):
        assert len(held) == len(own[client]) + min(level, n - len(own[client]))
        assert chunks[0].tolist() == own[client].tolist()
        assert all((np.diff(chunk) > 0).all() for chunk in chunks)
        assert held.tolist() == sorted(np.concatenate(chunks).tolist())


@given(st.integers(2, 10), st.integers(2, 15), seeds, fractions)
def test_whole_followers_then_a_part_where_sizes_are_equal(num_clients, size, seed, mu):
    """The paper's rule."""
    labels = np.zeros(num_clients * size, int)
    extra = min(round(mu * len(labels)), len(labels) - size)
    whole, part = divmod(extra, size)
    own = iid(labels, num_clients, seed)
    split = redundant(labels, num_clients, seed, mu=mu)
    if extra < promised([size] * num_clients, mu)[0]:
        return
    for client, chunks in enumerate(split.chunks):
        followers = [own[(client + step) % num_clients] for step in range(1, num_clients)]
        joined = whole > 0 and 0 < 2 * part < size
        assert len(chunks) == 1 + whole + (part > 0) - joined
        for chunk, follower in zip(chunks[1 : 1 + whole - joined], followers, strict=False):
            assert chunk.tolist() == follower.tolist()
        if part:
            last = set(chunks[-1]) - set(followers[whole - 1] if joined else ())
            assert len(last) == part and last <= set(followers[whole])


@given(st.integers(1, 12), st.integers(12, 150), seeds, fractions, bases)
def test_every_example_has_the_promised_copies(num_clients, n, seed, mu, base):
    split = redundant(np.arange(n) % 5, num_clients, seed, mu=mu, base=base)
    assert len(multiplicity(split)) == n
    assert multiplicity(split).min() >= 1 + int(mu * num_clients)


@pytest.mark.parametrize("copies", [1, 2, 4])
@pytest.mark.parametrize("num_clients", [5, 8, 9])
@pytest.mark.parametrize("alpha", [0.05, 0.3])
def test_a_dirichlet_base_keeps_the_promise(copies, num_clients, alpha):
    base = partial(dirichlet, alpha=alpha)
    split = redundant(np.arange(1000) % 10, num_clients, 0, mu=copies / num_clients, base=base)
    assert multiplicity(split).min() == 1 + copies
    sets = [set(held) for held in split]
    for first in range(num_clients):
        others = [held for client, held in enumerate(sets) if client != first]
        assert len(set().union(*others)) == 1000


def test_one_client_that_owns_nearly_all():
    """Nobody else's mu n is enough, so that the others hold more."""
    split = redundant([0] * 10, 2, 0, mu=0.5, base=lambda *_: Partition([range(9), [9]]))
    assert [held.tolist() for held in split] == [list(range(10))] * 2


@pytest.mark.parametrize("num_clients", [5, 7, 8, 9, 16])
@pytest.mark.parametrize("copies", [1, 2, 3])
def test_no_chunk_is_a_few_stray_examples(num_clients, copies):
    """K does not divide n: what a smaller follower leaves to fill up is no chunk of its own."""
    split = redundant(np.arange(1437) % 10, num_clients, 0, mu=copies / num_clients)
    for chunks in split.chunks:
        assert len(chunks) <= 1 + copies
        assert min(map(len, chunks)) >= 1437 // num_clients - 1


@given(st.integers(1, 10), st.integers(10, 100), seeds, bases)
def test_mu_zero_is_the_base(num_clients, n, seed, base):
    labels = np.arange(n) % 5
    expected = base(labels, num_clients, seed)
    assert digest(redundant(labels, num_clients, seed, mu=0, base=base)) == digest(expected)


@given(st.integers(1, 12), st.integers(1, 12), seeds)
def test_everyone_holds_everything_at_mu_of_all_other_chunks(num_clients, size, seed):
    n = num_clients * size
    split = redundant(np.zeros(n, int), num_clients, seed, mu=(num_clients - 1) / num_clients)
    assert all(held.tolist() == list(range(n)) for held in split)
    assert all([len(chunk) for chunk in chunks] == [size] * num_clients for chunks in split.chunks)


@given(st.integers(2, 12), st.integers(1, 12), seeds, st.floats(0, 0.999))
def test_a_dead_client_s_data_live_on(num_clients, size, seed, extra):
    mu = 1 / num_clients + extra * (1 - 1 / num_clients)
    split = redundant(np.zeros(num_clients * size, int), num_clients, seed, mu=mu)
    assert multiplicity(split).min() >= 2


def test_the_part_is_a_seeded_random_subset():
    parts = [redundant(np.arange(80), 4, seed, 1 / 8, label_blocks).chunks[0][1] for seed in (0, 1)]
    for part in parts:
        assert len(part) == 10 and part.min() >= 20 and part.max() < 40
        assert part.tolist() != list(range(20, 30))
    assert parts[0].tolist() != parts[1].tolist()


def test_base_may_be_any_scheme():
    ids = ["b", "a", "c", "a", "b", "d"]
    split = redundant(ids, num_clients=4, seed=0, mu=1 / 6, base=natural)
    assert [len(chunk) for chunks in split.chunks for chunk in chunks] == [2, 1, 2, 1, 1, 1, 1, 1]
    assert sizes(split).sum() == 10 and abs(credit(split).sum() - 6) < 1e-12


def test_memory_is_shared_for_whole_chunks():
    split = redundant(np.zeros(40, int), 4, 0, mu=0.25)
    assert all(split.chunks[j][1] is split.chunks[(j + 1) % 4][0] for j in range(4))


@pytest.mark.parametrize("mu", [-0.1, 1.0, 1.5, float("nan")])
def test_mu_outside_its_range(mu):
    with pytest.raises(ValueError, match=rf"mu must be in \[0, 1\), got {mu}; it is the redundant"):
        redundant([0, 1], 2, 0, mu=mu)


def test_base_must_be_disjoint():
    message = "base must give every example to exactly one client, got 12 indices for 8 examples"
    with pytest.raises(ValueError, match=message):
        redundant([0] * 8, 2, 0, base=partial(redundant, mu=0.25))
