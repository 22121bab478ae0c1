"""Long vectors on a CPU: other ways, the same bits."""

import numpy as np
import pytest
import torch

import fedlocal.slots.compress.blockwise as blocks
import fedlocal.slots.compress.top_k_select as largest_module
import fedlocal.utils.threads as threads
from fedlocal.slots.compress import QSGD, Natural, RandomK, ScaledSign, TernGrad, TopK
from fedlocal.slots.compress.blockwise import apply_in_blocks
from fedlocal.slots.compress.top_k_select import largest
from tests.compress.zoo import DTYPES, bits, name, normals, tensors, uniforms

SIZE = 1000
QUANTISERS = [QSGD(1), QSGD(16), QSGD(2**40), TernGrad(), TernGrad(0.5), Natural()]
QUANTISERS += [ScaledSign(), ScaledSign(toss=True)]


@pytest.fixture
def tiny(monkeypatch):
    """Vectors of more than 64 scalars are long, blocks have 48, and every job has its thread."""
    monkeypatch.setattr(blocks, "LONG", 64)
    monkeypatch.setattr(blocks, "BLOCK", 48)
    monkeypatch.setattr(largest_module, "BLOCK", 48)
    monkeypatch.setattr(threads, "WORTHWHILE", 1)


def rows(dtype):
    v = normals(3, SIZE, dtype=dtype)
    v[:, ::7], v[:, 3::11], v[2] = 0.0, -0.0, 0.0
    return v, uniforms(3, SIZE, dtype=dtype)


def trip(compressor, v, noise):
    message, _ = compressor.encode(v, (), noise)
    return *tensors(message), compressor.decode(message, noise, SIZE)


@pytest.mark.parametrize("compressor", QUANTISERS, ids=name)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_blocks_change_no_bit(compressor, dtype, request):
    v, noise = rows(dtype)
    whole = torch.vmap(lambda *args: trip(compressor, *args))(v, noise)
    request.getfixturevalue("tiny")
    parts = torch.vmap(lambda *args: trip(compressor, *args))(v, noise)
    alone = trip(compressor, v[1], noise[1])
    for a, b, c in zip(whole, parts, alone, strict=True):
        assert a.dtype == b.dtype and bits(a) == bits(b) and bits(b[1]) == bits(c)


def test_blocks_take_what_is_batched_or_not_at_any_depth(tiny):
    v, scale = normals(2, 3, SIZE), normals(3, 1, seed=1)
    inner = torch.vmap(lambda v, s: apply_in_blocks(torch.mul, v, s))
    assert torch.equal(torch.vmap(inner, in_dims=(0, None))(v, scale), v * scale)
    columns = torch.vmap(lambda v, s: apply_in_blocks(torch.mul, v, s), in_dims=(1, 0))
    assert torch.equal(columns(v[0].T.contiguous(), scale), v[0] * scale)
    shared = torch.vmap(lambda s: apply_in_blocks(torch.mul, v[0, 0], s))(scale)
    assert torch.equal(shared, v[0, 0] * scale)


@pytest.mark.parametrize("k", [1, 10, 100, 400, SIZE])
@pytest.mark.parametrize("values", ["normals", "ties", "nan", "zeros"])
def test_the_largest_are_those_of_a_stable_sort(k, values, tiny):
    v = normals(3, SIZE)
    if values == "ties":
        v = (4 * v).round()
    elif values == "zeros":
        v = torch.zeros_like(v)
    elif values == "nan":
        v[:, 5:900:9] = float("nan")
    ours = torch.vmap(lambda row: largest(torch.abs, row, k))(v)
    wanted = torch.sort(v.abs(), dim=1, descending=True, stable=True).indices[:, :k]
    assert torch.equal(ours, wanted)
    assert torch.equal(largest(torch.abs, v[1], k), wanted[1])


@pytest.mark.parametrize("ratio", [0.001, 0.01, 0.3, 1.0])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_random_k_draws_as_a_stable_sort_of_all(ratio, dtype):
    noise = (uniforms(SIZE) * 64).floor().to(dtype) / 64
    message, _ = RandomK(ratio).encode(torch.arange(SIZE).to(dtype), (), noise)
    wanted = torch.argsort(noise, stable=True)[: RandomK(ratio).kept(SIZE)]
    assert torch.equal(message.values.long(), wanted)


@pytest.mark.parametrize("ratio", [0.001, 0.01, 0.3])
def test_top_k_keeps_the_same_of_a_long_vector(ratio, request):
    v, noise = normals(3, SIZE), uniforms(3, 0)
    *_, short = torch.vmap(lambda *args: trip(TopK(ratio), *args))(v, noise)
    request.getfixturevalue("tiny")
    *_, long = torch.vmap(lambda *args: trip(TopK(ratio), *args))(v, noise)
    assert bits(short) == bits(long)


def test_what_fails_in_a_thread_fails(tiny):
    def work(job):
        np.zeros(2)[job]

    with pytest.raises(IndexError):
        threads.run_in_threads(work, [0, 1, 2], scalars=3)
