"""Synchronous SGD on the weighted mean gradient, PyTorch's momentum; one gradient per round."""

import numpy as np


def minibatch_sgd(gradients, x0, p, rates, beta=0.0, nesterov=False):
    x, v = x0.copy(), np.zeros_like(x0)
    for eta in rates:
        g = sum(p_i * grad(x) for p_i, grad in zip(p, gradients, strict=True))
        v = beta * v + g
        x = x - eta * (g + beta * v if nesterov else v)
    return x
