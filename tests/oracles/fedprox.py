"""FedProx (T. Li et al. 2020): a local step on h_k(w) = F_k(w) + mu/2 |w - w^t|^2.

`p` are the weights of the mean: n_k / n in the authors' code.
"""


def fedprox(gradients, x0, p, rates, tau, mu):
    w_t = x0.copy()
    for eta in rates:
        ends = []
        for k, grad in enumerate(gradients):
            w = w_t.copy()
            for _ in range(tau[k]):
                w = w - eta * (grad(w) + mu * (w - w_t))
            ends.append(w)
        w_t = sum(p_k * w for p_k, w in zip(p, ends, strict=True))
    return w_t
