"""Integers of a few bits each as bytes without gaps: little endian, the lowest bit first."""

from collections.abc import Iterator
from functools import cache
from math import gcd
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Integers at a time: they stay in a core's cache from step to step.
BLOCK = 1 << 15

Words = NDArray[np.uint64]


def pack_bits(values: NDArray[np.int64], bits: int) -> NDArray[np.uint8]:
    """The lowest bits of integers [n] as ceil(n bits / 8) bytes, 1 <= bits <= 63.

    >>> pack_bits(np.array([1, 2, 3]), bits=4).tolist()
    [33, 3]
    """
    shape = _shape(bits)
    groups = -(-len(values) // shape.integers)
    packed = np.zeros((groups, shape.words), "<u8")
    for first, last in _blocks(groups, shape):
        # Higher bits, of codes of what is no number, are cut off: they must not reach a neighbour.
        part = values[first * shape.integers : last * shape.integers].astype(f"<u{shape.lane // 8}")
        if len(part) % shape.integers:
            part = np.pad(part, (0, -len(part) % shape.integers))
        joined = _joined(part.view("<u8"), shape.lane, bits)
        _fill(packed[first:last], joined.reshape(last - first, -1), shape)
    return packed.reshape(-1).view(np.uint8)[: -(-len(values) * bits // 8)]


def unpack_bits(data: bytes, bits: int, length: int) -> NDArray[np.int64]:
    """The integers [length] that `pack_bits` packed into these bytes.

    >>> unpack_bits(bytes([33, 3]), bits=4, length=3).tolist()
    [1, 2, 3]
    """
    shape = _shape(bits)
    groups = -(-length // shape.integers)
    whole = data.ljust(8 * groups * shape.words, b"\0")
    packed = np.frombuffer(whole, "<u8").reshape(groups, shape.words)
    values = np.empty(groups * shape.integers, np.int64)
    for first, last in _blocks(groups, shape):
        lanes = _split(_read(packed[first:last], shape), shape.lane, bits)
        values[first * shape.integers : last * shape.integers] = lanes.view(f"<u{shape.lane // 8}")
    return values[:length]


class _Shape(NamedTuple):
    """How integers fill words of 64 bits without a gap.

    lane: Bits of the smallest type that holds one. width: Bits of as many as there are lanes in a
    word. integers: As many fill `words` words exactly.
    """

    lane: int
    width: int
    integers: int
    words: int


def _shape(bits: int) -> _Shape:
    lane = max(8, 1 << (bits - 1).bit_length())
    width = 64 // lane * bits
    common = gcd(width, 64)
    return _Shape(lane, width, 64 // lane * (64 // common), width // common)


def _blocks(groups: int, shape: _Shape) -> Iterator[tuple[int, int]]:
    step = BLOCK // shape.integers
    return ((first, min(first + step, groups)) for first in range(0, groups, step))


@cache
def _every(bits: int, lane: int) -> np.uint64:
    """The lowest bits of every lane of a word."""
    return np.uint64(sum(((1 << bits) - 1) << start for start in range(0, 64, lane)))


def _joined(words: Words, lane: int, bits: int) -> Words:
    """The integers of each word moved together, lane by lane: two, then four, then eight."""
    words = words & _every(bits, lane)
    while lane < 64:
        upper = (words >> np.uint64(lane - bits)) & (_every(bits, 2 * lane) << np.uint64(bits))
        words = (words & _every(bits, 2 * lane)) | upper
        lane, bits = 2 * lane, 2 * bits
    return words


def _split(words: Words, lane: int, bits: int) -> Words:
    """What `_joined` moved together, back in its lanes."""
    if lane == 64:
        return words
    words = _split(words, 2 * lane, 2 * bits)
    upper = words & (_every(bits, 2 * lane) << np.uint64(bits))
    return (words & _every(bits, 2 * lane)) | (upper << np.uint64(lane - bits))


def _fill(packed: Words, joined: Words, shape: _Shape) -> None:
    """Numbers of `width` bits [g, n] into words [g, words] of zeros."""
    for place in range(joined.shape[1]):
        word, shift = divmod(place * shape.width, 64)
        packed[:, word] |= joined[:, place] << np.uint64(shift)
        if shift + shape.width > 64:
            packed[:, word + 1] |= joined[:, place] >> np.uint64(64 - shift)


def _read(packed: Words, shape: _Shape) -> Words:
    """The numbers of `width` bits that were filled into words [g, words], [g n]."""
    joined = np.empty((len(packed), shape.integers * shape.lane // 64), np.uint64)
    for place in range(joined.shape[1]):
        word, shift = divmod(place * shape.width, 64)
        number = packed[:, word] >> np.uint64(shift)
        if shift + shape.width > 64:
            number |= packed[:, word + 1] << np.uint64(64 - shift)
        np.bitwise_and(number, _every(shape.width, 64), out=joined[:, place])
    return joined.reshape(-1)
