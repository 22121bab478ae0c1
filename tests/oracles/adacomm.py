"""AdaComm (Wang, Joshi 2019) on local SGD with full gradients; blocks of `block` rounds.

F is what the clients see while they train: the mean over clients and local steps of the loss before
each step. Round 0 gives F_0 and eta_0; a block ends after `block` further rounds. Returns the model
and the period of every round.
"""

import math


def adacomm(gradients, losses, x0, rates, tau_0, gamma, p, block):
    N = len(gradients)
    x, tau = x0.copy(), tau_0
    F_0 = eta_0 = eta_last = None
    since = 0
    periods = []
    for eta in rates:
        seen, ends = 0.0, []
        for i in range(N):
            y = x.copy()
            for _ in range(tau):
                seen += losses[i](y) / (N * tau)
                y = y - eta * gradients[i](y)
            ends.append(y)
        x = sum(ends) / N
        periods.append(tau)
        if F_0 is None:
            F_0, eta_0, eta_last = seen, eta, eta
            continue
        since += 1
        if since < block:
            continue
        basic = math.ceil(math.sqrt((eta_0 / eta) ** p * seen / F_0) * tau_0)
        if basic < tau or (p > 0 and eta != eta_last):
            tau = max(1, basic)
        else:
            tau = max(1, math.ceil(gamma * tau))
        since, eta_last = 0, eta
    return x, periods
