"""text and tiny_shakespeare: windows, speakers, the split, and refusals."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from fedlocal.data import text, tiny_shakespeare
from fedlocal.data.speakers import speeches

SHARED = Path(__file__).parents[2].parent / "shared/data"
FILE = SHARED / "tinyshakespeare/input.txt.gz"
PLAY = """\
ANNA:
abcdefghij

BEN:
klmnopqrst
uvw

ANNA:
0123456789

and more

SILENT:

CLEO:
x
"""


def write(path, content):
    path.write_text(content)
    return path


@pytest.fixture
def play(tmp_path):
    return write(tmp_path / "play.txt", PLAY)


def decoded(data, rows):
    alphabet = np.array(sorted(set("abcdefghij\n0123456789\nand more\nklmnopqrst\nuvw\nx\n")))
    return ["".join(alphabet[row]) for row in rows]


def test_windows_of_a_stream(tmp_path):
    data = text(write(tmp_path / "t", "abcdefgh"), 3, stride=2, test_fraction=0, speakers=False)
    assert data.x_train.tolist() == [[0, 1, 2], [2, 3, 4], [4, 5, 6]]
    assert data.y_train.tolist() == [3, 5, 7]
    assert data.x_train.dtype == data.y_train.dtype == torch.int64
    assert (data.num_tokens, data.num_classes, data.client_ids) == (8, 8, None)


def test_speakers_are_clients(play):
    data = text(play, 4, stride=1, test_fraction=0)
    # ANNA's two speeches and a further paragraph are one stream; CLEO says less than a window.
    anna = "abcdefghij\n0123456789\nand more\n"
    windows = decoded(data, data.x_train[torch.from_numpy(data.client_ids == 0)])
    assert windows == [anna[i : i + 4] for i in range(len(anna) - 4)]
    assert sorted(set(data.client_ids.tolist())) == [0, 1]
    targets = decoded(data, data.y_train[data.client_ids == 1][:, None])
    assert "".join(targets) == "klmnopqrst\nuvw\n"[4:]
    assert data.x_test is None


def test_the_end_of_each_speaker_is_for_testing(play):
    data = text(play, 2, stride=1, test_fraction=0.4)
    tests = decoded(data, torch.cat([data.x_test, data.y_test[:, None]], dim=1))
    # 31 characters, of which 13 for testing; 15, of which 6.
    assert np.bincount(data.client_ids).tolist() == [18 - 2, 9 - 2]
    assert [tests[0], tests[10], tests[11], tests[-1]] == ["789", "re\n", "t\nu", "vw\n"]
    assert len(tests) == (13 - 2) + (6 - 2)


@pytest.mark.parametrize("stride", [1, 3])
def test_no_character_is_in_train_and_test(tmp_path, stride):
    every = "".join(chr(200 + i) for i in range(50))  # so that a token is a place
    data = text(write(tmp_path / "t", every), 4, stride, test_fraction=0.3, speakers=False)
    assert max(data.x_train.max(), data.y_train.max()) < 35 <= data.x_test.min()
    assert (data.y_train == data.x_train[:, -1] + 1).all()


def test_gzip_line_ends_and_byte_order_mark(tmp_path, play):
    path = tmp_path / "play.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + PLAY.replace("\n", "\r\n").encode()))
    assert torch.equal(text(path, 4).x_train, text(play, 4).x_train)


def test_given_vocabulary(tmp_path):
    path = write(tmp_path / "t", "abab" * 5)
    data = text(path, 2, 1, 0.5, speakers=False, vocabulary="zba")
    assert (data.num_tokens, data.x_train[0].tolist()) == (3, [2, 1])
    data = text(write(path, "\u00e4\U0001f600" * 9), 2, 1, 0, speakers=False)
    assert data.x_train[0].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("\n \n", {}, "t: the text is empty"),
        ("Call me Ishmael.\n", {}, "begins with 'Call me Ishmael.' and not with .*speakers=false"),
        ("A:\nab\n", {}, "no speaker has 81 characters to train on; set a smaller"),
        ("ab\n", {"speakers": False}, "the text has 81 characters to train on; set a smaller"),
        ("A:\n", {}, "no speaker has 81 characters"),
        ("A:\nabxc\u00e9\n", {"vocabulary": "abc\n"}, "has 2 characters that .* of 4 .* is 'x'"),
        ("A:\nab\n", {"vocabulary": "aab"}, "must name every character once, got 'aab'"),
        ("A:\nab\n", {"sequence_length": 0}, "text: sequence_length and stride must be at least 1"),
        ("A:\nab\n", {"stride": 0}, "sequence_length and stride must be at least 1, got 80 and 0"),
        ("A:\nab\n", {"test_fraction": 1.0}, r"test_fraction must be in \[0, 1\), got 1.0"),
    ],
)
def test_refusals(tmp_path, content, options, message):
    with pytest.raises(ValueError, match=message) as error:
        text(write(tmp_path / "t", content), **options)
    assert "\n" not in str(error.value)


def test_not_text(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"tiny_shakespeare: no file .*; a text file, plain"
    ):
        tiny_shakespeare(tmp_path / "none")
    (tmp_path / "b").write_bytes(b"abc\xff")
    with pytest.raises(ValueError, match=r"b: not UTF-8 text \(invalid start byte at byte 3\)"):
        text(tmp_path / "b")


def test_another_text_is_not_tiny_shakespeare(play):
    with pytest.raises(ValueError, match="has 9 characters that the vocabulary of 65 does not"):
        tiny_shakespeare(play, 4)


@pytest.mark.skipif(not FILE.is_file(), reason=f"needs {FILE}")
def test_tiny_shakespeare():
    content = gzip.decompress(FILE.read_bytes()).decode()
    assert (len(content), len(set(content))) == (1_115_394, 65)
    usual = tiny_shakespeare(FILE)
    assert usual.num_tokens == usual.num_classes == 65
    assert len(set(usual.client_ids)) == 247
    assert usual.x_train.shape == (80_147, 80)
    # An example sees what stands in the file.
    alphabet = sorted(set(content))
    first = "".join(alphabet[token] for token in usual.x_train[0])
    assert first.startswith("Before we proceed any further, hear me speak.\nYou are all resolved")
    assert len(speeches(content, FILE)) == 299
