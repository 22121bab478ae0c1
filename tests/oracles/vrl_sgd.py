"""VRL-SGD (Liang et al. 2019): v_i = g_i - Delta_i; Delta_i += (x_hat - x_i) / reach at a sync.

The reach is what the impulses of k unit directions add up to: k gamma without momentum. `periods`
has the number of steps of every round: (1, k, k, ...) is VRL-SGD-W. `p` are the weights of x_hat.
Returns x_hat and the Delta_i after every synchronisation, Delta_i = 0 first.
"""

import numpy as np


def response(gamma, k, beta, nesterov):
    """What the j-th of k directions alone would come to, [k]."""
    moved = np.zeros(k)
    for j in range(k):
        velocity = 0.0
        for step in range(k):
            d = float(step == j)
            velocity = beta * velocity + d
            moved[j] += gamma * (d + beta * velocity if nesterov else velocity)
    return moved


def vrl_sgd(
    gradients, x0, rates, periods, beta=0.0, nesterov=False, decay=0.0, at_sync="reset", p=None
):
    N = len(gradients)
    p = np.full(N, 1 / N) if p is None else p
    x_hat = x0.copy()
    Delta = np.zeros((N, len(x0)))
    m = np.zeros((N, len(x0)))
    history = [Delta.copy()]
    for gamma, k in zip(rates, periods, strict=True):
        m = np.zeros_like(m) if at_sync == "reset" else np.tile(p @ m, (N, 1))
        x = np.tile(x_hat, (N, 1))
        for i in range(N):
            for _ in range(k):
                v = gradients[i](x[i]) + decay * x[i] - Delta[i]
                m[i] = beta * m[i] + v
                x[i] = x[i] - gamma * (v + beta * m[i] if nesterov else m[i])
        x_hat = p @ x
        Delta = Delta + (x_hat - x) / response(gamma, k, beta, nesterov).sum()
        history.append(Delta.copy())
    return x_hat, history
