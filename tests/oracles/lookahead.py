"""Lookahead (Zhang et al. 2019) over SGD: k fast steps, then slow weights move by alpha."""


def lookahead(gradient, x0, eta, k, alpha, rounds):
    phi = x0.copy()
    for _ in range(rounds):
        theta = phi.copy()
        for _ in range(k):
            theta = theta - eta * gradient(theta)
        phi = phi + alpha * (theta - phi)
    return phi
