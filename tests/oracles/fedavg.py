"""FedAvg (McMahan et al. 2017), all present: tau_k steps for client k, mean weighted by n_k."""


def fedavg(gradients, x0, n, rates, tau):
    w = x0.copy()
    for eta in rates:
        w_next = 0.0
        for k, grad in enumerate(gradients):
            w_k = w.copy()
            for _ in range(tau[k]):
                w_k = w_k - eta * grad(w_k)
            w_next = w_next + n[k] / sum(n) * w_k
        w = w_next
    return w
