"""Reuse of memory that is freed and allocated at every step."""

import torch

# glibc raises its mmap threshold to the largest freed block, up to 32 MiB: smaller blocks are no
# longer mapped separately, and up to twice that size of free memory is kept.
LARGEST_BLOCK = 31 << 20


def keep_freed() -> None:
    """Make glibc keep freed memory for the next step.

    Otherwise it returns the memory to the system at every step and gets it back page by page,
    filled with zeros: up to a quarter of a small model's round. The effect is that of allocating
    and freeing one tensor of 31 MiB; other C libraries ignore it.
    """
    torch.empty(LARGEST_BLOCK, dtype=torch.uint8)
