"""The deterministic compressors, each a function of one vector."""

import math

import numpy as np


def identity(v):
    return v.copy()


def top_k(ratio):
    def compress(v):
        k = max(1, math.ceil(ratio * len(v)))
        kept = np.argsort(-np.abs(v))[:k]
        out = np.zeros_like(v)
        out[kept] = v[kept]
        return out

    return compress


def scaled_sign(v):
    return np.abs(v).mean() * np.where(v >= 0, 1.0, -1.0)


def per_layer(compress, sizes):
    cuts = np.cumsum(sizes)[:-1]
    return lambda v: np.concatenate([compress(part) for part in np.split(v, cuts)])
