"""DiLoCo (Douillard et al. 2023): inner AdamW that is never reset, outer Nesterov SGD.

AdamW and SGD(nesterov=True) are PyTorch's: the decay multiplies the weights first, the moments
are bias corrected with the number of steps since the start, epsilon is outside the root.
"""

import numpy as np


def diloco(gradients, x0, rates, H, outer_lr, outer_beta, decay, betas, epsilon=1e-8, p=None):
    N, (b1, b2) = len(gradients), betas
    p = np.full(N, 1 / N) if p is None else p
    theta, buffer = x0.copy(), np.zeros_like(x0)
    m, s, steps = np.zeros((N, len(x0))), np.zeros((N, len(x0))), 0
    for eta in rates:
        y = np.tile(theta, (N, 1))
        for _ in range(H):
            steps += 1
            for i in range(N):
                g = gradients[i](y[i])
                y[i] = y[i] * (1 - eta * decay)
                m[i] = b1 * m[i] + (1 - b1) * g
                s[i] = b2 * s[i] + (1 - b2) * g**2
                root = np.sqrt(s[i]) / np.sqrt(1 - b2**steps) + epsilon
                y[i] = y[i] - eta / (1 - b1**steps) * m[i] / root
        d = theta - p @ y
        buffer = outer_beta * buffer + d
        theta = theta - outer_lr * (d + outer_beta * buffer)
    return theta
