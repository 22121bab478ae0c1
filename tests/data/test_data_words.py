"""text_csv: rows, words, vocabulary, given word vectors, and refusals."""

import gzip

import numpy as np
import pytest
import torch

from fedlocal.data import text_csv
from fedlocal.models import text_cnn

NEWS = """\
"3","Oil, oil up","Prices of oil rise"
"1","Cup final","The cup, ""the"" cup!"
"3","Oil down",""
"1","A draw","No cup for Ann's team"
"""


def write(path, content):
    path.write_text(content)
    return path


def test_rows_words_and_padding(tmp_path):
    data = text_csv(write(tmp_path / "news.csv", NEWS), length=4, test_fraction=0)
    # oil 4, cup 4, the 2: every other word occurs once. "cup" goes before "oil".
    assert data.num_tokens == 2 + 3
    assert data.x_train.tolist() == [[3, 3, 1, 1], [2, 1, 4, 2], [0, 0, 3, 1], [1, 1, 1, 2]]
    assert data.x_train.dtype == torch.int64
    assert (data.y_train.tolist(), data.num_classes) == ([2, 0, 2, 0], 3)
    assert (data.x_test, data.client_ids) == (None, None)


def test_most_frequent_words_in_order(tmp_path):
    path = write(tmp_path / "a.csv", "1,b a c\n2,a b\n2,b\n")
    data = text_csv(path, length=3, min_count=1, max_words=2, test_fraction=0)
    assert data.x_train.tolist() == [[2, 3, 1], [0, 3, 2], [0, 0, 2]]


@pytest.mark.parametrize("header", ["", "Class Index,Title,Description\n"])
def test_header_gzip_and_blank_lines(tmp_path, header):
    path = tmp_path / "news.csv.gz"
    path.write_bytes(gzip.compress((header + NEWS.replace("\n", "\r\n\r\n")).encode()))
    expected = text_csv(write(tmp_path / "news.csv", NEWS), test_fraction=0)
    assert torch.equal(text_csv(path, test_fraction=0).x_train, expected.x_train)


def test_the_vocabulary_is_that_of_the_training_part(tmp_path):
    write(tmp_path / "train.csv", "1,one two\n2,two one\n")
    write(tmp_path / "test.csv", "2,two three three\n4,\n")
    data = text_csv(tmp_path, length=3)
    assert data.num_tokens == 4
    assert data.x_test.tolist() == [[3, 1, 1], [0, 0, 0]]
    assert (data.y_test.tolist(), data.num_classes) == ([1, 3], 4)
    one_file = write(tmp_path / "all.csv", "0,x same\n1,y same\n" * 10)
    data = text_csv(one_file, length=2, first_class=0, test_fraction=0.25, seed=1)
    assert torch.bincount(data.y_test).tolist() == [3, 2]
    assert len(data.y_train) == 15


def vectors(tmp_path, **arrays):
    path = tmp_path / "vectors.npz"
    np.savez(path, **({"words": ["cup", "oil"], "vectors": np.eye(2, 5)} | arrays))
    return str(path)


def test_given_word_vectors(tmp_path):
    path = vectors(tmp_path)
    data = text_csv(write(tmp_path / "n.csv", NEWS), length=4, word_vectors=path, test_fraction=0)
    assert (data.num_tokens, data.x_train[0].tolist()) == (4, [3, 3, 1, 1])
    model = text_cnn((4,), 3, data.num_tokens, embedding=5, widths=[2], word_vectors=path)
    assert torch.equal(model.words.weight[2:], torch.eye(2, 5))
    for given in ({"embedding": 4}, {"num_tokens": 5}):
        options = {"num_tokens": 4, "embedding": 5} | given
        with pytest.raises(ValueError, match=r"has vectors \[2, 5\] but .*; give dataset.word_vec"):
            text_cnn((9,), 3, word_vectors=path, **options)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"words": ["a", "a"]},
            r"needs different words \[n\] and .*, got 1 different words in \[2",
        ),
        ({"words": ["a"]}, r"got 1 different words in \[1\] and vectors \[2, 5\]"),
        ({"words": np.array([], "U1"), "vectors": np.eye(0, 5)}, "got 0 different words"),
        ({"words": [1, 2]}, "words must be text and vectors floating, got int64 and float64"),
        ({"vectors": np.full((2, 5), np.nan)}, "vectors have NaN or inf"),
        ({"words": np.array([None, "a"])}, r"not a readable \.npz with the plain arrays words"),
    ],
)
def test_bad_word_vectors(tmp_path, arrays, message):
    path = vectors(tmp_path, **arrays)
    with pytest.raises(ValueError, match=message):
        text_csv(write(tmp_path / "n.csv", NEWS), word_vectors=path)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("", {}, "no examples in the file"),
        ("class,text\n", {}, "no examples in the file"),
        ("1,a\n\n2,a,b\n", {}, "line 3: 3 columns, and 2 in the first row; a class and at least"),
        ("1\n", {}, "line 1: 1 columns, and 1 in the first row; a class and at least one text"),
        ("1,a\nx,b\n", {}, "line 2: the class is 'x'; it must be a whole number from 1 on"),
        ("1,a\n0,b\n", {}, r"the class is '0'; .* from 1 on \(dataset.first_class\)"),
        ('1,"a\n2,b\n', {}, "line 2: unexpected end of data"),
        ('1,"a"b\n', {}, "line 1: ',' expected after '\"'"),
        ("1,a b\n2,c d\n", {}, r"no word occurs 2 times; lower dataset.min_count"),
        ("1,a a\n1,a a\n", {}, "dataset text_csv: 1 class; at least 2 needed"),
        ("1,a\n2,a\n", {"length": 0}, "length, min_count and max_words must be at least 1, got 0,"),
        ("1,a\n2,a\n", {"test_fraction": 2.0}, "test_fraction must be in"),
    ],
)
def test_refusals(tmp_path, content, options, message):
    with pytest.raises(ValueError, match=message) as error:
        text_csv(write(tmp_path / "a.csv", content), **({"test_fraction": 0} | options))
    assert "\n" not in str(error.value)


def test_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"text_csv: no file .*/no; rows of a class and"):
        text_csv(tmp_path / "no")
    with pytest.raises(FileNotFoundError, match=r"text_csv: no file .*train\.csv"):
        text_csv(tmp_path)


def test_a_class_far_beyond_the_number_of_texts(tmp_path):
    (tmp_path / "d.csv").write_text("1,a b a b\n20261128,a b\n")
    with pytest.raises(ValueError, match="labels run up to 20261127 in 2 examples; number the cl"):
        text_csv(tmp_path / "d.csv", test_fraction=0)
