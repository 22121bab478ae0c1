"""Threads for work that lets go of Python's lock: numpy and torch do, within a call."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Job = TypeVar("Job")

# With fewer scalars in all, starting the threads takes longer than they save.
WORTHWHILE = 1 << 19


def in_threads(work: Callable[[Job], None], jobs: Sequence[Job], scalars: int) -> None:
    """Do `work(job)` for every job, in as many threads as torch uses, and wait for all.

    Args:
        work: Must not mind the order, nor who else is at work.
        jobs: What to do; about equal parts.
        scalars: How many the jobs handle in all; for few there is no thread.
    """
    threads = min(torch.get_num_threads(), len(jobs)) if scalars >= WORTHWHILE else 1

    def share(first: int) -> None:
        # Whether gradients are recorded is each thread's own setting.
        with torch.no_grad():
            for job in jobs[first::threads]:
                work(job)

    if threads <= 1:
        share(0)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(share, range(threads)))
