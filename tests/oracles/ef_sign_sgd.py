"""EF-signSGD (Karimireddy et al. 2019), the mean of N workers; local when H > 1.

p = gamma g + e (of all local steps when H > 1), Delta = (|p|_1 / d) sign(p) in each block of
coordinates, x = x - mean Delta, e = p - Delta. Returns x and the e of each worker.
"""

import numpy as np


def ef_sign_sgd(gradients, x0, rates, H, sizes, momentum=0.0):
    N = len(gradients)
    x = x0.copy()
    e, m = np.zeros((N, len(x0))), np.zeros((N, len(x0)))
    for gamma in rates:
        deltas = np.zeros_like(e)
        for i in range(N):
            y = x.copy()
            for _ in range(H):
                m[i] = momentum * m[i] + gradients[i](y)
                y = y - gamma * m[i]
            p = x - y + e[i]
            begin = 0
            for d in sizes:
                block = p[begin : begin + d]
                signs = np.where(block > 0, 1.0, -1.0)
                deltas[i, begin : begin + d] = np.sum(np.abs(block)) / d * signs
                begin += d
            e[i] = p - deltas[i]
        x = x - deltas.mean(axis=0)
    return x, e
