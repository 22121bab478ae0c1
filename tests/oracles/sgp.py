"""SGP, node by node: everyone splits its numerator and its weight among those it sends to."""

import numpy as np


def exponential_peer(sender, t, num_clients):
    """The one node it sends to: 1, 2, 4, ... places further, as long as that is on the circle."""
    hops = [hop for hop in (1, 2, 4, 8, 16) if hop < num_clients]
    return (sender + hops[t % len(hops)]) % num_clients


def one_peer(num_clients):
    """shares(sender, t) with half for itself and half for its peer."""
    return lambda i, t: {i: 0.5, exponential_peer(i, t, num_clients): 0.5}


def column_of(P):
    return lambda i, t: dict(enumerate(P[:, i]))


def sgp(gradients, start, rates, period, shares, momentum=0.0):
    """Numerators [K, P], weights [K] and their quotients; shares(i, t) is what i gives to whom."""
    K = len(gradients)
    x, w = np.tile(start, (K, 1)), np.ones(K)
    u = np.zeros_like(x)
    for t, lr in enumerate(rates):
        new_x, new_w = np.zeros_like(x), np.zeros(K)
        for i, gradient in enumerate(gradients):
            z = x[i] / w[i]
            half = x[i].copy()
            for _ in range(period):
                u[i] = momentum * u[i] + gradient(z)
                half -= lr * u[i]
                z = z - lr * u[i]
            for j, share in shares(i, t).items():
                new_x[j] += share * half
                new_w[j] += share * w[i]
        x, w = new_x, new_w
    return x, w, x / w[:, None]
