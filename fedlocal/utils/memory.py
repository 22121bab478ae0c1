"""Memory that is freed and taken again at every step."""

import torch

# glibc follows the largest block up to 32 MiB that was freed: blocks of less are no longer mapped
# one by one, and twice as much that is free is kept.
FOLLOWED = 31 << 20


def keep_freed() -> None:
    """Have the C library keep freed memory for the next step.

    Otherwise it goes back to the system at every step and comes back page by page, filled with
    zeros: up to a quarter of a small model's round. Nothing is set that a program with one tensor
    of 31 MiB would not set by freeing it; C libraries other than glibc do not mind.
    """
    torch.empty(FOLLOWED, dtype=torch.uint8)
