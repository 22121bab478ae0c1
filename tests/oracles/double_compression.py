"""Local SGD with error-compensated double compression (Gao, Xu, Huang 2021), and momentum form.

a_i = e_i + (x - y_i), send q_i = C(a_i), e_i = a_i - q_i; s = E + mean q_i, broadcast q = C(s),
E = s - q; x = x - q. Returns x, the e_i and E.
"""

import numpy as np


def double_compression(gradients, x0, rates, H, C_up, C_down, mu=0.0, at_sync="keep"):
    N = len(gradients)
    x, E = x0.copy(), np.zeros_like(x0)
    e, m = np.zeros((N, len(x0))), np.zeros((N, len(x0)))
    for eta in rates:
        q = np.zeros_like(e)
        for i in range(N):
            y = x.copy()
            for _ in range(H):
                m[i] = mu * m[i] + gradients[i](y)
                y = y - eta * m[i]
            a = e[i] + (x - y)
            q[i] = C_up(a)
            e[i] = a - q[i]
        s = E + q.mean(axis=0)
        sent = C_down(s)
        E = s - sent
        x = x - sent
        if at_sync == "reset":
            m = np.zeros_like(m)
        if at_sync == "average":
            m = np.tile(m.mean(axis=0), (N, 1))
    return x, e, E
