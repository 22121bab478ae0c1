"""Overlap Local-SGD (Wang, Liang, Joshi 2020), the rule of the paper line by line.

tau local steps; x_i <- (1 - alpha) x_i + alpha z with the anchor that was last waited for; then the
next anchor is started: v <- beta v + (mean of the x_i - z), z+ = z + v. Returns after every
synchronisation the models [m, P] after the pull, the anchor that they were pulled to, and the one
that is now on its way, each with the velocity that made it.
"""

import numpy as np


def overlap_local_sgd(
    gradients, x0, rates, tau, alpha, beta=0.0, local_momentum=0.0, nesterov=True
):
    m = len(gradients)
    x = [x0.copy() for _ in range(m)]
    buffers = [np.zeros_like(x0) for _ in range(m)]
    z, v = x0.copy(), np.zeros_like(x0)
    history = []
    for lr in rates:
        for i in range(m):
            for _ in range(tau):
                g = gradients[i](x[i])
                buffers[i] = local_momentum * buffers[i] + g
                x[i] = x[i] - lr * (g + local_momentum * buffers[i] if nesterov else buffers[i])
        x = [(1 - alpha) * x_i + alpha * z for x_i in x]
        arrived = z, v
        v = beta * v + (sum(x) / m - z)
        z = z + v
        history.append((np.array(x), arrived, (z, v)))
    return history


def anchor_matrix(m, alpha):
    """The cooperative matrix of m clients and their anchor, beta = 0: [x; z] <- W [x; z]."""
    matrix = np.eye(m + 1) * (1 - alpha)
    matrix[:m, m] = alpha
    matrix[m, :m] = (1 - alpha) / m
    matrix[m, m] = alpha
    return matrix
