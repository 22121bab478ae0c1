"""Messages as bytes: a fixed header, then every field packed to its declared number of bits.

Both ends derive the layout from the strategy, so only values are sent, and of an optional part
whose flag is 0 only the flag. The ledger counts `nbytes`, the length of what `pack` returns.
"""

import struct
import zlib
from collections.abc import Iterator
from math import ceil
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlocal.slots import Field, OptionalField
from fedlocal.vectors.bits import pack_bits, unpack_bits
from fedlocal.vectors.trees import Tree, tree_map

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
    """Header of a message.

    client: Sender of an upload, receiver of a broadcast. round_index: Round, from 0. examples:
    Number of the client's examples. steps: Local steps taken. loss: Mean local loss.
    """

    client: int
    round_index: int
    examples: int = 0
    steps: int = 0
    loss: float = 0.0


def dense_layout(tree: Tree) -> Tree:
    """Return the layout that sends every tensor of a tree uncompressed."""
    return tree_map(lambda t: Field(t.numel()), tree)


def nbytes(layout: Tree, dtype: torch.dtype) -> int:
    """Return the length of a message in bytes, header and all optional parts included."""
    return OVERHEAD + _body_bytes(layout, dtype)


def optional_nbytes(layout: Tree, dtype: torch.dtype) -> int:
    """Return the length of all optional parts of a message in bytes."""
    if isinstance(layout, Field):
        return 0
    if isinstance(layout, OptionalField):
        return _body_bytes(layout.body, dtype)
    return sum(optional_nbytes(part, dtype) for part in layout)


def each_nbytes(messages: Tree, layout: Tree, dtype: torch.dtype, count: int) -> NDArray[np.int64]:
    """Return the length of each of `count` messages, whose tensors are [count, ...], in bytes."""
    whole = np.full(count, nbytes(layout, dtype))
    return whole - _spared(messages, layout, dtype)


def pack(header: Header, tree: Tree, layout: Tree, dtype: torch.dtype) -> bytes:
    """Pack one message.

    Args:
        header: Its header.
        tree: Its tensors, with the numbers of elements that the layout declares.
        layout: A `Field` per tensor.
        dtype: Dtype of the floating-point fields.
    """
    body = b"".join(_packed(tree, layout, dtype))
    head = HEADER.pack(MAGIC, VERSION, DTYPES[dtype][0], *header)
    return head + _checksum(head, body) + body


def unpack(data: bytes, layout: Tree, dtype: torch.dtype) -> tuple[Header, Tree]:
    """Return header and tree (1-D tensors) of a message packed by `pack`.

    Raises:
        ValueError: Wrong magic number, version, dtype, length or checksum.
    """
    longest = nbytes(layout, dtype)
    shortest = longest - optional_nbytes(layout, dtype)
    if not shortest <= len(data) <= longest:
        wanted = str(longest) if shortest == longest else f"{shortest} to {longest}"
        raise ValueError(f"a message of {wanted} bytes was expected, got {len(data)}")
    magic, version, code, *rest = HEADER.unpack_from(data)
    head, checksum, body = data[: HEADER.size], data[HEADER.size : OVERHEAD], data[OVERHEAD:]
    if (magic, version) != (MAGIC, VERSION):
        raise ValueError(f"not a version {VERSION} message: it begins with {data[:3]!r}")
    if code != DTYPES[dtype][0]:
        raise ValueError(f"the message's dtype code is {code}, {DTYPES[dtype][0]} ({dtype}) wanted")
    if checksum != _checksum(head, body):
        raise ValueError("the message's checksum is wrong: it was damaged in transit")
    tree, beyond = _unpacked(body, layout, dtype)
    if beyond:
        raise ValueError(f"the message is {len(beyond)} bytes longer than its flags declare")
    return Header(*rest), tree


def _checksum(head: bytes, body: bytes) -> bytes:
    return CHECKSUM.pack(zlib.crc32(body, zlib.crc32(head)))


def _body_bytes(layout: Tree, dtype: torch.dtype) -> int:
    if isinstance(layout, Field):
        return _field_bytes(layout, dtype)
    return sum(_body_bytes(part, dtype) for part in layout)


def _spared(messages: Tree, layout: Tree, dtype: torch.dtype) -> NDArray[np.int64] | int:
    """Bytes saved per message by optional parts whose flag is 0."""
    if isinstance(layout, Field):
        return 0
    if not isinstance(layout, OptionalField):
        pairs = zip(messages, layout, strict=True)
        return sum((_spared(part, wanted, dtype) for part, wanted in pairs), 0)
    set_ = messages.flag.reshape(-1).cpu().numpy() != 0
    inside = _spared(messages.body, layout.body, dtype)
    return np.where(set_, inside, _body_bytes(layout.body, dtype))


def _packed(tree: Tree, layout: Tree, dtype: torch.dtype) -> Iterator[bytes]:
    if isinstance(layout, Field):
        yield _pack_field(tree, layout, dtype)
    elif isinstance(layout, OptionalField) and not tree.flag.any():
        yield _pack_field(tree.flag, layout.flag, dtype)
    else:
        for part, wanted in zip(tree, layout, strict=True):
            yield from _packed(part, wanted, dtype)


def _unpacked(body: bytes, layout: Tree, dtype: torch.dtype) -> tuple[Tree, bytes]:
    """Return the tree at the beginning of the body, and the rest of the body."""
    if isinstance(layout, Field):
        size = _field_bytes(layout, dtype)
        if len(body) < size:
            raise ValueError(
                f"a message of more bytes was expected: {size - len(body)} are missing"
            )
        return _unpack_field(body[:size], layout, dtype), body[size:]
    parts: list[Tree] = []
    for part in layout:
        if isinstance(layout, OptionalField) and parts and not parts[0].any():
            parts.append(_nothing(part, dtype))
            continue
        tree, body = _unpacked(body, part, dtype)
        parts.append(tree)
    return (type(layout)(*parts) if hasattr(layout, "_fields") else tuple(parts)), body


def _nothing(layout: Tree, dtype: torch.dtype) -> Tree:
    return _unpacked(bytes(_body_bytes(layout, dtype)), layout, dtype)[0]


def _field_bytes(field: Field, dtype: torch.dtype) -> int:
    bits = field.bits or 8 * DTYPES[dtype][1].itemsize
    return ceil(field.length * bits / 8)


def _pack_field(tensor: Tensor, field: Field, dtype: torch.dtype) -> bytes:
    values = tensor.detach().cpu().reshape(-1).numpy()
    if values.size != field.length:
        raise ValueError(f"a field of {field.length} values was declared, got {values.size}")
    if field.bits == 0:
        return values.astype(DTYPES[dtype][1]).tobytes()
    return pack_bits(values, field.bits).tobytes()


def _unpack_field(data: bytes, field: Field, dtype: torch.dtype) -> Tensor:
    if field.bits == 0:
        # A copy: frombuffer gives read-only memory, which torch warns about.
        return torch.from_numpy(np.frombuffer(data, DTYPES[dtype][1]).copy())
    return torch.from_numpy(unpack_bits(data, field.bits, field.length))
