"""libsvm and npz: good files, bad files, and w8a."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from fedlocal.data import libsvm, npz

SHARED = Path(__file__).parents[2].parent / "shared/data"

GOOD = """\
# a comment line
+1 1:0.5 3:-2e-1

-1 2:1 # a remark
3
-1 3:4
"""


def write(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize("zipped", [False, True])
def test_libsvm_reads_text_and_gzip(tmp_path, zipped):
    path = tmp_path / "data"
    path.write_bytes(gzip.compress(GOOD.encode()) if zipped else GOOD.encode())
    data = libsvm(path, test_fraction=0)
    expected = [[0.5, 0, -0.2], [0, 1, 0], [0, 0, 0], [0, 0, 4]]
    assert torch.equal(data.x_train, torch.tensor(expected))
    assert data.y_train.tolist() == [1, 0, 2, 0]  # -1, 1, 3 in ascending order
    assert data.num_classes == 3
    assert data.x_test is None


def test_libsvm_width_and_split(tmp_path):
    path = write(tmp_path / "d", "1 1:1\n2 1:2\n" * 10)
    data = libsvm(path, test_fraction=0.2, num_features=5, seed=1)
    assert data.x_train.shape == (16, 5)
    assert torch.bincount(data.y_test).tolist() == [2, 2]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("+1 1:0.5 3", "expected 'index:value' but found '3'"),
        ("+1 1:0.5 3:x", "expected 'index:value' but found '3:x'"),
        ("+1 1:2:3", "expected 'index:value' but found '1:2:3'"),
        ("+1 a:2", "expected 'index:value' but found 'a:2'"),
        ("yes 1:2", "label 'yes' is not a number"),
        ("1.5 1:2", "label '1.5' is not an integer; libsvm reads classes only"),
        ("nan 1:2", "label 'nan' is not an integer; libsvm reads classes only"),
        ("+1 0:2", "indices must begin at 1 and ascend, got [0]..."),
        ("+1 2:2 1:2", "indices must begin at 1 and ascend, got [2, 1]..."),
        ("+1 2:2 2:2", "indices must begin at 1 and ascend, got [2, 2]..."),
        ("+1 9:2", "index 9 is above num_features=4"),
    ],
)
def test_libsvm_names_the_bad_line(tmp_path, line, reason):
    path = write(tmp_path / "bad.txt", f"-1 1:1\n\n{line}\n")
    with pytest.raises(ValueError) as error:
        libsvm(path, num_features=4)
    assert str(error.value) == f"{path}, line 3: {reason}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1 1:2\n1 1:3\n", "every label is 1; at least two classes needed"),
        ("", "no example with a feature in the file"),
        ("1 1:nan\n2 1:1\n", "dataset libsvm: x_train has 1 values that are NaN or inf"),
    ],
)
def test_libsvm_refuses_useless_files(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        libsvm(write(tmp_path / "d", content), test_fraction=0)


def test_libsvm_damaged_gzip(tmp_path):
    path = tmp_path / "d.gz"
    path.write_bytes(gzip.compress(GOOD.encode())[:-12])
    with pytest.raises(ValueError, match=r"d\.gz: damaged gzip file"):
        libsvm(path)


def test_libsvm_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"libsvm: no file {tmp_path}/no; LIBSVM text"):
        libsvm(tmp_path / "no")


@pytest.mark.skipif(not (SHARED / "w8a").is_dir(), reason=f"needs w8a in {SHARED}")
def test_libsvm_w8a():
    data = libsvm(SHARED / "w8a/w8a.gz", test_fraction=0)
    assert data.x_train.shape == (49_749, 300)
    assert set(data.x_train.unique().tolist()) == {0.0, 1.0}
    # As the LIBSVM page counts: 1,479 positives.
    assert torch.bincount(data.y_train).tolist() == [48_270, 1_479]


def arrays(**changes):
    rng = np.random.default_rng(0)
    values = {
        "x_train": rng.normal(size=(6, 2)),
        "y_train": np.array([0, 1, 2, 0, 1, 2]),
        "x_test": rng.normal(size=(2, 2)),
        "y_test": np.array([1, 3]),
        "client_ids": np.array([0, 0, 1, 1, 2, 2]),
    }
    return {key: value for key, value in (values | changes).items() if value is not None}


def saved(tmp_path, **values):
    path = tmp_path / "d.npz"
    np.savez(path, **values)
    return path


def test_npz_classification(tmp_path):
    values = arrays()
    data = npz(saved(tmp_path, **values))
    assert data.x_train.dtype == torch.float64
    assert np.array_equal(data.x_train.numpy(), values["x_train"])
    assert data.num_classes == 4  # a label 3 stands in y_test only
    assert data.client_ids.tolist() == [0, 0, 1, 1, 2, 2]


def test_npz_regression_without_test_set(tmp_path):
    values = arrays(y_train=np.linspace(0, 1, 6), x_test=None, y_test=None, client_ids=None)
    data = npz(saved(tmp_path, **values))
    assert data.num_classes is None
    assert data.y_train.shape == (6, 1)
    assert data.x_test is None


def test_npz_pixels_big_endian_and_int32_labels(tmp_path):
    pixels = np.full((6, 1, 2, 2), 255, dtype=np.uint8)
    labels = np.array([0, 1, 0, 1, 0, 1], dtype=">i4")
    data = npz(saved(tmp_path, x_train=pixels, y_train=labels), num_classes=5)
    assert torch.equal(data.x_train, torch.ones(6, 1, 2, 2))
    assert data.y_train.tolist() == labels.tolist()
    assert data.num_classes == 5
    x = np.arange(4.0).reshape(2, 2).astype(">f4")
    data = npz(saved(tmp_path, x_train=x, y_train=np.array([True, False])))
    assert torch.equal(data.x_train, torch.arange(4.0).view(2, 2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_train": None}, r"d\.npz: has the arrays \['client_ids', .*; needed are x_train and"),
        ({"extra": np.zeros(1)}, "has the arrays .*'extra'.*; needed are"),
        ({"y_test": None}, "optional are x_test with y_test"),
        ({"x_train": np.array([{}] * 6)}, r"not a readable \.npz of plain arrays \(Object arrays"),
        ({"y_train": np.array(list("abcdef"))}, "y_train must be an array of numbers, got <U1"),
        ({"y_train": np.array([0, 1, -1, 0, 1, 1])}, "1 labels outside 0..3, the first is -1"),
        ({"y_train": np.zeros(5, dtype=int)}, "x_train has 6 examples but y_train has 5"),
        ({"client_ids": np.zeros(5, dtype=int)}, "5 client_ids for 6 training examples"),
    ],
)
def test_npz_refusals(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message) as error:
        npz(saved(tmp_path, **arrays(**changes)))
    assert "\n" not in str(error.value)


def test_npz_not_an_archive(tmp_path):
    text = write(tmp_path / "text.npz", "hello")
    with pytest.raises(ValueError, match=r"text\.npz: not a readable \.npz of plain arrays"):
        npz(text)
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"one\.npy: not a readable \.npz of plain arrays"):
        npz(tmp_path / "one.npy")
    with pytest.raises(FileNotFoundError, match=r"npz: no file .*; a numpy .npz with x_train and"):
        npz(tmp_path / "none.npz")


def test_npz_classes_for_regression(tmp_path):
    path = saved(tmp_path, x_train=np.zeros((2, 1)), y_train=np.zeros(2))
    with pytest.raises(ValueError, match="num_classes=3 but y_train is float64"):
        npz(path, num_classes=3)
