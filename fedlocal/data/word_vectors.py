"""Word vectors of a user's own: a numpy .npz with `words` [n] and `vectors` [n, d]."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedlocal.data.files import existing_file, read_npz


def read_word_vectors(path: str | Path) -> tuple[list[str], NDArray[np.float32]]:
    """Read a file that `numpy.savez("vectors.npz", words=[...], vectors=...)` has written.

    Returns:
        The words and their vectors, [n, d].

    Raises:
        FileNotFoundError: No file at `path`.
        ValueError: Not such a file, a word twice, no words, numbers of words and vectors that
            differ, or NaN or inf.
    """
    path = existing_file(path, "text_csv", "a numpy .npz with words [n] and vectors [n, d]")
    words, vectors = read_npz(path, "words", "vectors").values()
    if words.dtype.kind != "U" or vectors.dtype.kind != "f":
        raise ValueError(
            f"{path}: words must be text and vectors floating, got {words.dtype} and"
            f" {vectors.dtype}"
        )
    if (
        vectors.ndim != 2
        or words.shape != vectors.shape[:1]
        or len(set(words)) < max(len(words), 1)
    ):
        raise ValueError(
            f"{path}: needs different words [n] and vectors [n, d], got {len(set(words.flat))}"
            f" different words in {list(words.shape)} and vectors {list(vectors.shape)}"
        )
    with np.errstate(over="ignore"):
        narrow = vectors.astype(np.float32)
    if not np.isfinite(narrow).all():
        raise ValueError(f"{path}: vectors have NaN or inf")
    return words.tolist(), narrow
