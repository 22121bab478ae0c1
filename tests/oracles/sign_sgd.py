"""signSGD with majority vote (Bernstein et al. 2018, 2019); Signum with momentum beta.

m_i = beta m_i + (1 - beta) g_i, x = x - eta sign(sum_i sign(m_i)).
"""

import numpy as np


def sign_sgd(gradients, x0, rates, beta=0.0, nesterov=False):
    x = x0.copy()
    m = np.zeros((len(gradients), len(x0)))
    for eta in rates:
        ballot = np.zeros(len(x0))
        for i, gradient in enumerate(gradients):
            g = (1 - beta) * gradient(x)
            m[i] = beta * m[i] + g
            ballot = ballot + np.sign(g + beta * m[i] if nesterov else m[i])
        x = x - eta * np.sign(ballot)
    return x
