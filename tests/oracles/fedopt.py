"""Adaptive federated optimization (Reddi et al. 2021): FedAdam, FedYogi, FedAdagrad; and FedAvgM.

Delta = weighted mean of x_i - x; no bias correction; m = 0 and v = v0 at first.
For "sgd" the buffer is PyTorch's, v = beta1 v + d and x = x - eta v with d = -Delta.
"""

import numpy as np


def fedopt(gradients, x0, p, rates, H, optimiser, eta, beta1, beta2, tau, v0):
    x = x0.copy()
    m, v = np.zeros_like(x0), np.full_like(x0, v0)
    for eta_l in rates:
        Delta = np.zeros_like(x0)
        for p_i, grad in zip(p, gradients, strict=True):
            x_i = x.copy()
            for _ in range(H):
                x_i = x_i - eta_l * grad(x_i)
            Delta = Delta + p_i * (x_i - x)
        if optimiser == "sgd":
            m = beta1 * m - Delta
            x = x - eta * m
            continue
        m = beta1 * m + (1 - beta1) * Delta
        if optimiser == "adagrad":
            v = v + Delta**2
        if optimiser == "adam":
            v = beta2 * v + (1 - beta2) * Delta**2
        if optimiser == "yogi":
            v = v - (1 - beta2) * Delta**2 * np.sign(v - Delta**2)
        x = x + eta * m / (np.sqrt(v) + tau)
    return x
