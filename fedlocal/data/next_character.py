"""Next-character prediction on any text, with speakers as natural clients.

An example is a window: `sequence_length` characters and the one that follows them, its class. This
is the form of LEAF's Shakespeare. One target a window and not one a position: so every prediction
has the full context, a batch of B windows has B targets for loss and accuracy to count, and label
skew has a label. The price is that a window of 80 characters trains one prediction.

The label that partitions by label (dirichlet, shards, ...) see is the target: the next character.
The owner that `partition=natural` sees is the speaker.

    Caldas et al. LEAF: A Benchmark for Federated Settings. 2018. https://arxiv.org/abs/1812.01097

Differences from LEAF: a speaker is a name, in whatever play; characters stay as they are, line
ends included; and windows are `stride` characters apart (LEAF: 1).
"""

import math
from pathlib import Path

import numpy as np
import torch

from fedlocal.data.dataset import Dataset
from fedlocal.data.files import existing_file, read_text
from fedlocal.data.speakers import speeches
from fedlocal.data.split import check_test_fraction
from fedlocal.utils.arrays import IntArray

TINY_SHAKESPEARE = "\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def text(
    path: str | Path,
    sequence_length: int = 80,
    stride: int = 10,
    test_fraction: float = 0.2,
    speakers: bool = True,
    vocabulary: str | None = None,
) -> Dataset:
    """Read a text file, plain or gzipped, as windows of characters.

    The last part of each speaker's words is for testing, the first for training; windows lie
    within one of them, so that no character of a test window is in a training window. A speaker
    whose training part is shorter than a window is left out.

    Args:
        path: The file, UTF-8.
        sequence_length: Characters that a prediction sees.
        stride: Characters from one window to the next; 1 takes every character as a target, and
            n characters 8 n sequence_length bytes of memory.
        test_fraction: Share of each speaker's characters, rounded up, for testing; 0 for none.
        speakers: True reads speeches, see `fedlocal.data.speakers`, and gives every speaker a
            client id, in the order in which they first speak. False reads one stream.
        vocabulary: All characters in the order of their indices; None takes those of the text in
            the order of their code points.

    Returns:
        int64 inputs [n, sequence_length]; as many classes as tokens.

    Raises:
        FileNotFoundError: No file at `path`.
        ValueError: Not UTF-8, no speakers, a character that the given vocabulary does not have,
            a text shorter than a window, a setting out of range.
    """
    return _load("text", path, sequence_length, stride, test_fraction, speakers, vocabulary)


def tiny_shakespeare(
    path: str | Path, sequence_length: int = 80, stride: int = 10, test_fraction: float = 0.2
) -> Dataset:
    """Load Tiny Shakespeare: 1,115,394 characters of plays, 65 different ones, 299 speakers.

    Names of speakers are read but not predicted. At `sequence_length` 80 and `test_fraction` 0.2,
    247 speakers say enough for a training window. Otherwise as `text`.

    Args:
        path: `input.txt`, plain or gzipped.
        sequence_length: Characters that a prediction sees.
        stride: Characters from one window to the next.
        test_fraction: Share of each speaker's characters, rounded up, for testing; 0 for none.

    Raises:
        FileNotFoundError: No file at `path`.
        ValueError: A file with other characters; others as `text`.

    Source: Karpathy. 2015. https://github.com/karpathy/char-rnn/tree/master/data/tinyshakespeare
    """
    return _load(
        "tiny_shakespeare", path, sequence_length, stride, test_fraction, True, TINY_SHAKESPEARE
    )


def _load(
    name: str,
    path: str | Path,
    sequence_length: int,
    stride: int,
    test_fraction: float,
    speakers: bool,
    vocabulary: str | None,
) -> Dataset:
    path = existing_file(path, name, "a text file, plain or .gz,")
    check_test_fraction(test_fraction)
    if sequence_length < 1 or stride < 1:
        raise ValueError(
            f"dataset {name}: sequence_length and stride must be at least 1, got"
            f" {sequence_length} and {stride}"
        )
    content = read_text(path)
    if not content.strip():
        raise ValueError(f"{path}: the text is empty")
    streams = list(speeches(content, path).values()) if speakers else [content]
    alphabet = vocabulary or "".join(sorted(set().union(*streams)))
    train, test, owners = [], [], []
    for owner, codes in enumerate(_codes(streams, alphabet, path)):
        cut = len(codes) - math.ceil(test_fraction * len(codes))
        windows = _windows(codes[:cut], sequence_length, stride)
        if len(windows):
            train.append(windows)
            test.append(_windows(codes[cut:], sequence_length, stride))
            owners.append(np.full(len(windows), owner))
    if not train:
        raise ValueError(
            f"{path}: {'no speaker' if speakers else 'the text'} has {sequence_length + 1}"
            " characters to train on; set a smaller dataset.sequence_length"
        )
    return Dataset(
        name,
        *_examples(train),
        *_examples(test),
        num_classes=len(alphabet),
        client_ids=np.concatenate(owners) if speakers else None,
        num_tokens=len(alphabet),
    )


def _codes(streams: list[str], alphabet: str, path: Path) -> list[IntArray]:
    """Index of every character of every stream."""
    if len(set(alphabet)) < len(alphabet):
        raise ValueError(f"vocabulary must name every character once, got {alphabet!r}")
    unknown = sorted(set().union(*streams) - set(alphabet))
    if unknown:
        raise ValueError(
            f"{path}: has {len(unknown)} characters that the vocabulary of {len(alphabet)} does"
            f" not have, the first is {unknown[0]!r}"
        )
    # One row a Unicode code point.
    index = np.zeros(0x110000, dtype=np.int64)
    index[[ord(character) for character in alphabet]] = np.arange(len(alphabet))
    return [index[np.frombuffer(stream.encode("utf-32-le"), dtype="<u4")] for stream in streams]


def _windows(codes: IntArray, sequence_length: int, stride: int) -> IntArray:
    """Return every `stride`-th window and its target, [n, sequence_length + 1]."""
    width = sequence_length + 1
    if len(codes) < width:
        return np.empty((0, width), dtype=np.int64)
    return np.lib.stride_tricks.sliding_window_view(codes, width)[::stride]


def _examples(parts: list[IntArray]) -> tuple[torch.Tensor, torch.Tensor]:
    windows = torch.from_numpy(np.concatenate(parts))
    return windows[:, :-1], windows[:, -1].contiguous()
