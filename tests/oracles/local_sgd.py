"""Local SGD, Alg. 1 of Stich 2018 on different clients, with PyTorch's local momentum.

`rates` has one step size per round and `periods` one number of steps per round.
"""

import numpy as np


def local_sgd(
    gradients, x0, p, rates, periods, beta=0.0, nesterov=False, decay=0.0, at_sync="keep"
):
    N = len(gradients)
    x = x0.copy()
    v = [np.zeros_like(x0) for _ in range(N)]
    for eta, H in zip(rates, periods, strict=True):
        y = [x.copy() for _ in range(N)]
        for i in range(N):
            for _ in range(H):
                g = gradients[i](y[i]) + decay * y[i]
                v[i] = beta * v[i] + g
                y[i] = y[i] - eta * (g + beta * v[i] if nesterov else v[i])
        x = sum(p[i] * y[i] for i in range(N))
        if at_sync == "reset":
            v = [np.zeros_like(x0) for _ in range(N)]
        if at_sync == "average":
            mean = sum(p[i] * v[i] for i in range(N))
            v = [mean.copy() for _ in range(N)]
    return x
