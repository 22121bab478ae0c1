"""State that separate processes would isolate: Flower's task identity and random generators."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

import numpy as np
import torch
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.supercore.task_identity import TaskIdentity

# Flower has one identity per process, so runs in several threads take turns.
_ONE_RUN = RLock()
_FIELDS = ("_run_id", "_task_id", "_node_id")


@contextmanager
def server_identity(run_id: int) -> Iterator[None]:
    """Let `Message(...)` be constructed as in the ServerApp of this run; may be nested.

    Replies take their identity from the message they answer, so a ClientApp needs none.
    """
    with _ONE_RUN:
        # The properties raise on an identity that was never set.
        before = [vars(TaskIdentity)[name] for name in _FIELDS]
        try:
            _identify(run_id, 1, SUPERLINK_NODE_ID)
            yield
        finally:
            _identify(*before)


def _identify(*identity: int | None) -> None:
    for name, value in zip(_FIELDS, identity, strict=True):
        setattr(TaskIdentity, name, value)


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
