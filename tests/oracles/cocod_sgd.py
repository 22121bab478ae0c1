"""CoCoD-SGD (Shen et al. 2019): x_i <- mean of the models at the round's start + own progress."""

import numpy as np


def cocod_sgd(gradients, x0, rates, tau, momentum=0.0, nesterov=False):
    """Clients' models [m, P] after every synchronisation, the initial ones first."""
    m = len(gradients)
    x = np.tile(x0, (m, 1))
    buffers = np.zeros_like(x)
    history = [x]
    for lr in rates:
        starts, x = x, x.copy()
        for i in range(m):
            for _ in range(tau):
                g = gradients[i](x[i])
                buffers[i] = momentum * buffers[i] + g
                x[i] = x[i] - lr * (g + momentum * buffers[i] if nesterov else buffers[i])
        x = starts.mean(axis=0) + (x - starts)
        history.append(x)
    return history
