"""Precision of local steps."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch

# Dtypes of parameters that a run can have.
DTYPES = (torch.float32, torch.float64, torch.float16)

Precision = Literal["full", "tf32", "bf16"]


def check_precision(precision: str, dtype: torch.dtype) -> None:
    """Raise ValueError for an unknown precision, or one that the run's dtype cannot use."""
    if precision not in get_args(Precision):
        raise ValueError(f"precision must be full, tf32 or bf16, got {precision!r}")
    if precision != "full" and dtype != torch.float32:
        raise ValueError(
            f"precision={precision} lowers float32 only, and dtype is {dtype}; use dtype=float32 or"
            " precision=full"
        )


@contextmanager
def products_in(precision: Precision) -> Iterator[None]:
    """Set the precision of float32 products; restore it afterwards.

    With `tf32` torch may round the factors to 10 bits. The setting belongs to the process and takes
    effect where products are computed, not where they are traced, so it encloses the whole run of a
    cohort. GPUs follow it, most CPUs do not.
    """
    before = torch.get_float32_matmul_precision()
    if precision == "tf32":
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
