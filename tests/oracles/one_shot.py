"""One-shot averaging (Zinkevich et al. 2010): T steps alone, then one mean."""

import numpy as np


def one_shot(gradients, x0, p, eta, T):
    ends = []
    for grad in gradients:
        y = x0.copy()
        for _ in range(T):
            y = y - eta * grad(y)
        ends.append(y)
    return np.asarray(p) @ np.stack(ends)
