"""AD-PSGD (Lian et al. 2018), straight from the paper, in plain numpy."""

from itertools import islice

import numpy as np

from tests.oracles.events import arrivals


def ad_psgd(gradients, start, lr, period, away, neighbour, exchanges):
    """All models after so many exchanges, [K, P]; neighbour(i, n) is whom i meets in the n-th."""
    K = len(gradients)
    x = np.tile(np.array(start, dtype=np.float64), (K, 1))
    begun = x.copy()
    for count, i in enumerate(islice(arrivals(K, away), exchanges)):
        progress = np.zeros_like(x[i])
        for _ in range(period):
            progress = progress - lr * gradients[i](begun[i] + progress)
        j = neighbour(i, count)
        x[i] = x[j] = (x[i] + x[j]) / 2
        x[i] = x[i] + progress
        begun[i] = x[i]
    return x
