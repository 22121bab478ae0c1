"""Dynamic averaging (Kamp et al. 2018) without balancing: one alarm averages all models.

Returns after every look the models [m, P], the reference [P], and who raised an alarm, [m].
"""

import numpy as np


def dynamic_averaging(gradients, x0, rates, b, Delta, momentum=0.0, nesterov=False):
    m = len(gradients)
    f = [x0.copy() for _ in range(m)]
    v = [np.zeros_like(x0) for _ in range(m)]
    r = x0.copy()
    history = []
    for lr in rates:
        for i in range(m):
            for _ in range(b):
                g = gradients[i](f[i])
                v[i] = momentum * v[i] + g
                f[i] = f[i] - lr * (g + momentum * v[i] if nesterov else v[i])
        alarms = [float(((f_i - r) ** 2).sum()) > Delta for f_i in f]
        if any(alarms):
            r = sum(f) / m
            f = [r.copy() for _ in range(m)]
        history.append((np.array(f), r, np.array(alarms)))
    return history
