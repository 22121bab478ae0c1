"""Anytime Minibatch (Ferdinand et al. 2019) with exact consensus, in the paper's own variables."""

import numpy as np


def anytime_minibatch(gradients, start, batches, smoothness, mu):
    """w after len(batches) epochs; batches[t][i](w) are client i's mini-batch gradients in epoch t.

    gradients: one function (w, epoch, step) -> gradient per client.
    batches: b_i(t), [epochs, clients].
    """
    n = len(gradients)
    w = start.copy()
    z = np.zeros_like(start)
    for t, b in enumerate(batches, start=1):
        messages = []
        for i, gradient in enumerate(gradients):
            total = np.zeros_like(start)
            for s in range(b[i]):
                total += gradient(w, t - 1, s)
            # n b_i (z_i + g_i); a node without a gradient has b_i = 0.
            messages.append(n * (b[i] * z + total))
        z = np.mean(messages, axis=0) / sum(b)
        beta = smoothness + np.sqrt((t + 1) / mu)
        # argmin <w, z> + beta |w - w(1)|^2 / 2
        w = start - z / beta
    return w
