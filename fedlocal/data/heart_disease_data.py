"""UCI's heart disease data: four hospitals, which are four natural clients.

    Janosi, Steinbrunn, Pfisterer, Detrano. 1989. https://doi.org/10.24432/C52P4X
    As federated data: du Terrail et al. FLamby. 2022. https://arxiv.org/abs/2210.04620

Columns: all 13 are kept. age, trestbps, chol, thalach, oldpeak and ca (a count) are numbers,
standardised; sex, fbs and exang are 0 or 1; cp, restecg, slope and thal are one column a level. In
all 22 features.

Differences from FLamby's Fed-Heart-Disease: it drops slope, ca and thal, most of whose values are
missing outside Cleveland, and then every patient with a missing value, which leaves 740 of 920. We
keep all and impute. A cholesterol or blood pressure of 0, as all of Switzerland's cholesterol, is
no measurement and counts as missing.
"""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from fedlocal.data.dataset import Dataset
from fedlocal.data.files import existing_file, read_text
from fedlocal.data.split import stratified_split
from fedlocal.utils.arrays import FloatArray

HOSPITALS = ("cleveland", "hungarian", "switzerland", "va")
COLUMNS = (
    "age", "sex", "cp", "trestbps", "chol", "fbs", "restecg",
    "thalach", "exang", "oldpeak", "slope", "ca", "thal",
)  # fmt: skip
# By the UCI description.
LEVELS = {
    "sex": (0, 1),
    "cp": (1, 2, 3, 4),
    "fbs": (0, 1),
    "restecg": (0, 1, 2),
    "exang": (0, 1),
    "slope": (1, 2, 3),
    "thal": (3, 6, 7),
}
NEVER_ZERO = ("trestbps", "chol")
ALWAYS_THERE = ("age", "sex", "cp")


def heart_disease(
    path: str | Path,
    test_fraction: float = 0.2,
    seed: int = 0,
    indicators: bool = False,
    per_hospital: bool = False,
) -> Dataset:
    """Whether a patient has heart disease: 303 + 294 + 123 + 200 patients, 2 classes.

    A missing number becomes the median, a missing level the most frequent one; then numbers are
    standardised. Medians, levels, means and deviations are fitted on training examples only, of
    all hospitals together unless `per_hospital`.

    Args:
        path: Folder with processed.cleveland.data, processed.hungarian.data,
            processed.switzerland.data and processed.va.data.
        test_fraction: Share of each hospital's patients to test on, stratified by disease.
        seed: Of the split.
        indicators: Add a column for each of the ten that have missing values: 1 where it is.
        per_hospital: Fit on each hospital's own training examples, as hospitals that share no
            statistics must; numbers that a hospital never measures become 0.

    Returns:
        float32 inputs, [n, 22] or [n, 32]; `client_ids` 0..3 in the order Cleveland, Hungarian,
        Switzerland, VA. Class 1 is disease, whatever its degree (targets 1 to 4).

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A malformed line, named by its number, or test_fraction out of range.
    """
    tables, labels = zip(*(_read(Path(path), name) for name in HOSPITALS), strict=True)
    splits = [stratified_split(y, test_fraction, seed) for y in labels]
    train = [table[rows] for table, (rows, _) in zip(tables, splits, strict=True)]
    test = [table[rows] for table, (_, rows) in zip(tables, splits, strict=True)]
    pooled = _fit(np.concatenate(train))
    fits = [_fit(table) if per_hospital else pooled for table in train]
    y_train = np.concatenate([y[rows] for y, (rows, _) in zip(labels, splits, strict=True)])
    y_test = np.concatenate([y[rows] for y, (_, rows) in zip(labels, splits, strict=True)])
    return Dataset(
        "heart_disease",
        _inputs(train, fits, indicators),
        torch.from_numpy(y_train),
        _inputs(test, fits, indicators),
        torch.from_numpy(y_test),
        num_classes=2,
        client_ids=np.repeat(np.arange(len(HOSPITALS)), [len(table) for table in train]),
    )


class _Fit(NamedTuple):
    """Fill value and scale of each of the 13 columns."""

    fill: FloatArray
    mean: FloatArray
    std: FloatArray


def _read(folder: Path, hospital: str) -> tuple[FloatArray, NDArray[np.int64]]:
    """Read a hospital's columns, [n, 13] with NaN where missing, and its labels [n]."""
    file = existing_file(
        folder / f"processed.{hospital}.data", "heart_disease", "one of UCI's four processed files"
    )
    rows = []
    for number, cells in enumerate(csv.reader(read_text(file).splitlines()), start=1):
        if not cells or cells[0].strip() == COLUMNS[0]:
            continue
        try:
            rows.append(_row(cells))
        except ValueError as error:
            raise ValueError(f"{file}, line {number}: {error}") from None
    if not rows:
        raise ValueError(f"{file}: no patients in the file")
    table = np.array(rows)
    return table[:, :-1], (table[:, -1] > 0).astype(np.int64)


def _row(cells: list[str]) -> list[float]:
    if len(cells) != len(COLUMNS) + 1:
        raise ValueError(f"{len(cells)} columns; {len(COLUMNS) + 1} needed")
    values = [float("nan" if cell.strip() == "?" else cell) for cell in cells]
    for name, value in zip(COLUMNS, values[:-1], strict=True):
        if name in LEVELS and not np.isnan(value) and value not in LEVELS[name]:
            raise ValueError(f"{name} is {value:g}; it must be one of {LEVELS[name]} or ?")
        if name in ALWAYS_THERE and np.isnan(value):
            raise ValueError(f"{name} is missing")
    if values[-1] not in (0, 1, 2, 3, 4):
        raise ValueError(f"the target is {cells[-1]}; it must be 0 to 4")
    for name in NEVER_ZERO:
        place = COLUMNS.index(name)
        values[place] = values[place] or float("nan")
    return values


def _fit(table: FloatArray) -> _Fit:
    pairs = zip(COLUMNS, table.T, strict=True)
    fill = np.array([_usual(name, column[~np.isnan(column)]) for name, column in pairs])
    filled = np.where(np.isnan(table), fill, table)
    std = filled.std(axis=0)
    return _Fit(fill, filled.mean(axis=0), np.where(std > 0, std, 1.0))


def _usual(name: str, measured: FloatArray) -> float:
    if name in LEVELS:
        # Of equally frequent levels the lowest; so too where none was measured.
        return max(LEVELS[name], key=lambda level: np.count_nonzero(measured == level))
    return float(np.median(measured)) if len(measured) else 0.0


def _inputs(tables: list[FloatArray], fits: list[_Fit], indicators: bool) -> torch.Tensor:
    encoded = [_encoded(t, fit, indicators) for t, fit in zip(tables, fits, strict=True)]
    return torch.from_numpy(np.concatenate(encoded).astype(np.float32))


def _encoded(table: FloatArray, fit: _Fit, indicators: bool) -> FloatArray:
    missing = np.isnan(table)
    filled = np.where(missing, fit.fill, table)
    scaled = (filled - fit.mean) / fit.std
    features = []
    for place, name in enumerate(COLUMNS):
        levels = LEVELS.get(name)
        if levels is None:
            features.append(scaled[:, place, None])
        elif len(levels) == 2:
            features.append(filled[:, place, None])
        else:
            features.append((filled[:, place, None] == levels).astype(np.float64))
    if indicators:
        features.append(missing[:, [name not in ALWAYS_THERE for name in COLUMNS]] * 1.0)
    return np.concatenate(features, axis=1)
