"""CHOCO-SGD, with H gradient steps in the place of one; node by node, as neighbours would do it.

`icml` is the order of the 2019 paper: gradient, compress, mix. `iclr` is algorithm 1 of the 2020
paper: mix, compress, gradient; its result is the x_i that the next iteration would compress.
Both return the models [n, P] and the beliefs [n, P].
"""

import numpy as np


def local_steps(x, v, gradient, eta, H, beta, nesterov):
    for _ in range(H):
        g = gradient(x)
        v = beta * v + g
        x = x - eta * (g + beta * v if nesterov else v)
    return x, v


def mixed(x, hat, W, gamma):
    n = len(x)
    return np.array(
        [x[i] + gamma * sum(W[i, j] * (hat[j] - hat[i]) for j in range(n)) for i in range(n)]
    )


def icml(gradients, start, rates, H, W, gamma, C, beta=0.0, nesterov=False):
    n = len(gradients)
    x = np.tile(start, (n, 1))
    hat, v = np.zeros_like(x), np.zeros_like(x)
    for eta in rates:
        for i in range(n):
            x[i], v[i] = local_steps(x[i], v[i], gradients[i], eta, H, beta, nesterov)
            hat[i] = hat[i] + C(x[i] - hat[i])
        x = mixed(x, hat, W, gamma)
    return x, hat


def iclr(gradients, start, rates, H, W, gamma, C, beta=0.0, nesterov=False):
    n = len(gradients)
    half = np.tile(start, (n, 1))
    hat, v = np.zeros_like(half), np.zeros_like(half)
    for eta in rates:
        x = mixed(half, hat, W, gamma)
        for i in range(n):
            hat[i] = hat[i] + C(x[i] - hat[i])
            half[i], v[i] = local_steps(x[i], v[i], gradients[i], eta, H, beta, nesterov)
    return mixed(half, hat, W, gamma), hat
