"""A nested configuration as one level, for services whose settings have no levels."""

from typing import Any


def flattened(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values that are no mappings, under the keys that the command line gives them.

    >>> flattened({"K": 2, "partition": {"alpha": 0.1, "sizes": [1, 2]}})
    {'K': 2, 'partition.alpha': 0.1, 'partition.sizes': [1, 2]}
    """
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
