"""Messages as bytes: a fixed header, then every field packed to its declared number of bits.

Both ends know the layout from the strategy, so nothing but values travels. The ledger counts
`nbytes`, which a test holds against the length of what `pack` returns.
"""

import struct
import zlib
from math import ceil
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlocal.pieces import Field
from fedlocal.trees import Tree, leaves, tree_map

VERSION = 1
MAGIC = b"fl"
DTYPES = {
    torch.float32: (1, np.dtype("<f4")),
    torch.float64: (2, np.dtype("<f8")),
    torch.float16: (3, np.dtype("<f2")),
}
HEADER = struct.Struct("<2sBBIIIId")
CHECKSUM = struct.Struct("<I")
OVERHEAD = HEADER.size + CHECKSUM.size


class Header(NamedTuple):
    """What a message says about itself besides its values.

    client: Who sends it, or whom it is for. round_index: From 0. examples: The client's example
    count. steps: Local steps taken. loss: Mean local loss.
    """

    client: int
    round_index: int
    examples: int = 0
    steps: int = 0
    loss: float = 0.0


def dense_layout(tree: Tree) -> Tree:
    """The layout that sends every tensor of a tree in full."""
    return tree_map(lambda t: Field(t.numel()), tree)


def nbytes(layout: Tree, dtype: torch.dtype) -> int:
    """Length of a message of this layout, header included."""
    return OVERHEAD + sum(_field_bytes(field, dtype) for field in _fields(layout))


def pack(header: Header, tree: Tree, layout: Tree, dtype: torch.dtype) -> bytes:
    """The bytes of one message.

    Args:
        header: What stands before the values.
        tree: The message of one client: tensors whose numbers of elements are the layout's.
        layout: A `Field` per tensor.
        dtype: Of the floating-point fields.
    """
    pairs = zip(leaves(tree), _fields(layout), strict=True)
    body = b"".join(_pack_field(tensor, field, dtype) for tensor, field in pairs)
    head = HEADER.pack(MAGIC, VERSION, DTYPES[dtype][0], *header)
    return head + _checksum(head, body) + body


def unpack(data: bytes, layout: Tree, dtype: torch.dtype) -> tuple[Header, Tree]:
    """Header and tree (tensors 1-D) of what `pack` made.

    Raises:
        ValueError: The bytes are not such a message: wrong magic, version, dtype, length or
            checksum.
    """
    expected = nbytes(layout, dtype)
    if len(data) != expected:
        raise ValueError(f"a message of {expected} bytes was expected, got {len(data)}")
    magic, version, code, *rest = HEADER.unpack_from(data)
    head, checksum, body = data[: HEADER.size], data[HEADER.size : OVERHEAD], data[OVERHEAD:]
    if (magic, version) != (MAGIC, VERSION):
        raise ValueError(f"not a version {VERSION} message: it begins with {data[:3]!r}")
    if code != DTYPES[dtype][0]:
        raise ValueError(f"the message's dtype code is {code}, {DTYPES[dtype][0]} ({dtype}) wanted")
    if checksum != _checksum(head, body):
        raise ValueError("the message's checksum does not fit: it was damaged on the way")
    parts: list[Tensor] = []
    for field in _fields(layout):
        size = _field_bytes(field, dtype)
        parts.append(_unpack_field(body[:size], field, dtype))
        body = body[size:]
    return Header(*rest), _refill(layout, iter(parts))


def _checksum(head: bytes, body: bytes) -> bytes:
    return CHECKSUM.pack(zlib.crc32(body, zlib.crc32(head)))


def _fields(layout: Tree) -> list[Field]:
    if isinstance(layout, Field):
        return [layout]
    return [field for part in layout for field in _fields(part)]


def _refill(layout: Tree, parts: "object") -> Tree:
    if isinstance(layout, Field):
        return next(parts)  # type: ignore[call-overload]
    filled = [_refill(part, parts) for part in layout]
    return type(layout)(*filled) if hasattr(layout, "_fields") else tuple(filled)


def _field_bytes(field: Field, dtype: torch.dtype) -> int:
    bits = field.bits or 8 * DTYPES[dtype][1].itemsize
    return ceil(field.length * bits / 8)


def _pack_field(tensor: Tensor, field: Field, dtype: torch.dtype) -> bytes:
    values = tensor.detach().cpu().reshape(-1).numpy()
    if values.size != field.length:
        raise ValueError(f"a field of {field.length} values was declared, got {values.size}")
    if field.bits == 0:
        return values.astype(DTYPES[dtype][1]).tobytes()
    return _to_bits(values, field.bits).tobytes()


def _to_bits(values: NDArray[np.int64], bits: int) -> NDArray[np.uint8]:
    wide = values.astype("<u8").view(np.uint8).reshape(-1, 8)
    each = np.unpackbits(wide, axis=1, count=bits, bitorder="little")
    return np.packbits(each.reshape(-1), bitorder="little")


def _unpack_field(data: bytes, field: Field, dtype: torch.dtype) -> Tensor:
    if field.bits == 0:
        # A copy: frombuffer gives read-only memory, which torch warns about.
        return torch.from_numpy(np.frombuffer(data, DTYPES[dtype][1]).copy())
    flat = np.unpackbits(
        np.frombuffer(data, np.uint8), count=field.length * field.bits, bitorder="little"
    )
    wide = np.zeros((field.length, 64), dtype=np.uint8)
    wide[:, : field.bits] = flat.reshape(field.length, field.bits)
    codes = np.packbits(wide, axis=1, bitorder="little").view("<u8").reshape(-1)
    return torch.from_numpy(codes.astype(np.int64))
