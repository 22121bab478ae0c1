"""Times and bandwidths with units: 50ms, 100Mbit."""

from re import fullmatch

SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
# Networks count bits, files bytes; all prefixes are decimal.
BYTES = {
    f"{prefix}{unit}": factor * size
    for unit, size in (("bit", 0.125), ("B", 1.0))
    for prefix, factor in (("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9))
}

Numbers = float | list[float]


def seconds(text: str) -> Numbers:
    """Parse a time, or a list of times between commas, into seconds.

    Raises:
        ValueError: A part is no number with a unit of time.

    >>> seconds("50ms")
    0.05
    """
    return _parse(text, SECONDS, "a time", "50ms")


def bytes_per_second(text: str) -> Numbers:
    """Parse a bandwidth, or a list of these between commas, into bytes per second.

    Raises:
        ValueError: A part is no number with a unit of bits or bytes.

    >>> bytes_per_second("100Mbit"), bytes_per_second("12.5MB/s")
    (12500000.0, 12500000.0)
    """
    return _parse(text, BYTES, "a bandwidth", "100Mbit or 12.5MB", after="(?:/s)?")


def _parse(text: str, units: dict[str, float], kind: str, example: str, after: str = "") -> Numbers:
    numbers = [_parse_one(part.strip(), units, kind, example, after) for part in text.split(",")]
    return numbers[0] if len(numbers) == 1 else numbers


def _parse_one(text: str, units: dict[str, float], kind: str, example: str, after: str) -> float:
    found = fullmatch(rf"(\d+\.?\d*|\.\d+)(e[+-]?\d+)? *({'|'.join(units)}){after}", text)
    if found is None:
        raise ValueError(
            f"{text!r} is not {kind}: write a number and one of {', '.join(units)}, as in {example}"
        )
    return float(found[1] + (found[2] or "")) * units[found[3]]
