"""Error reset: what is owed, when the second message goes out, and what it costs."""

import pytest
import torch

from fedlocal.rounds.message_bytes import Header, each_nbytes, nbytes, pack, unpack
from fedlocal.slots.compress import QSGD, ErrorReset, Identity, RandomK, ScaledSign, TopK
from tests.compress.zoo import RESET, SIZE, name, normals, uniforms

LIMIT = 1e-12


def run(compressor, vectors):
    """Messages, what arrives of each, and the error after each."""
    state, rows = compressor.init(vectors[0]), []
    for t, v in enumerate(vectors):
        noise = uniforms(compressor.noise_size(len(v)), seed=t, dtype=v.dtype)
        message, state = compressor.encode(v, state, noise)
        rows.append((message, compressor.decode(message, noise, len(v)), state.error))
    return rows


@pytest.mark.parametrize("compressor", RESET, ids=name)
def test_what_arrived_and_what_is_owed_make_up_the_input(compressor):
    vectors = normals(7, SIZE)
    rows = run(compressor, vectors)
    for t, (_, _, error) in enumerate(rows):
        arrived = sum(row[1] for row in rows[: t + 1])
        assert torch.allclose(arrived + error, vectors[: t + 1].sum(0), rtol=0, atol=LIMIT)


@pytest.mark.parametrize("period", [1, 2, 3])
def test_a_reset_comes_every_so_often(period):
    rows = run(ErrorReset(TopK(0.1), TopK(0.5), period), normals(7, SIZE))
    flags = [int(message.reset.flag) for message, _, _ in rows]
    assert flags == [int((t + 1) % period == 0) for t in range(7)]


def test_an_exact_reset_leaves_nothing():
    rows = run(ErrorReset(TopK(0.1), Identity(), 3), normals(6, SIZE))
    left = [float(error.abs().max()) for _, _, error in rows]
    assert [size == 0 for size in left] == [False, False, True] * 2


def test_steps_do_not_wait_for_the_error():
    # Unlike error feedback: what was left out before does not change what is sent of a step.
    vectors = normals(5, SIZE)
    rows = run(ErrorReset(TopK(0.1), TopK(0.1), 9), vectors)
    for v, (message, arrived, _) in zip(vectors, rows, strict=True):
        alone, _ = TopK(0.1).encode(v, (), uniforms(0))
        assert torch.equal(message.step.indices.sort().values, alone.indices.sort().values)
        assert torch.equal(arrived, TopK(0.1).decode(alone, uniforms(0), SIZE))


def test_both_compressors_have_noise_of_their_own():
    compressor = ErrorReset(RandomK(0.3, unbiased=False), QSGD(4), 1)
    v, noise = normals(SIZE), uniforms(2 * SIZE)
    message, _ = compressor.encode(v, compressor.init(v), noise)
    first = RandomK(0.3, unbiased=False).decode(message.step, noise[:SIZE], SIZE)
    second = QSGD(4).decode(message.reset.body, noise[SIZE:], SIZE)
    assert torch.equal(compressor.decode(message, noise, SIZE), first + second)
    assert int((first != 0).sum()) == 6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_does_not_travel_is_not_counted(dtype):
    compressor = ErrorReset(ScaledSign(), TopK(0.3), 2)
    layout = compressor.layout(SIZE)
    rows = run(compressor, normals(2, SIZE, dtype=dtype))
    lengths = []
    for message, arrived, _ in rows:
        data = pack(Header(0, 0), message, layout, dtype)
        lengths.append(len(data))
        _, again = unpack(data, layout, dtype)
        assert torch.equal(compressor.decode(again, uniforms(0, dtype=dtype), SIZE), arrived)
    assert lengths[0] < lengths[1] == nbytes(layout, dtype)
    stacked = torch.vmap(compressor.encode)(
        normals(2, SIZE, dtype=dtype),
        torch.vmap(compressor.init)(torch.zeros(2, SIZE, dtype=dtype)),
        torch.zeros(2, 0, dtype=dtype),
    )[0]
    assert each_nbytes(stacked, layout, dtype, 2).tolist() == [lengths[0]] * 2
