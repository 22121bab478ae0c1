"""PowerSGD against a power iteration written out in numpy, and against the SVD."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedlocal.rounds.message_bytes import OVERHEAD, Header, nbytes, pack, unpack
from fedlocal.slots.compress import ErrorFeedback, PerLayer, PowerSGD
from fedlocal.vectors.flat import ParamSpec
from tests.compress.zoo import bits, normals, sent, uniforms
from tests.oracles.power_sgd import Worker

NOISE = uniforms(0)


def power_sgd(rank, *shapes):
    names = tuple(f"layer{i}" for i in range(len(shapes)))
    return PowerSGD(rank).bind(ParamSpec(names, shapes))


def arrivals(compressor, vectors):
    """What arrives of one vector after another."""
    state, arrived = compressor.init(vectors[0]), []
    for v in vectors:
        message, state = compressor.encode(v, state, NOISE)
        arrived.append(compressor.decode(message, NOISE, len(v)))
    return torch.stack(arrived)


def low_rank(n, m, rank, seed=0):
    return normals(n, rank, seed=seed) @ normals(rank, m, seed=seed + 1)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_is_a_power_iteration_that_goes_on_from_message_to_message(rank):
    shapes = ((4, 6), (5,), (3, 2, 2), (7, 3), (1,))
    compressor, worker = power_sgd(rank, *shapes), Worker(shapes, rank)
    vectors = normals(5, 24 + 5 + 12 + 21 + 1)
    expected = [worker.compress(v.numpy()) for v in vectors]
    assert np.abs(arrivals(compressor, vectors).numpy() - expected).max() < 1e-12


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (6, 6), (4, 3, 3), (1, 8), (8, 1)])
def test_row_23_the_rank_of_the_smaller_side_is_exact(shape):
    n, m = shape[0], int(np.prod(shape[1:]))
    zeros, thin = torch.zeros(n, m).double(), low_rank(n, m, 1)
    # Whatever came before: full rank, nothing, a single direction.
    matrices = [normals(n, m), zeros, normals(n, m, seed=2), thin, normals(n, m, seed=3)]
    vectors = torch.stack([matrix.reshape(-1) for matrix in matrices])
    for rank in (min(n, m), min(n, m) + 5):
        assert torch.allclose(
            arrivals(power_sgd(rank, shape), vectors), vectors, rtol=0, atol=1e-12
        )


@given(
    n=st.integers(2, 12), m=st.integers(2, 12), rank=st.integers(1, 4), seed=st.integers(0, 1000)
)
def test_a_matrix_of_that_rank_arrives_exactly(n, m, rank, seed):
    v = low_rank(n, m, rank, seed).reshape(-1)
    arrived = sent(power_sgd(rank, (n, m)), v, NOISE)
    assert torch.allclose(arrived, v, rtol=0, atol=1e-9 * float(v.abs().max()))


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_of_one_matrix_again_and_again_arrives_the_best_approximation(rank):
    # Singular values that fall by a factor of two: the iteration gains two bits a message.
    left, _ = torch.linalg.qr(normals(8, 6))
    right, _ = torch.linalg.qr(normals(6, 6, seed=1))
    values = 2.0 ** -torch.arange(6).double()
    matrix = left @ torch.diag(values) @ right.T
    best = left[:, :rank] @ torch.diag(values[:rank]) @ right[:, :rank].T
    arrived = arrivals(power_sgd(rank, (8, 6)), matrix.reshape(-1).repeat(40, 1))
    distances = (arrived - best.reshape(-1)).norm(dim=1)
    assert distances[0] > 1e-3
    assert distances[-1] < 1e-9


def test_a_rank_that_was_lost_comes_back():
    compressor = power_sgd(2, (6, 5))
    full, thin = low_rank(6, 5, 2, seed=3), low_rank(6, 5, 1)
    history = [torch.zeros(6, 5).double(), thin, torch.zeros(6, 5).double(), thin, full]
    arrived = arrivals(compressor, torch.stack(history).reshape(5, -1))
    assert torch.allclose(arrived[-1], full.reshape(-1), rtol=0, atol=1e-12)
    assert float(arrived[2].abs().max()) == 0


def test_what_depends_on_rounding_alone_is_not_sent_on():
    """After a matrix of too low a rank, clients at once and one by one still agree."""
    compressor = power_sgd(3, (6, 5))
    history = torch.stack(
        [torch.stack([low_rank(6, 5, 1, seed=10 * i), normals(6, 5, seed=i)]) for i in range(4)]
    ).reshape(4, 2, 30)
    states = torch.vmap(compressor.init)(history[:, 0])
    for step in (0, 1):
        messages, states = torch.vmap(lambda v, s: compressor.encode(v, s, NOISE))(
            history[:, step], states
        )
    together = torch.vmap(lambda m: compressor.decode(m, NOISE, 30))(messages)
    alone = torch.stack([arrivals(compressor, rows)[1] for rows in history])
    assert torch.allclose(together, alone, rtol=0, atol=1e-10)
    assert not torch.allclose(alone, history[:, 1], atol=1e-2)


def test_the_left_factor_is_orthonormal():
    for matrix in (normals(6, 4), low_rank(6, 4, 1), torch.zeros(6, 4).double()):
        compressor = power_sgd(3, (6, 4))
        v = matrix.reshape(-1)
        (message,), (query,) = compressor.encode(v, compressor.init(v), NOISE)
        for basis in (message.left.reshape(6, 3), query):
            assert torch.allclose(basis.T @ basis, torch.eye(3).double(), rtol=0, atol=1e-13)


@pytest.mark.parametrize("scale", [2.0**-100, 2.0**-60, 2.0**60, 2.0**100])
def test_huge_and_tiny_matrices_lose_no_more_than_others(scale):
    compressor = power_sgd(2, (6, 5), (3,))
    vectors = normals(3, 33, dtype=torch.float32)
    assert bits(arrivals(compressor, scale * vectors)) == bits(
        scale * arrivals(compressor, vectors)
    )


def test_layers_of_one_dimension_arrive_as_they_are():
    v = normals(33)
    arrived = sent(power_sgd(1, (7,), (5, 4), (6,)), v, NOISE)
    assert torch.equal(arrived[:7], v[:7]) and torch.equal(arrived[-6:], v[-6:])
    assert not torch.allclose(arrived[7:-6], v[7:-6])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_message_is_two_thin_matrices(dtype):
    compressor = power_sgd(2, (10, 8), (10,), (4, 3, 3), (1, 6))
    v = normals(80 + 10 + 36 + 6, dtype=dtype)
    message, _ = compressor.encode(v, compressor.init(v), NOISE)
    layout = compressor.layout(len(v))
    data = pack(Header(0, 0), message, layout, dtype)
    scalars = 2 * (10 + 8) + 10 + 2 * (4 + 9) + (1 + 6)
    assert len(data) == nbytes(layout, dtype) == OVERHEAD + scalars * dtype.itemsize
    _, again = unpack(data, layout, dtype)
    assert torch.equal(compressor.decode(again, NOISE, len(v)), sent(compressor, v, NOISE))


@pytest.mark.parametrize("rank", [0, -1, 1.5])
def test_rank_is_a_number_of_columns(rank):
    with pytest.raises(ValueError, match="rank must be a whole number >= 1"):
        PowerSGD(rank)


def test_layers_of_layers_are_refused():
    spec = ParamSpec(("a", "b"), ((3, 4), (5,)))
    for compressor in (PerLayer(PowerSGD(1)), ErrorFeedback(PerLayer(PowerSGD(1)))):
        with pytest.raises(ValueError, match=r"layers of 17 scalars.*do not wrap it in PerLayer"):
            compressor.bind(spec).init(torch.zeros(17))
