"""SlowMo (Wang et al. 2020), Alg. 1: base SGD with or without momentum, then the slow update.

Line 2 of the algorithm is `at_sync`: reset, keep or average the base buffers. Returns x and u.
"""

import numpy as np


def slowmo(
    gradients, x0, rates, tau, alpha, beta, base_beta=0.0, base_nesterov=False, at_sync="reset"
):
    m = len(gradients)
    x_0, u = x0.copy(), np.zeros_like(x0)
    h = np.zeros((m, len(x0)))
    for gamma in rates:
        if at_sync == "reset":
            h = np.zeros_like(h)
        if at_sync == "average":
            h = np.tile(h.mean(axis=0), (m, 1))
        x = np.tile(x_0, (m, 1))
        for i in range(m):
            for _ in range(tau):
                g = gradients[i](x[i])
                h[i] = base_beta * h[i] + g
                x[i] = x[i] - gamma * (g + base_beta * h[i] if base_nesterov else h[i])
        x_tau = x.mean(axis=0)
        u = beta * u + (x_0 - x_tau) / gamma
        x_0 = x_0 - alpha * gamma * u
    return x_0, u
