"""Messages as bytes: what is packed comes back to the bit, and takes the bytes it is said to."""

import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedlocal.objective import precision
from fedlocal.rounds import message_bytes
from fedlocal.rounds.message_bytes import Header, dense_layout, each_nbytes, nbytes, pack, unpack
from fedlocal.slots import Field, OptionalField
from fedlocal.slots.compress import QSGD, Identity, TopK
from fedlocal.vectors.trees import tree_map
from tests.choices import in_one_item
from tests.compress.zoo import ALL, DTYPES, SIZE, bits, normals, tensors, uniforms

HEADER = Header(client=3, round_index=17, examples=600, steps=20, loss=0.1)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


@in_one_item
@pytest.mark.parametrize("compressor", ALL)
@each_dtype
def test_every_message_survives_the_trip(compressor, dtype):
    layout = compressor.layout(SIZE)
    state = compressor.init(torch.zeros(SIZE, dtype=dtype))
    for t in range(2):
        v = normals(SIZE, seed=t, dtype=dtype)
        noise = uniforms(compressor.noise_size(SIZE), seed=t, dtype=dtype)
        message, state = compressor.encode(v, state, noise)
        data = pack(HEADER, message, layout, dtype)
        one = tree_map(lambda t: t.unsqueeze(0), message)
        assert [len(data)] == each_nbytes(one, layout, dtype, 1).tolist()
        header, arrived = unpack(data, layout, dtype)
        assert header == HEADER
        assert type(arrived) is type(message)
        for ours, theirs in zip(tensors(message), tensors(arrived), strict=True):
            # Integers arrive as int64; where they were encoded, they may be smaller.
            sent = ours if ours.is_floating_point() else ours.long()
            assert theirs.dtype == sent.dtype and bits(theirs) == bits(sent)
        decoded = compressor.decode(arrived, noise, SIZE)
        assert bits(decoded) == bits(compressor.decode(message, noise, SIZE))


