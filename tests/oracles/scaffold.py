"""SCAFFOLD option II (Karimireddy et al. 2020), everyone present. Returns x, c and the c_i."""

import numpy as np


def scaffold(gradients, x0, eta_l, K, rounds, eta_g=1.0):
    N = len(gradients)
    x, c = x0.copy(), np.zeros_like(x0)
    c_i = np.zeros((N, len(x0)))
    for _ in range(rounds):
        dy, dc = np.zeros_like(c_i), np.zeros_like(c_i)
        for i in range(N):
            y = x.copy()
            for _ in range(K):
                y = y - eta_l * (gradients[i](y) - c_i[i] + c)
            c_plus = c_i[i] - c + (x - y) / (K * eta_l)
            dy[i], dc[i] = y - x, c_plus - c_i[i]
            c_i[i] = c_plus
        x = x + eta_g * dy.mean(axis=0)
        c = c + dc.mean(axis=0)
    return x, c, c_i
