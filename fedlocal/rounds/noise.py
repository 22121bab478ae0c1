"""The uniforms that a link encodes with; both of its ends draw the same ones."""

import numpy as np
import torch
from torch import Tensor

from fedlocal.slots import Compressor
from fedlocal.utils.threads import in_threads
from fedlocal.vectors.rng import Purpose, generator

# Uniforms that a thread draws at a time.
PIECE = 1 << 18


def link_noise(
    link: Compressor, purpose: Purpose, rows: np.ndarray, round_index: int, seed: int, like: Tensor
) -> Tensor:
    """Uniforms in [0, 1) for the messages of some clients (or anchor rows), [rows, n].

    Args:
        link: Says how many a message needs.
        purpose: The link's direction.
        rows: Client ids, or rows of the anchor.
        round_index: The round, from 0.
        seed: The run's.
        like: A model [P]; gives size, dtype and device.
    """
    # Drawn in the run's own precision: rounding a double down to it may give 1.
    dtype = np.float64 if like.dtype == torch.float64 else np.float32
    draws = np.empty((len(rows), link.noise_size(len(like))), dtype)

    def draw(job: tuple[int, int]) -> None:
        row, first = job
        skip = first * draws.itemsize // 32
        rng = generator(seed, purpose, int(rows[row]), round_index, skip)
        rng.random(out=draws[row, first : first + PIECE], dtype=dtype)  # type: ignore[call-overload]

    pieces = range(0, draws.shape[1], PIECE)
    if draws.size:
        in_threads(draw, [(row, first) for row in range(len(rows)) for first in pieces], draws.size)
    return torch.from_numpy(draws).to(like.device)
