"""Cooperative SGD with one auxiliary column: (X - lr G) W, the last of W being the centre."""

from itertools import islice

import numpy as np

from tests.oracles.events import arrivals


def easgd(gradients, start, rates, period, alpha, momentum=0.0, nesterov=True):
    """Clients' models [m, P] after their last pull, and the centre [P]."""
    m = len(gradients)
    matrix = np.eye(m + 1) * (1 - alpha)
    matrix[:m, m] = matrix[m, :m] = alpha
    matrix[m, m] = 1 - m * alpha
    columns = np.tile(start, (m + 1, 1))
    buffers = np.zeros((m, len(start)))
    for lr in rates:
        for _ in range(period):
            for i, gradient in enumerate(gradients):
                g = gradient(columns[i])
                buffers[i] = momentum * buffers[i] + g
                columns[i] -= lr * (g + momentum * buffers[i] if nesterov else buffers[i])
        columns = matrix @ columns
    return columns[:m], columns[m]


def async_easgd(gradients, start, lr, period, alpha, away, exchanges):
    """Clients exchange when they are done: x^i and z pull each other, both as they were."""
    K = len(gradients)
    x = np.tile(np.array(start, dtype=np.float64), (K, 1))
    centre = np.array(start, dtype=np.float64)
    read = x.copy()
    for i in islice(arrivals(K, away), exchanges):
        for _ in range(period):
            x[i] = x[i] - lr * gradients[i](x[i])
        read[i] = centre
        apart = alpha * (x[i] - centre)
        x[i], centre = x[i] - apart, centre + apart
    return x, read, centre
