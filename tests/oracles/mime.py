"""Mime and MimeLite (Karimireddy et al. 2020) over SGD with momentum. Returns x and s.

`batches[t][i][k]` is client i's gradient function at step k of round t, so that stochastic steps
can be replayed; `gradients[i]` is over all of its examples. `cohorts` lists who takes part.
"""

import numpy as np


def mime(gradients, batches, start, lr, beta, weights, cohorts, lite, eta_g=1.0):
    x, s = start.copy(), np.zeros_like(start)
    for t, present in enumerate(cohorts):
        p = np.array([weights[i] for i in present])
        p = p / p.sum()
        c = sum(w * gradients[i](x) for w, i in zip(p, present, strict=True))
        moves = []
        for i in present:
            y = x.copy()
            for gradient in batches[t][i]:
                d = gradient(y) if lite else gradient(y) - gradient(x) + c
                y = y - lr * ((1 - beta) * d + beta * s)
            moves.append(x - y)
        x = x - eta_g * sum(w * move for w, move in zip(p, moves, strict=True))
        s = beta * s + (1 - beta) * c
    return x, s
