"""PowerSGD (Vogels et al. 2019), every worker compressing by itself, with the paper's memory.

Compress M: P = orth(M Q), Q = M^T P, decompress P Q^T; blocks of one dimension travel in full. The
memory and the momentum are in the units of a gradient; the step is torch.optim's Nesterov.
"""

import numpy as np


def first_query(m, r):
    """Waves of a discrete cosine transform, where the paper draws random numbers."""
    j = np.arange(m)
    return np.stack([np.cos(np.pi * (2 * j + 1) * k / (2 * m)) for k in range(r)], axis=1)


class Worker:
    """Compresses one vector after another, remembering Q."""

    def __init__(self, shapes, rank):
        self.shapes, self.rank, self.queries = shapes, rank, {}

    def compress(self, v):
        out, begin = [], 0
        for index, shape in enumerate(self.shapes):
            block = v[begin : begin + int(np.prod(shape))]
            begin += len(block)
            if len(shape) == 1:
                out.append(block)
                continue
            M = block.reshape(shape[0], -1)
            r = min(self.rank, *M.shape)
            Q = self.queries.get(index)
            P = np.linalg.qr(M @ (first_query(M.shape[1], r) if Q is None else Q))[0]
            self.queries[index] = M.T @ P
            out.append((P @ self.queries[index].T).ravel())
        return np.concatenate(out)


def power_sgd(gradients, x0, rates, H, shapes, rank, momentum):
    N = len(gradients)
    x, m = x0.copy(), np.zeros(len(x0))
    workers = [Worker(shapes, rank) for _ in range(N)]
    e = np.zeros((N, len(x0)))
    for gamma in rates:
        mean = np.zeros(len(x0))
        for i in range(N):
            y = x.copy()
            for _ in range(H):
                y = y - gamma * gradients[i](y)
            delta = (x - y) / gamma + e[i]
            approximation = workers[i].compress(delta)
            e[i] = delta - approximation
            mean = mean + approximation / N
        m = momentum * m + mean
        x = x - gamma * (mean + momentum * m)
    return x, e
