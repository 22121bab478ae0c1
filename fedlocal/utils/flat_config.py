"""Nested configurations as one level."""

from collections.abc import Mapping
from typing import Any


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return all values that are not mappings, under their dotted command-line keys.

    >>> flatten({"K": 2, "partition": {"alpha": 0.1, "sizes": [1, 2]}})
    {'K': 2, 'partition.alpha': 0.1, 'partition.sizes': [1, 2]}
    """
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
