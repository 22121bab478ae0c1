"""Decentralised periodic averaging, node by node, with Metropolis-Hastings weights."""

import numpy as np


def d_pasgd(gradients, start, rates, period, neighbours, momentum=0.0, nesterov=False):
    """Models [K, P] after the last round; neighbours[i] lists those that i talks to."""
    x = [start] * len(gradients)
    v = [np.zeros_like(start)] * len(gradients)
    for lr in rates:
        for _ in range(period):
            for i, gradient in enumerate(gradients):
                g = gradient(x[i])
                v[i] = momentum * v[i] + g
                x[i] = x[i] - lr * (g + momentum * v[i] if nesterov else v[i])
        mixed = []
        for i, own in enumerate(x):
            y = own
            for j in neighbours[i]:
                weight = 1 / (1 + max(len(neighbours[i]), len(neighbours[j])))
                y = y + weight * (x[j] - own)
            mixed.append(y)
        x = mixed
    return np.stack(x)
