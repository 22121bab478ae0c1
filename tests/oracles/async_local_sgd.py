"""Stich 2019, algorithm 2, straight from the paper, in plain numpy."""

from itertools import islice

import numpy as np

from tests.oracles.events import arrivals


def async_local_sgd(gradients, start, lr, period, away, exchanges, momentum=0.0):
    """The aggregate after so many exchanges, and how stale each of them was."""
    K = len(gradients)
    aggregate = np.array(start, dtype=np.float64)
    read = [aggregate.copy() for _ in range(K)]
    velocity = [np.zeros_like(aggregate) for _ in range(K)]
    since, staleness = [0] * K, []
    for count, k in enumerate(islice(arrivals(K, away), exchanges)):
        x = read[k].copy()
        for _ in range(period):
            velocity[k] = momentum * velocity[k] + gradients[k](x)
            x = x - lr * velocity[k]
        aggregate = aggregate + (x - read[k]) / K
        read[k] = aggregate.copy()
        staleness.append(count - since[k])
        since[k] = count + 1
    return aggregate, staleness
