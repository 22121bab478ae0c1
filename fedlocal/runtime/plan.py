"""What a cohort does in one round, decided before any runtime starts it."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fedlocal.clients import IntArray


class Plan(NamedTuple):
    """The cohort's work, ragged as it is.

    clients: Client ids, [S].
    steps: Local steps of each, [S].
    rates: Step sizes of the longest client, [max steps]; shorter ones use the first few.
    indices: For each client its mini-batches, [steps_i, b_i].
    noise: The compressor's uniforms, [S, n], on the device.
    """

    clients: IntArray
    steps: IntArray
    rates: NDArray[np.float64]
    indices: list[IntArray]
    noise: Tensor
