"""CSER and M-CSER (Xie et al. 2020): error reset with partial synchronisation.

PSync(v, C): r_i = v_i - C(v_i), v'_i = mean C(v_j) + r_i. Every exchange, for the steps p_i:
p'_i, r_i = PSync(p_i, C2), x_i = x_i - p'_i, e_i = e_i - r_i. Every h-th exchange also
e'_i, e_i = PSync(e_i, C1) and x_i = x_i - (e_i before) + e'_i. p_i is eta (beta m_i + g_i), summed
over H local steps. Returns all x_i and e_i.
"""

import numpy as np


def psync(v, C):
    sent = np.array([C(row) for row in v])
    residual = v - sent
    return sent.mean(axis=0) + residual, residual


def cser(gradients, x0, rates, H, h, C1, C2, beta=0.0):
    N = len(gradients)
    x, e, m = np.tile(x0, (N, 1)), np.zeros((N, len(x0))), np.zeros((N, len(x0)))
    for t, eta in enumerate(rates, start=1):
        p = np.zeros_like(x)
        for i in range(N):
            for _ in range(H):
                g = gradients[i](x[i] - p[i])
                m[i] = beta * m[i] + g
                p[i] = p[i] + eta * (beta * m[i] + g)
        partly, residual = psync(p, C2)
        x = x - partly
        e = e - residual
        if t % h == 0:
            common, left = psync(e, C1)
            x = x - e + common
            e = left
    return x, e
