"""Threads for work that releases the GIL, as numpy and torch do within a call."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Job = TypeVar("Job")

# Below this number of scalars in total, starting threads takes longer than they save.
WORTHWHILE = 1 << 19


def run_in_threads(work: Callable[[Job], None], jobs: Sequence[Job], scalars: int) -> None:
    """Run `work(job)` for every job in torch's number of threads, and wait for all.

    Args:
        work: Function that is independent of order and thread-safe.
        jobs: Arguments, of about equal work.
        scalars: Total number of scalars processed; if small, no thread is started.
    """
    threads = min(torch.get_num_threads(), len(jobs)) if scalars >= WORTHWHILE else 1

    def share(first: int) -> None:
        # Gradient recording is a setting of each thread.
        with torch.no_grad():
            for job in jobs[first::threads]:
                work(job)

    if threads <= 1:
        share(0)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(share, range(threads)))
