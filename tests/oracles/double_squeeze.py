"""DoubleSqueeze (Tang et al. 2019), with residuals in the units of a gradient as in the paper.

v_i = g_i + delta_i, send Q(v_i), delta_i = v_i - Q(v_i); v = mean Q(v_i) + delta, send Q(v),
delta = v - Q(v); x = x - gamma Q(v). Returns x, the delta_i and delta.
"""

import numpy as np


def double_squeeze(gradients, x0, rates, Q_up, Q_down):
    N = len(gradients)
    x = x0.copy()
    worker_delta, server_delta = np.zeros((N, len(x0))), np.zeros(len(x0))
    for gamma in rates:
        total = np.zeros(len(x0))
        for i in range(N):
            v = gradients[i](x) + worker_delta[i]
            sent = Q_up(v)
            worker_delta[i] = v - sent
            total = total + sent
        v = total / N + server_delta
        sent = Q_down(v)
        server_delta = v - sent
        x = x - gamma * sent
    return x, worker_delta, server_delta
