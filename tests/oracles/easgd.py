"""Cooperative SGD with one auxiliary column: (X - lr G) W, the last of W being the centre."""

import numpy as np


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
