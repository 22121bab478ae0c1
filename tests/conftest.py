"""One thread a process, and how often properties are drawn.

The draws are the same in every run, so that a failure belongs to the change that is being tested.
`uv run pytest --hypothesis-profile search` draws others, ten times as many.
"""

import gc
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from hypothesis import settings

from tests.composed_once import compose_once

# The suite runs on several processes, and tiny tensors gain nothing.
torch.set_num_threads(1)

settings.register_profile("fixed", max_examples=30, derandomize=True, database=None, deadline=None)
settings.register_profile("search", max_examples=300, deadline=None)
settings.load_profile("fixed")

compose_once()


def pytest_collection_finish() -> None:
    """Keep the modules out of garbage collection, which takes a sixth of the time otherwise."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def pytest_unconfigure() -> None:
    # Libraries report what is left at the end.
    gc.unfreeze()
