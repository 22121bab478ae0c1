"""State that separate processes would isolate: Flower's task identity and random generators."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def own_randomness(*key: int) -> Iterator[None]:
    """Seed the global generators by the key, and restore them afterwards.

    They are those of Python, NumPy and PyTorch on the CPU. Otherwise a client that seeds or draws
    would change which clients a strategy samples next.
    """
    word = int(np.random.SeedSequence(key).generate_state(1)[0])
    of_python, of_numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(()):
        try:
            random.seed(word)
            np.random.seed(word)
            # `torch.manual_seed` also visits all devices, which takes half a millisecond per
            # message.
            torch.default_generator.manual_seed(word)
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)
