"""Random numbers as a function of (seed, purpose, client, round).

There is no global generator, so batches, cohorts and quantisation noise are the same in every
runtime, for any grouping of clients, and after a resume.
"""

from collections.abc import Iterable, Iterator
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

MASK = (1 << 64) - 1


class Purpose(IntEnum):
    """Purpose of a random stream. The values determine a run's numbers, so only append."""

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
    """Return the generator of these four numbers, the same on every machine.

    `skip` skips that many blocks of 32 bytes: 8 uniforms of float32, 4 of float64.

    Philox is counter based. The four numbers are its key and the upper half of its counter, so no
    two generators share a stream, and creating one takes microseconds.
    """
    bits = np.random.Philox(
        key=np.array([int(seed) & MASK, client], dtype=np.uint64),
        counter=np.array([skip, 0, int(purpose), round_index], dtype=np.uint64),
    )
    return np.random.Generator(bits)


def generators(
    seed: int, purpose: Purpose, clients: Iterable[int], round_index: int
) -> Iterator[np.random.Generator]:
    """Yield the `generator` of each client; it is valid until the next one is requested.

    All are one object whose state is reset, which is ten times as fast as creating one.
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
    """Return one pseudo-random 64-bit key per client id, [len(clients)].

    It is splitmix64 over the four numbers, so that sampling 1 % of 10,000 clients does not create
    10,000 generators.
    """
    with np.errstate(over="ignore"):
        # Hash before the round is added, or client i of round t would equal i + 1 of round t - 1.
        state = _splitmix64(clients.astype(np.uint64))
        for word in (round_index, int(purpose), int(seed) & MASK):
            state = _splitmix64(state + np.uint64(word))
    return state


def step_keys(
    seed: int, purpose: Purpose, clients: NDArray[np.int64], round_index: int, steps: int
) -> NDArray[np.int64]:
    """Return one pseudo-random key per client and step, [S, steps]."""
    with np.errstate(over="ignore"):
        own = client_keys(seed, purpose, clients, round_index)[:, None]
        return _splitmix64(own + np.arange(steps, dtype=np.uint64)).view(np.int64)


def _splitmix64(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = state + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
