"""Randomness as an input: a generator is a function of (seed, purpose, client, round).

Nothing here remembers how often it was called, so batches, cohorts and quantisation noise are
the same in every runtime, for any grouping of clients, and after a resume.
"""

from collections.abc import Iterable, Iterator
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

MASK = (1 << 64) - 1


class Purpose(IntEnum):
    """What a stream of random numbers is for. Values are part of a run's identity: only append."""

    BATCHES = 1
    SAMPLING = 2
    UPLINK = 3
    DOWNLINK = 4
    COMPUTE = 5
    EVALUATION = 6
    MODEL = 7
    FAULTS = 8
    NEIGHBOUR = 9
    AUGMENTATION = 10
    FORWARD = 11
    FULL_GRADIENT = 12


def generator(
    seed: int, purpose: Purpose, client: int = 0, round_index: int = 0, skip: int = 0
) -> np.random.Generator:
    """The generator that belongs to these four numbers, on every machine.

    `skip` starts so many times 32 bytes later in its stream: 8 uniforms of float32, 4 of float64.

    Philox is counter based: the four numbers are its key and the upper half of its counter, so no
    two of them share a stream, and making one costs microseconds.
    """
    bits = np.random.Philox(
        key=np.array([int(seed) & MASK, client], dtype=np.uint64),
        counter=np.array([skip, 0, int(purpose), round_index], dtype=np.uint64),
    )
    return np.random.Generator(bits)


def generators(
    seed: int, purpose: Purpose, clients: Iterable[int], round_index: int
) -> Iterator[np.random.Generator]:
    """The `generator` of each of these clients in turn, good until the next one is asked for.

    One object that is set to each: making one takes ten times as long.
    """
    rng = generator(seed, purpose, 0, round_index)
    state = rng.bit_generator.state
    for client in clients:
        state["state"]["key"][1] = client
        rng.bit_generator.state = state
        yield rng


def client_keys(
    seed: int, purpose: Purpose, clients: NDArray[np.int64], round_index: int
) -> NDArray[np.uint64]:
    """One pseudo-random 64-bit key per client id, all at once.

    splitmix64 over the four numbers: sampling 1 % of 10,000 clients must not build 10,000
    generators.
    """
    with np.errstate(over="ignore"):
        # Mixed before the round is added: client i of round t is not client i + 1 of round t - 1.
        state = _splitmix64(clients.astype(np.uint64))
        for word in (round_index, int(purpose), int(seed) & MASK):
            state = _splitmix64(state + np.uint64(word))
    return state


def step_keys(
    seed: int, purpose: Purpose, clients: NDArray[np.int64], round_index: int, steps: int
) -> NDArray[np.int64]:
    """One pseudo-random key per client and step, [S, steps]."""
    with np.errstate(over="ignore"):
        own = client_keys(seed, purpose, clients, round_index)[:, None]
        return _splitmix64(own + np.arange(steps, dtype=np.uint64)).view(np.int64)


def _splitmix64(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = state + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
