"""SCAFFOLD (Karimireddy et al. 2020), options I and II. Returns x, c and the c_i.

`cohorts` lists who takes part in each round; by default everyone does. With momentum, buffers begin
every round at zero and K eta_l is what the impulses of K unit directions add up to.
"""

import numpy as np

from tests.oracles.vrl_sgd import response


def scaffold(
    gradients, x0, eta_l, K, rounds, eta_g=1.0, option="II", cohorts=None, beta=0.0, nesterov=False
):
    reach = response(eta_l, K, beta, nesterov).sum()
    N = len(gradients)
    x, c = x0.copy(), np.zeros_like(x0)
    c_i = np.zeros((N, len(x0)))
    for t in range(rounds):
        present = range(N) if cohorts is None else cohorts[t]
        dy, dc = [], []
        for i in present:
            y, m = x.copy(), np.zeros_like(x)
            for _ in range(K):
                d = gradients[i](y) - c_i[i] + c
                m = beta * m + d
                y = y - eta_l * (d + beta * m if nesterov else m)
            c_plus = gradients[i](x) if option == "I" else c_i[i] - c + (x - y) / reach
            dy.append(y - x)
            dc.append(c_plus - c_i[i])
            c_i[i] = c_plus
        x = x + eta_g * np.mean(dy, axis=0)
        c = c + len(present) / N * np.mean(dc, axis=0)
    return x, c, c_i