@given(width=st.integers(1, 63), length=st.integers(0, 70), data=st.data())
def test_integers_of_any_width(width, length, data):
    numbers = data.draw(
        st.lists(st.integers(0, 2**width - 1), min_size=length, max_size=length), label="numbers"
    )
    codes, layout = torch.tensor(numbers, dtype=torch.int64), (Field(length, width),)
    packed = pack(HEADER, (codes,), layout, torch.float32)
    assert len(packed) == 32 + -(-length * width // 8) == nbytes(layout, torch.float32)
    (back,) = unpack(packed, layout, torch.float32)[1]
    assert back.dtype == torch.int64 and back.tolist() == numbers


@in_one_item
@pytest.mark.parametrize("width", range(1, 64))
def test_the_largest_and_the_smallest_of_every_width(width):
    codes, layout = torch.tensor([2**width - 1, 0, 1, 2**width - 1]), (Field(4, width),)
    packed = pack(HEADER, (codes,), layout, torch.float32)
    # Little endian, lowest bit first, without gaps.
    number = (2**width - 1) + (1 << 2 * width) + ((2**width - 1) << 3 * width)
    assert packed[32:] == number.to_bytes(-(-4 * width // 8), "little")
    assert torch.equal(unpack(packed, layout, torch.float32)[1][0], codes)


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        (torch.float16, [1.5, -0.0, 65504.0, 6e-8, float("inf")]),
        (torch.float32, [1.5, -0.0, 3.4e38, 1e-45, float("-inf")]),
        (torch.float64, [1.5, -0.0, 1.7e308, 5e-324, float("inf")]),
    ],
)
def test_floats_keep_their_bits(dtype, values):
    t = torch.tensor([*values, float("nan")], dtype=dtype)
    packed = pack(HEADER, t, Field(6), dtype)
    assert len(packed) == 32 + 6 * dtype.itemsize
    assert bits(unpack(packed, Field(6), dtype)[1]) == bits(t)


def test_a_tree_of_tensors_in_full():
    tree = (normals(3), ((), normals(2, 4)), torch.tensor(2.5).double())
    layout = dense_layout(tree)
    assert layout == (Field(3), ((), Field(8)), Field(1))
    header, back = unpack(pack(HEADER, tree, layout, torch.float64), layout, torch.float64)
    assert header == HEADER
    # Shapes are not sent: what comes back is 1-D.
    assert tree_map(lambda t: t.tolist(), back) == tree_map(lambda t: t.reshape(-1).tolist(), tree)


def test_nothing_but_a_header():
    packed = pack(HEADER, (), (), torch.float32)
    assert len(packed) == nbytes((), torch.float32) == 32
    assert unpack(packed, (), torch.float32) == (HEADER, ())


def test_lengths_by_hand():
    """32 bytes of header, and each field rounded up to whole bytes."""
    assert nbytes(Identity().layout(1000), torch.float32) == 32 + 4000
    assert nbytes(Identity().layout(1000), torch.float64) == 32 + 8000
    # 10 values of 4 bytes, and 10 indices below 1000, of 10 bits.
    assert nbytes(TopK(0.01).layout(1000), torch.float32) == 32 + 40 + 13
    # A norm, and 1000 codes of 1 sign and 5 bits for 0..16.
    assert nbytes(QSGD(16).layout(1000), torch.float32) == 32 + 4 + 750


@given(
    client=st.integers(0, 2**32 - 1),
    round_index=st.integers(0, 2**32 - 1),
    examples=st.integers(0, 2**32 - 1),
    steps=st.integers(0, 2**32 - 1),
    loss=st.floats(allow_nan=False),
)
def test_the_header_comes_back_exactly(client, round_index, examples, steps, loss):
    """The loss too, also that of a run that diverges: 1e300 has no float32."""
    header = Header(client, round_index, examples, steps, loss)
    assert unpack(pack(header, (), (), torch.float32), (), torch.float32)[0] == header


def test_a_loss_that_is_no_number():
    packed = pack(HEADER._replace(loss=float("nan")), (), (), torch.float32)
    assert np.isnan(unpack(packed, (), torch.float32)[0].loss)


LAYOUT = (Field(2), Field(5, 3))
GOOD = pack(HEADER, (torch.tensor([0.5, -2.0]), torch.arange(5)), LAYOUT, torch.float32)


def damaged(at, value):
    return GOOD[:at] + bytes([value]) + GOOD[at + 1 :]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"xl" + GOOD[2:], "not a version 1 message: it begins with b'xl\\\\x01'"),
        (damaged(2, 2), "not a version 1 message: it begins with b'fl\\\\x02'"),
        (damaged(3, 2), r"the message's dtype code is 2, 1 \(torch.float32\) wanted"),
        (GOOD[:-1], "a message of 42 bytes was expected, got 41"),
        (GOOD + b"\0", "a message of 42 bytes was expected, got 43"),
        (b"", "a message of 42 bytes was expected, got 0"),
        (damaged(41, 255), "the message's checksum is wrong: it was damaged in transit"),
        (damaged(33, 1), "the message's checksum is wrong: it was damaged in transit"),
        (damaged(30, 0), "the message's checksum is wrong: it was damaged in transit"),
        (damaged(12, 9), "the message's checksum is wrong: it was damaged in transit"),
    ],
    ids=["magic", "version", "dtype", "short", "long", "empty", "end", "body", "crc", "examples"],
)
def test_damaged_bytes_are_refused(data, text):
    assert len(GOOD) == 42 and unpack(GOOD, LAYOUT, torch.float32)[0] == HEADER
    with pytest.raises(ValueError, match=text):
        unpack(data, LAYOUT, torch.float32)


@in_one_item
@pytest.mark.parametrize("position", range(8 * 42))
def test_no_single_bit_flips_unseen(position):
    flipped = int.from_bytes(GOOD, "little") ^ (1 << position)
    with pytest.raises(ValueError, match="message"):
        unpack(flipped.to_bytes(42, "little"), LAYOUT, torch.float32)


