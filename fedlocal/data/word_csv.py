"""Classified texts in CSV files, as AG News and DBPedia are published.

Format: a row per text; the first column is the class, a whole number, and the others are text
(title, description), quoted where they hold commas.

    Zhang, Zhao, LeCun. Character-level Convolutional Networks for Text Classification. 2015.
    https://arxiv.org/abs/1509.01626
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from fedlocal.data.dataset import Dataset
from fedlocal.data.files import existing_file, read_text
from fedlocal.data.labels import count_classes
from fedlocal.data.split import stratified_split
from fedlocal.data.word_vectors import read_word_vectors

PADDING, UNKNOWN = 0, 1


def text_csv(
    path: str | Path,
    length: int = 50,
    min_count: int = 2,
    max_words: int = 20_000,
    word_vectors: str | None = None,
    first_class: int = 1,
    test_fraction: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """Read classified texts as sequences of words, all of one length.

    Words are runs of letters, digits and apostrophes, in lower case, of all text columns one after
    another. The vocabulary is that of the training examples: token 0 is padding, 1 any other word,
    then the words by falling frequency, of equally frequent ones the first in the alphabet.

    Args:
        path: A CSV file, plain or gzipped; or a folder with train.csv and test.csv. A first row
            whose class is no number is a header.
        length: Words of an example. Longer texts are cut off; shorter ones are padded in front,
            so that a recurrent model ends on the last word.
        min_count: Least number of times that a word of the vocabulary occurs.
        max_words: Most words of the vocabulary.
        word_vectors: A file as `fedlocal.data.word_vectors` reads it, whose words are the
            vocabulary, in their order; min_count and max_words have no influence then. Give
            `model.word_vectors` the same file to start from its vectors.
        first_class: Lowest class number, which becomes label 0.
        test_fraction: Share of each class to test on. Not used for a folder.
        seed: Of the split.

    Returns:
        int64 inputs [n, length]. The number of classes is that of the highest one.

    Raises:
        FileNotFoundError: No file at `path`, or not both in the folder.
        ValueError: A malformed row, named by its line; rows of different numbers of columns; no
            word that occurs often enough; a setting out of range.
    """
    if length < 1 or min_count < 1 or max_words < 1:
        raise ValueError(
            "dataset text_csv: length, min_count and max_words must be at least 1, got"
            f" {length}, {min_count} and {max_words}"
        )
    path = Path(path).expanduser()
    if path.is_dir():
        labels, texts = _read(path / "train.csv", first_class)
        test_labels, test_texts = _read(path / "test.csv", first_class)
        train, test = np.arange(len(labels)), len(labels) + np.arange(len(test_labels))
        labels, texts = labels + test_labels, texts + test_texts
    else:
        labels, texts = _read(path, first_class)
        train, test = stratified_split(np.array(labels), test_fraction, seed)
    counts = Counter(word for row in train for word in texts[row])
    words = (
        _most_frequent(counts, min_count, max_words, path)
        if word_vectors is None
        else (read_word_vectors(word_vectors)[0])
    )
    x, y = _encoded(texts, words, length), torch.tensor(labels)
    return Dataset(
        "text_csv",
        x[train],
        y[train],
        x[test],
        y[test],
        num_classes=count_classes(labels, str(path)),
        num_tokens=UNKNOWN + 1 + len(words),
    )


def _read(path: Path, first_class: int) -> tuple[list[int], list[list[str]]]:
    """Label and words of every row."""
    path = existing_file(path, "text_csv", "rows of a class and texts, plain or .gz,")
    labels: list[int] = []
    texts: list[list[str]] = []
    # Strict: an open quote would swallow the rest of the file.
    rows = csv.reader(io.StringIO(read_text(path)), strict=True, skipinitialspace=True)
    width: int | None = None
    try:
        for row in rows:
            header = width is None and row and not _is_whole(row[0])
            width = len(row) if width is None and row else width
            if row and not header:
                labels.append(_label(row, width, first_class))
                texts.append(words_of(" ".join(row[1:])))
    except (csv.Error, ValueError) as error:
        raise ValueError(f"{path}, line {rows.line_num}: {error}") from None
    if not labels:
        raise ValueError(f"{path}: no examples in the file")
    return labels, texts


def _label(row: list[str], width: int | None, first_class: int) -> int:
    if len(row) != width or len(row) < 2:
        raise ValueError(
            f"{len(row)} columns, and {width} in the first row; a class and at least one text are"
            " needed, quoted where it holds commas"
        )
    if not _is_whole(row[0]) or int(row[0]) < first_class:
        raise ValueError(
            f"the class is {row[0][:40]!r}; it must be a whole number from {first_class} on"
            " (dataset.first_class)"
        )
    return int(row[0]) - first_class


def _is_whole(cell: str) -> bool:
    return re.fullmatch(r"\s*\d+\s*", cell) is not None


def words_of(text: str) -> list[str]:
    """Split a text into words in lower case.

    >>> words_of("Wall St. doesn't <b>sleep</b>")
    ['wall', 'st', "doesn't", 'b', 'sleep', 'b']
    """
    return re.findall(r"\w+(?:'\w+)*", text.lower())


def _most_frequent(counts: Counter[str], min_count: int, max_words: int, path: Path) -> list[str]:
    often = [word for word, count in counts.items() if count >= min_count]
    if not often:
        raise ValueError(f"{path}: no word occurs {min_count} times; lower dataset.min_count")
    return sorted(often, key=lambda word: (-counts[word], word))[:max_words]


def _encoded(texts: Sequence[list[str]], words: Sequence[str], length: int) -> torch.Tensor:
    token = {word: UNKNOWN + 1 + rank for rank, word in enumerate(words)}
    x = np.full((len(texts), length), PADDING, dtype=np.int64)
    for row, text in zip(x, texts, strict=True):
        kept = text[:length]
        row[length - len(kept) :] = [token.get(word, UNKNOWN) for word in kept]
    return torch.from_numpy(x)
