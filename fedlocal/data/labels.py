"""Number of classes of a dataset whose labels alone tell it."""

import logging

import numpy as np
from numpy.typing import ArrayLike

log = logging.getLogger(__name__)


def count_classes(labels: ArrayLike, where: str) -> int:
    """Count classes as the largest label plus one, and say which of them stay empty.

    Args:
        labels: Of all examples, whole numbers [n].
        where: The file, for messages.

    Raises:
        ValueError: A label far beyond the number of examples, which is a mistake or an id.

    >>> count_classes([0, 2, 1, 2], "d.npz")
    3
    """
    found = np.unique(np.asarray(labels))
    if not len(found):
        return 0
    low, high, count = int(found[0]), int(found[-1]), np.size(labels)
    if high >= max(1000, count):
        raise ValueError(
            f"{where}: labels run up to {high} in {count} examples; number the classes from 0 on"
        )
    if low >= 0 and len(found) <= high:
        log.warning(
            "%s: labels run from %d to %d and %d of the classes 0 to %d have no examples",
            *(where, low, high, 1 + high - len(found), high),
        )
    return 1 + high
