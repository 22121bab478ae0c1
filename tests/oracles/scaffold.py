"""SCAFFOLD (Karimireddy et al. 2020), options I and II. Returns x, c and the c_i.

`cohorts` lists who takes part in each round; by default everyone does.
"""

import numpy as np


def scaffold(gradients, x0, eta_l, K, rounds, eta_g=1.0, option="II", cohorts=None):
    N = len(gradients)
    x, c = x0.copy(), np.zeros_like(x0)
    c_i = np.zeros((N, len(x0)))
    for t in range(rounds):
        present = range(N) if cohorts is None else cohorts[t]
        dy, dc = [], []
        for i in present:
            y = x.copy()
            for _ in range(K):
                y = y - eta_l * (gradients[i](y) - c_i[i] + c)
            c_plus = gradients[i](x) if option == "I" else c_i[i] - c + (x - y) / (K * eta_l)
            dy.append(y - x)
            dc.append(c_plus - c_i[i])
            c_i[i] = c_plus
        x = x + eta_g * np.mean(dy, axis=0)
        c = c + len(present) / N * np.mean(dc, axis=0)
    return x, c, c_i
