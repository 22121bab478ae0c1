"""Post-local SGD (Lin et al. 2020) as in LocalSGD-Code: synchronous rounds, then H local steps.

`average="models"` is the authors' code and ours: in the first phase every worker takes one step
with its own momentum buffer and the models are averaged. `average="gradients"` is the paper's
text: the mean gradient enters every buffer. They agree without momentum, and in the first phase.
"""

import numpy as np


def post_local_sgd(
    gradients, x0, eta, H, switch, rounds, beta=0.0, nesterov=False, average="models"
):
    N = len(gradients)
    x, v = x0.copy(), np.zeros((N, len(x0)))
    for _ in range(min(switch, rounds)):
        g = np.stack([grad(x) for grad in gradients])
        if average == "gradients":
            g = np.tile(g.mean(axis=0), (N, 1))
        v = beta * v + g
        x = (x - eta * (g + beta * v if nesterov else v)).mean(axis=0)
    for _ in range(switch, rounds):
        y = np.tile(x, (N, 1))
        for _ in range(H):
            g = np.stack([grad(y_i) for grad, y_i in zip(gradients, y, strict=True)])
            v = beta * v + g
            y = y - eta * (g + beta * v if nesterov else v)
        x = y.mean(axis=0)
    return x
