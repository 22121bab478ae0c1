"""A link's uniforms: one stream a client, however it is cut into pieces and threads."""

import numpy as np
import pytest
import torch

import fedlocal.rounds.message_formats as noise
import fedlocal.utils.threads as threads
from fedlocal.rounds.message_formats import link_noise
from fedlocal.slots.compress import QSGD, Identity
from fedlocal.vectors.rng import Purpose, generator


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("piece", [8, 64, 1 << 18])
def test_pieces_are_the_stream(dtype, piece, monkeypatch):
    monkeypatch.setattr(noise, "PIECE", piece)
    monkeypatch.setattr(threads, "WORTHWHILE", 1)
    like, clients = torch.zeros(203, dtype=dtype), np.array([4, 0, 9])
    ours = link_noise(QSGD(), Purpose.UPLINK, clients, 17, seed=5, like=like)
    kind = like.numpy().dtype
    for row, client in zip(ours, clients, strict=True):
        wanted = generator(5, Purpose.UPLINK, int(client), 17).random(203, dtype=kind.type)
        assert row.dtype == dtype and np.array_equal(row.numpy(), wanted)


def test_who_needs_none_draws_none():
    like = torch.zeros(5)
    assert link_noise(Identity(), Purpose.UPLINK, np.arange(3), 0, 0, like).shape == (3, 0)
    assert link_noise(QSGD(), Purpose.UPLINK, np.arange(0), 0, 0, like).shape == (0, 5)
