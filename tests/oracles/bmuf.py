"""BMUF (Chen and Huo 2016) over plain local SGD, in its own variables.

G = mean - x_g; Delta = eta Delta + zeta G; x = x + Delta. Classical block momentum broadcasts
x_g = x, Nesterov block momentum x_g = x + eta Delta. Returns x and x_g.
"""

import numpy as np


def bmuf(gradients, x0, rates, H, zeta, eta, nesterov=False):
    x, x_g, Delta = x0.copy(), x0.copy(), np.zeros_like(x0)
    for gamma in rates:
        ends = []
        for grad in gradients:
            y = x_g.copy()
            for _ in range(H):
                y = y - gamma * grad(y)
            ends.append(y)
        G = np.mean(ends, axis=0) - x_g
        Delta = eta * Delta + zeta * G
        x = x + Delta
        x_g = x + eta * Delta if nesterov else x
    return x, x_g
