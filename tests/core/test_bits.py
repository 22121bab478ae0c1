"""Bits of many integers; `test_wire.py` has every width, for few."""

import numpy as np
import pytest

from fedlocal.vectors.bits import BLOCK, pack_bits, unpack_bits
from tests.choices import in_one_item


def by_bits(values, bits):
    """Every bit as a byte of its own."""
    places = np.arange(bits, dtype=np.uint64)
    each = (values.astype(np.uint64)[:, None] >> places) & np.uint64(1)
    return np.packbits(each.astype(np.uint8).reshape(-1), bitorder="little")


@in_one_item
@pytest.mark.parametrize("bits", [1, 2, 5, 6, 8, 9, 14, 16, 23, 24, 32, 33, 48, 63])
@pytest.mark.parametrize("length", [0, 1, 63, 1000, BLOCK - 1, BLOCK, 2 * BLOCK + 3])
def test_many_integers(bits, length):
    values = np.random.default_rng(bits).integers(0, 1 << bits, length)
    packed = pack_bits(values, bits)
    assert np.array_equal(packed, by_bits(values, bits))
    assert np.array_equal(unpack_bits(packed.tobytes(), bits, length), values)


@in_one_item
@pytest.mark.parametrize("bits", [1, 6, 9, 24, 40])
def test_higher_bits_stay_away_from_the_neighbours(bits):
    values = np.array([0, -1, 0, -(2**63), 2**bits, 1])
    back = unpack_bits(pack_bits(values, bits).tobytes(), bits, 6)
    assert back.tolist() == [0, 2**bits - 1, 0, 0, 0, 1]
