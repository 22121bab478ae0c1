"""Cooperative SGD in the paper's own layout: a column per node, (X - lr G) W^T."""

import numpy as np


def cooperative_sgd(
    gradients, start, rates, period, matrices, auxiliary=0, mix_before=False, momentum=0.0
):
    """Columns of all nodes after the last round, as rows [m + v, P]; matrices take turns."""
    m = len(gradients)
    X = np.tile(start[:, None], (1, m + auxiliary))
    V = np.zeros_like(X)
    for t, lr in enumerate(rates):
        W = matrices[t % len(matrices)]
        before = X
        for _ in range(period):
            G = np.zeros_like(X)
            for i, gradient in enumerate(gradients):
                G[:, i] = gradient(X[:, i])
            V = momentum * V + G
            X = X - lr * V
        X = before @ W.T + (X - before) if mix_before else X @ W.T
    return X.T
