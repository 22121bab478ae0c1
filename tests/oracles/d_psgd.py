"""D-PSGD on a ring, node by node: everyone has two neighbours and weighs all three models 1/3."""

import numpy as np


def on_a_ring(x):
    return [(x[i - 1] + x[i] + x[(i + 1) % len(x)]) / 3 for i in range(len(x))]


def d_psgd(gradients, start, rates, gradient_at_the_old_model=False):
    """Models [K, P] after the last round; the flag is the order of the paper's algorithm 1."""
    x = [start] * len(gradients)
    for lr in rates:
        g = [gradient(x_i) for gradient, x_i in zip(gradients, x, strict=True)]
        if gradient_at_the_old_model:
            x = [half - lr * g_i for half, g_i in zip(on_a_ring(x), g, strict=True)]
        else:
            x = on_a_ring([x_i - lr * g_i for x_i, g_i in zip(x, g, strict=True)])
    return np.stack(x)
