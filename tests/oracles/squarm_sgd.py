"""SQuARM-SGD, one iteration t after another: SPARQ-SGD's exchange around Nesterov steps.

v_i = beta v_i + g_i and x_half = x - eta (g_i + beta v_i) at every t; at t + 1 = H, 2H, ... those
with |x_half - x_hat|^2 > c eta^2 send. Returns the models, momenta and beliefs [n, P].
"""

import numpy as np


def squarm_sgd(gradients, start, etas, H, W, gamma, C, beta, c):
    n = len(gradients)
    x = np.tile(start, (n, 1))
    v, hat = np.zeros_like(x), np.zeros_like(x)
    for t, eta in enumerate(etas):
        for i in range(n):
            g = gradients[i](x[i])
            v[i] = beta * v[i] + g
            x[i] = x[i] - eta * (beta * v[i] + g)
        if (t + 1) % H == 0:
            for i in range(n):
                if np.linalg.norm(x[i] - hat[i]) ** 2 > c * eta**2:
                    hat[i] = hat[i] + C(x[i] - hat[i])
            x = x + gamma * (W @ hat - W.sum(1)[:, None] * hat)
    return x, v, hat
