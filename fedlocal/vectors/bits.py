"""Bit packing: integers of a few bits each as bytes without gaps.

The byte order is little endian, with the lowest bit first.
"""

from collections.abc import Iterator
from functools import cache
from math import gcd
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Integers per block, so that a block stays in a core's cache.
BLOCK = 1 << 15

Words = NDArray[np.uint64]


def pack_bits(values: NDArray[np.int64], bits: int) -> NDArray[np.uint8]:
    """Pack the lowest bits of integers [n] into ceil(n bits / 8) bytes, 1 <= bits <= 63.

    >>> pack_bits(np.array([1, 2, 3]), bits=4).tolist()
    [33, 3]
    """
    layout = _layout(bits)
    groups = -(-len(values) // layout.integers)
    packed = np.zeros((groups, layout.words), "<u8")
    for first, last in _blocks(groups, layout):
        # Higher bits, of the codes of NaN, are cut off: they must not reach other integers.
        part = values[first * layout.integers : last * layout.integers].astype(layout.dtype)
        if len(part) % layout.integers:
            part = np.pad(part, (0, -len(part) % layout.integers))
        joined = _join(part.view("<u8"), layout.lane, bits)
        _fill(packed[first:last], joined.reshape(last - first, -1), layout)
    return packed.reshape(-1).view(np.uint8)[: -(-len(values) * bits // 8)]


def unpack_bits(data: bytes, bits: int, length: int) -> NDArray[np.int64]:
    """Return the integers [length] that `pack_bits` packed into these bytes.

    >>> unpack_bits(bytes([33, 3]), bits=4, length=3).tolist()
    [1, 2, 3]
    """
    layout = _layout(bits)
    groups = -(-length // layout.integers)
    whole = data.ljust(8 * groups * layout.words, b"\0")
    packed = np.frombuffer(whole, "<u8").reshape(groups, layout.words)
    values = np.empty(groups * layout.integers, np.int64)
    for first, last in _blocks(groups, layout):
        lanes = _split(_read(packed[first:last], layout), layout.lane, bits)
        values[first * layout.integers : last * layout.integers] = lanes.view(layout.dtype)
    return values[:length]


class _Layout(NamedTuple):
    """Layout of integers in words of 64 bits without gaps.

    lane: Bits of the smallest type that holds one integer.
    width: Packed bits of the integers of one word of lanes.
    integers, words: Smallest group of integers that fills a whole number of words.
    """

    lane: int
    width: int
    integers: int
    words: int

    @property
    def dtype(self) -> str:
        """Unsigned integer type of a lane."""
        return f"<u{self.lane // 8}"


def _layout(bits: int) -> _Layout:
    lane = max(8, 1 << (bits - 1).bit_length())
    width = 64 // lane * bits
    common = gcd(width, 64)
    return _Layout(lane, width, 64 // lane * (64 // common), width // common)


def _blocks(groups: int, layout: _Layout) -> Iterator[tuple[int, int]]:
    step = BLOCK // layout.integers
    return ((first, min(first + step, groups)) for first in range(0, groups, step))


@cache
def _lane_mask(bits: int, lane: int) -> np.uint64:
    """Return a mask of the lowest bits of every lane of a word."""
    return np.uint64(sum(((1 << bits) - 1) << start for start in range(0, 64, lane)))


def _join(words: Words, lane: int, bits: int) -> Words:
    """Pack the integers of each word, joining two lanes, then four, then eight."""
    words = words & _lane_mask(bits, lane)
    while lane < 64:
        upper = (words >> np.uint64(lane - bits)) & (_lane_mask(bits, 2 * lane) << np.uint64(bits))
        words = (words & _lane_mask(bits, 2 * lane)) | upper
        lane, bits = 2 * lane, 2 * bits
    return words


def _split(words: Words, lane: int, bits: int) -> Words:
    """Unpack the integers that `_join` packed, back into their lanes."""
    if lane == 64:
        return words
    words = _split(words, 2 * lane, 2 * bits)
    upper = words & (_lane_mask(bits, 2 * lane) << np.uint64(bits))
    return (words & _lane_mask(bits, 2 * lane)) | (upper << np.uint64(lane - bits))


def _fill(packed: Words, joined: Words, layout: _Layout) -> None:
    """Write numbers of `width` bits [g, n] into words [g, words] of zeros."""
    for place in range(joined.shape[1]):
        word, shift = divmod(place * layout.width, 64)
        packed[:, word] |= joined[:, place] << np.uint64(shift)
        if shift + layout.width > 64:
            packed[:, word + 1] |= joined[:, place] >> np.uint64(64 - shift)


def _read(packed: Words, layout: _Layout) -> Words:
    """Read the numbers of `width` bits from words [g, words], [g n]."""
    joined = np.empty((len(packed), layout.integers * layout.lane // 64), np.uint64)
    for place in range(joined.shape[1]):
        word, shift = divmod(place * layout.width, 64)
        number = packed[:, word] >> np.uint64(shift)
        if shift + layout.width > 64:
            number |= packed[:, word + 1] << np.uint64(64 - shift)
        np.bitwise_and(number, _lane_mask(layout.width, 64), out=joined[:, place])
    return joined.reshape(-1)
