"""Integers of a few bits each as bytes without gaps: little endian, the lowest bit first."""

from collections.abc import Iterator
from math import gcd

import numpy as np
from numpy.typing import NDArray

# Integers at a time: they stay in a core's cache while each is put into its words.
BLOCK = 1 << 15


def pack_bits(values: NDArray[np.int64], bits: int) -> NDArray[np.uint8]:
    """The lowest bits of integers [n] as ceil(n bits / 8) bytes, 1 <= bits <= 63.

    >>> pack_bits(np.array([1, 2, 3]), bits=4).tolist()
    [33, 3]
    """
    count, words = _group(bits)
    groups = -(-len(values) // count)
    packed = np.zeros((groups, words), "<u8")
    for first, last in _blocks(groups, count):
        # Higher bits, of codes of what is no number, must not reach a neighbour.
        part = values[first * count : last * count].astype("<u8") & _mask(bits)
        part = np.pad(part, (0, -len(part) % count)).reshape(-1, count)
        _fill(packed[first:last], part, bits)
    return packed.reshape(-1).view(np.uint8)[: -(-len(values) * bits // 8)]


def unpack_bits(data: bytes, bits: int, length: int) -> NDArray[np.int64]:
    """The integers [length] that `pack_bits` packed into these bytes.

    >>> unpack_bits(bytes([33, 3]), bits=4, length=3).tolist()
    [1, 2, 3]
    """
    count, words = _group(bits)
    groups = -(-length // count)
    packed = np.frombuffer(data.ljust(8 * groups * words, b"\0"), "<u8").reshape(groups, words)
    values = np.empty((groups, count), "<u8")
    for first, last in _blocks(groups, count):
        _read(values[first:last], packed[first:last], bits)
    return values.reshape(-1)[:length].astype(np.int64, copy=False)


def _group(bits: int) -> tuple[int, int]:
    """How many integers fill how many words of 64 bits exactly."""
    common = gcd(bits, 64)
    return 64 // common, bits // common


def _mask(bits: int) -> np.uint64:
    return np.uint64((1 << bits) - 1)


def _blocks(groups: int, count: int) -> Iterator[tuple[int, int]]:
    step = BLOCK // count
    return ((first, min(first + step, groups)) for first in range(0, groups, step))


def _fill(packed: NDArray[np.uint64], values: NDArray[np.uint64], bits: int) -> None:
    """Values [g, count] into words [g, words] of zeros."""
    for place in range(values.shape[1]):
        word, shift = divmod(place * bits, 64)
        packed[:, word] |= values[:, place] << np.uint64(shift)
        if shift + bits > 64:
            packed[:, word + 1] |= values[:, place] >> np.uint64(64 - shift)


def _read(values: NDArray[np.uint64], packed: NDArray[np.uint64], bits: int) -> None:
    """Words [g, words] into values [g, count]."""
    for place in range(values.shape[1]):
        word, shift = divmod(place * bits, 64)
        value = packed[:, word] >> np.uint64(shift)
        if shift + bits > 64:
            value |= packed[:, word + 1] << np.uint64(64 - shift)
        np.bitwise_and(value, _mask(bits), out=values[:, place])
