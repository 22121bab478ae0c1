"""VRL-SGD (Liang et al. 2019): v_i = g_i - Delta_i; Delta_i += (x_hat - x_i) / (k gamma) at a sync.

`periods` has the number of steps of every round: (1, k, k, ...) is VRL-SGD-W.
Returns x_hat and the Delta_i after every synchronisation, Delta_i = 0 first.
"""

import numpy as np


def vrl_sgd(gradients, x0, rates, periods):
    N = len(gradients)
    x_hat = x0.copy()
    Delta = np.zeros((N, len(x0)))
    history = [Delta.copy()]
    for gamma, k in zip(rates, periods, strict=True):
        x = np.tile(x_hat, (N, 1))
        for i in range(N):
            for _ in range(k):
                x[i] = x[i] - gamma * (gradients[i](x[i]) - Delta[i])
        x_hat = x.mean(axis=0)
        Delta = Delta + (x_hat - x) / (k * gamma)
        history.append(Delta.copy())
    return x_hat, history
