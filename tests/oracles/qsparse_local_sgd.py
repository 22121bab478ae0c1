"""Qsparse-local-SGD (Basu et al. 2019), synchronous: only the uplink is compressed.

a_i = m_i + x - y_i, send q_i = C(a_i), m_i = a_i - q_i; x = x - mean q_i. Returns x and the m_i.
"""

import numpy as np


def qsparse_local_sgd(gradients, x0, rates, H, C, momentum=0.0):
    R = len(gradients)
    x = x0.copy()
    memory, v = np.zeros((R, len(x0))), np.zeros((R, len(x0)))
    for eta in rates:
        update = np.zeros_like(x)
        for r in range(R):
            y = x.copy()
            for _ in range(H):
                v[r] = momentum * v[r] + gradients[r](y)
                y = y - eta * v[r]
            a = memory[r] + x - y
            q = C(a)
            memory[r] = a - q
            update = update + q / R
        x = x - update
    return x, memory
