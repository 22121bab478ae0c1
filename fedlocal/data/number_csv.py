"""Examples in a CSV file with a header: columns of numbers, and the target."""

import csv
import io
import logging
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlocal.data.files import read_text

log = logging.getLogger(__name__)

_TARGETS = ("y", "label")
_COUNTERS = ("id", "index", "row")


def read_csv(path: Path) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Read the inputs, float32 [n, d], and the target as whole numbers, floats or text, [n].

    The target is the column `y`, or `label`, in upper or lower case, or else the last one.

    Raises:
        ValueError: A cell that is no number, a row longer or shorter than the header, names that
            are missing or stand twice, or a column that counts the rows.
    """
    text = read_text(path)
    header = _header(path, text)
    target = _target(path, header)
    inputs = [column for column in range(len(header)) if column != target]
    x = _columns(path, text, inputs, np.float32)
    _check_counters(path, [header[column] for column in inputs], x)
    return x, _narrowed(np.char.strip(_columns(path, text, [target], np.str_)[:, 0]))


def _header(path: Path, text: str) -> list[str]:
    rows = csv.reader(io.StringIO(text), skipinitialspace=True)
    header = [name.strip() for name in next(rows, [])]
    if len(header) < 2:
        raise ValueError(f"{path}: the first line must name two or more columns, got {header}")
    widths = [(rows.line_num, len(row)) for row in rows if row]
    if not widths:
        raise ValueError(f"{path}: no examples below the header {header}")
    line, width = next((each for each in widths if each[1] > len(header)), (0, 0))
    if width:
        raise ValueError(f"{path}, line {line}: {width} cells, and the header names {len(header)}")
    _check_names(path, header)
    return header


def _check_names(path: Path, header: list[str]) -> None:
    twice = [name for name, count in Counter(header).items() if count > 1 and name]
    if twice:
        raise ValueError(f"{path}: the column {twice[0]} stands twice; keep one of them")
    for place, name in enumerate(header, start=1):
        if re.fullmatch(r"(unnamed: ?\d+)?", name.lower()):
            raise ValueError(
                f"{path}: column {place} has no name, as pandas writes an index; write the file"
                " with index=False, or name the column if it is an input"
            )


def _target(path: Path, header: list[str]) -> int:
    named = [place for place, name in enumerate(header) if name.lower() in _TARGETS]
    if len(named) > 1:
        names = " and ".join(sorted((header[place] for place in named), reverse=True))
        raise ValueError(f"{path}: has the columns {names}; keep the one that is the target")
    if not named:
        log.warning("%s: no column y or label; the last, %s, is the target", path, header[-1])
    return named[0] if named else len(header) - 1


def _check_counters(path: Path, names: list[str], x: NDArray[np.float32]) -> None:
    """Refuse a column that numbers the rows: it would tell a model where an example stands."""
    for name, column in zip(names, x.T, strict=True):
        if name.lower() in _COUNTERS and len(x) > 1 and (np.diff(column) == 1).all():
            raise ValueError(
                f"{path}: the column {name} counts the rows; delete it, or give it another name if"
                " it is an input"
            )


def _columns(path: Path, text: str, columns: list[int], dtype: type) -> NDArray[Any]:
    try:
        return np.loadtxt(
            io.StringIO(text),
            dtype,
            delimiter=",",
            skiprows=1,
            usecols=columns,
            ndmin=2,
            comments=None,
            quotechar='"',
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}, counted without the header") from error


def _narrowed(text: NDArray[np.str_]) -> NDArray[Any]:
    """Return the column as integers if possible, else as floats, else unchanged."""
    for dtype in (np.int64, np.float64):
        try:
            return text.astype(dtype)
        except (ValueError, OverflowError):
            continue
    return text
