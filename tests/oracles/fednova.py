"""FedNova (Wang et al. 2020): momentum SGD with a proximal term, normalised. Returns x."""

import numpy as np


def local_change(gradient, x, lr, tau, rho, mu, nesterov):
    """(x - y) / lr after tau steps: G a in the paper."""
    y, velocity = x.copy(), np.zeros_like(x)
    for _ in range(tau):
        g = gradient(y) + mu * (y - x)
        velocity = rho * velocity + g
        y = y - lr * (g + rho * velocity if nesterov else velocity)
    return (x - y) / lr


def accumulation(lr, tau, rho, mu, nesterov):
    """The vector a: the k-th entry is what the k-th gradient alone would come to."""
    a = []
    for k in range(tau):
        moved, velocity = 0.0, 0.0
        for step in range(tau):
            g = (step == k) - lr * mu * moved
            velocity = rho * velocity + g
            moved = moved + (g + rho * velocity if nesterov else velocity)
        a.append(moved)
    return np.array(a)


def fednova(
    gradients, start, lr, steps, weights, rounds, rho=0.0, mu=0.0, gamma=0.0, nesterov=False
):
    x, buffer = start.copy(), np.zeros_like(start)
    norms = [accumulation(lr, tau, rho, mu, nesterov).sum() for tau in steps]
    tau_eff = sum(
        p * accumulation(lr, tau, rho, 0.0, nesterov).sum()
        for p, tau in zip(weights, steps, strict=True)
    )
    for _ in range(rounds):
        d = [
            local_change(gradient, x, lr, tau, rho, mu, nesterov) / norm
            for gradient, tau, norm in zip(gradients, steps, norms, strict=True)
        ]
        buffer = gamma * buffer + tau_eff * sum(p * d_i for p, d_i in zip(weights, d, strict=True))
        x = x - lr * buffer
    return x
