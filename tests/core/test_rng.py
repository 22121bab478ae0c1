"""Streams of random numbers: a function of (seed, purpose, client, round) and of nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedlocal.vectors.rng import Purpose, client_keys, generator, generators

KEYS = st.tuples(
    st.one_of(st.integers(-3, 3), st.integers(-(2**63), 2**64 - 1)),
    st.sampled_from(Purpose),
    st.one_of(st.integers(0, 3), st.integers(0, 2**40)),
    st.one_of(st.integers(0, 3), st.integers(0, 2**40)),
)


def draws(key, count=8):
    return generator(*key).integers(0, 2**64, count, dtype=np.uint64).tolist()


@given(one=KEYS, other=KEYS)
def test_two_keys_two_streams(one, other):
    assert draws(one) == draws(one)
    same = (one[0] % 2**64, *one[1:]) == (other[0] % 2**64, *other[1:])
    assert (draws(one) == draws(other)) == same
    if not same:
        assert not set(draws(one)) & set(draws(other))


def test_all_neighbours_differ():
    keys = [
        (seed, purpose, client, t)
        for seed in (-1, 0, 1, 2)
        for purpose in Purpose
        for client in range(5)
        for t in range(5)
    ]
    numbers = [n for key in keys for n in draws(key, 3)]
    assert len(set(numbers)) == len(numbers)


def test_long_streams_of_neighbours_do_not_overlap():
    """The round stands in the upper half of the counter, out of reach of any draw."""
    streams = [
        generator(0, Purpose.UPLINK, 0, t).integers(0, 2**64, 20_000, np.uint64) for t in (0, 1)
    ]
    assert len(np.intersect1d(*streams)) == 0


def test_streams_of_neighbours_are_not_correlated():
    rows = np.array([generator(0, Purpose.UPLINK, c, 0).random(4000) for c in range(12)])
    correlation = np.corrcoef(rows)[np.triu_indices(12, 1)]
    assert np.abs(correlation).max() < 5 / np.sqrt(4000)


@pytest.mark.parametrize("seed", [-1, -(2**63), 0, 2**63, 2**64 - 1])
def test_any_64_bit_seed(seed):
    assert 0 <= generator(seed, Purpose.MODEL).random() < 1
    assert len(client_keys(seed, Purpose.SAMPLING, np.arange(3), 0)) == 3


@pytest.mark.parametrize("seed", [-3, 0, 5])
def test_a_numpy_seed_is_the_same_seed(seed):
    assert draws((np.int64(seed), Purpose.BATCHES, 1, 2)) == draws((seed, Purpose.BATCHES, 1, 2))
    keys = [client_keys(s, Purpose.SAMPLING, np.arange(3), 0) for s in (seed, np.int64(seed))]
    assert np.array_equal(*keys)


def test_a_numpy_client_is_the_same_client():
    key = (7, Purpose.COMPUTE)
    assert draws((*key, np.int64(3), np.int64(2))) == draws((*key, 3, 2))


def test_the_streams_of_a_run_never_change():
    """They are part of a run's identity. A failure here belongs into the changelog's Numerics."""
    assert draws((0, Purpose.BATCHES, 0, 0), 2) == FROZEN[0]
    assert draws((-1, Purpose.FAULTS, 7, 9), 2) == FROZEN[1]
    assert client_keys(-1, Purpose.SAMPLING, np.array([0, 7]), 9).tolist() == FROZEN[2]
    assert {p.name: int(p) for p in Purpose} == {
        "BATCHES": 1,
        "SAMPLING": 2,
        "UPLINK": 3,
        "DOWNLINK": 4,
        "COMPUTE": 5,
        "EVALUATION": 6,
        "MODEL": 7,
        "FAULTS": 8,
        "NEIGHBOUR": 9,
        "AUGMENTATION": 10,
        "FORWARD": 11,
        "FULL_GRADIENT": 12,
    }


FROZEN = (
    [11873002094180986743, 1171884530594738689],
    [1869639496551890642, 16858447213809337951],
    [7834044616024619504, 12709563437456816598],
)


def test_generators_in_turn_are_the_generators_made_one_by_one():
    clients = [7, 0, 3, 2**40]
    for client, rng in zip(clients, generators(5, Purpose.BATCHES, clients, 4), strict=True):
        alone = generator(5, Purpose.BATCHES, client, 4)
        # An odd number of 32-bit draws leaves half a word behind, which must not reach the next.
        assert np.array_equal(rng.random(3, np.float32), alone.random(3, np.float32))
        assert np.array_equal(rng.permutation(9), alone.permutation(9))