def test_another_dtype_of_the_same_length_is_refused():
    data = pack(HEADER, torch.zeros(4, dtype=torch.float32), Field(4), torch.float32)
    with pytest.raises(ValueError, match=r"dtype code is 1, 2 \(torch.float64\) wanted"):
        unpack(data, Field(2), torch.float64)


def test_a_tensor_that_does_not_fit_its_field_is_refused():
    with pytest.raises(ValueError, match="a field of 3 values was declared, got 4"):
        pack(HEADER, torch.zeros(4), Field(3), torch.float32)
    with pytest.raises(ValueError, match="zip"):
        pack(HEADER, (torch.zeros(4),), (Field(4), Field(4)), torch.float32)


def test_what_is_unpacked_may_be_written_to():
    back = unpack(GOOD, LAYOUT, torch.float32)[1]
    back[0][0] = 7.0
    assert unpack(GOOD, LAYOUT, torch.float32)[1][0].tolist() == [0.5, -2.0]


def test_the_format_by_hand():
    head = struct.pack("<2sBBIIIId", b"fl", 1, 1, 3, 17, 600, 20, 0.1)
    assert GOOD[:28] == head
    assert GOOD[32:40] == struct.pack("<ff", 0.5, -2.0)
    assert GOOD[40:] == (0 + (1 << 3) + (2 << 6) + (3 << 9) + (4 << 12)).to_bytes(2, "little")


OPTIONAL = (
    Field(1),
    OptionalField(Field(1, 1), (Field(3), OptionalField(Field(1, 1), Field(8, 3)))),
)


def optional(outer: int, inner: int):
    flags = torch.tensor([outer]), torch.tensor([inner])
    body = torch.arange(3.0), OptionalField(flags[1], torch.arange(8))
    return torch.tensor([7.0]), OptionalField(flags[0], body)


@pytest.mark.parametrize(
    ("outer", "inner", "length"), [(0, 0, 5), (0, 1, 5), (1, 0, 18), (1, 1, 21)]
)
def test_an_optional_part_travels_where_its_flag_is_set(outer, inner, length):
    message = optional(outer, inner)
    data = pack(HEADER, message, OPTIONAL, torch.float32)
    assert len(data) == 32 + length
    both = tree_map(lambda t: torch.stack([t, t]), message)
    assert each_nbytes(both, OPTIONAL, torch.float32, 2).tolist() == [32 + length] * 2
    _, back = unpack(data, OPTIONAL, torch.float32)
    wanted = (message[0], OptionalField(message[1].flag, message[1].body))
    if not outer:
        wanted = (message[0], tree_map(torch.zeros_like, message[1]))
    elif not inner:
        inside = tree_map(torch.zeros_like, message[1].body[1])
        wanted = (message[0], OptionalField(message[1].flag, (message[1].body[0], inside)))
    for ours, theirs in zip(tensors(wanted), tensors(back), strict=True):
        assert torch.equal(ours, theirs)


def test_lengths_that_no_flags_explain():
    data = pack(HEADER, optional(1, 0), OPTIONAL, torch.float32)
    with pytest.raises(ValueError, match="a message of 37 to 53 bytes was expected, got 36"):
        unpack(data[:36], OPTIONAL, torch.float32)


def test_each_message_has_its_own_length():
    both = tree_map(lambda *t: torch.stack(t), optional(0, 0), optional(1, 1), optional(1, 0))
    assert each_nbytes(both, OPTIONAL, torch.float32, 3).tolist() == [37, 53, 50]


def test_every_dtype_of_a_run_has_a_code():
    assert set(message_bytes.DTYPES) == set(precision.DTYPES)
    assert len({code for code, _ in message_bytes.DTYPES.values()}) == len(message_bytes.DTYPES)
