"""FedDyn (Acar et al. 2021) with gradient steps for the local problems. Returns theta, h, g_k.

`cohorts` lists who takes part in each round.
"""

import numpy as np


def feddyn(gradients, start, lr, period, alpha, cohorts):
    m = len(gradients)
    theta, h = start.copy(), np.zeros_like(start)
    g = np.zeros((m, len(start)))
    for present in cohorts:
        ends = []
        for k in present:
            local = theta.copy()
            for _ in range(period):
                local = local - lr * (gradients[k](local) - g[k] + alpha * (local - theta))
            g[k] = g[k] - alpha * (local - theta)
            ends.append(local)
        h = h - alpha / m * sum(local - theta for local in ends)
        theta = np.mean(ends, axis=0) - h / alpha
    return theta, h, g
