"""SPARQ-SGD, one iteration t after another; nodes talk after t + 1 = H, 2H, ...

A node sends C(x_half - x_hat) only if |x_half - x_hat|^2 > c(t + 1) eta_t^2. Returns the models
[n, P], the beliefs [n, P], and who sent at each synchronisation.
"""

import numpy as np


def sparq_sgd(gradients, start, etas, H, W, gamma, C, c):
    n = len(gradients)
    x = np.tile(start, (n, 1))
    hat, sent = np.zeros_like(x), []
    for t, eta in enumerate(etas):
        half = np.array([x[i] - eta * gradients[i](x[i]) for i in range(n)])
        if (t + 1) % H != 0:
            x = half
            continue
        far = [np.sum((half[i] - hat[i]) ** 2) > c(t + 1) * eta**2 for i in range(n)]
        for i in range(n):
            hat[i] = hat[i] + (C(half[i] - hat[i]) if far[i] else 0)
        for i in range(n):
            x[i] = half[i] + gamma * sum(W[i, j] * (hat[j] - hat[i]) for j in range(n))
        sent.append(far)
    return x, hat, sent
