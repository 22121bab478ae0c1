"""Random numbers that processes of their own would keep apart."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def own_randomness(*key: int) -> Iterator[None]:
    """Seed the global generators by the key, and put them back after.

    Those of Python, NumPy and PyTorch on the CPU. A client that seeds or draws would otherwise
    change which clients a strategy samples next.
    """
    word = int(np.random.SeedSequence(key).generate_state(1)[0])
    of_python, of_numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(()):
        try:
            random.seed(word)
            np.random.seed(word)
            # `torch.manual_seed` also walks all devices, for half a millisecond a message.
            torch.default_generator.manual_seed(word)
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)
