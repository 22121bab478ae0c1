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


NO_CLASS = "is not an integer, and classes are; for numbers set dataset.task=regression"


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
        ("1.5 1:2", f"label '1.5' {NO_CLASS}"),
        ("nan 1:2", f"label 'nan' {NO_CLASS}"),
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


def test_libsvm_targets_that_are_numbers(tmp_path):
    path = write(tmp_path / "d", "1.5 1:1\n-2 2:3\n3e-1 1:4\n")
    data = libsvm(path, test_fraction=0, task="regression")
    assert data.num_classes is None and data.y_train.dtype == torch.float32
    assert torch.equal(data.y_train, torch.tensor([[1.5], [-2.0], [0.3]]))
    assert torch.equal(data.x_train, torch.tensor([[1.0, 0], [0, 3], [4, 0]]))
    # Whole numbers are numbers too, all of one kind when it comes to the split.
    whole = libsvm(
        write(tmp_path / "w", "".join(f"{k} 1:{k}\n" for k in range(10))), task="regression"
    )
    assert (len(whole.y_train), len(whole.y_test)) == (8, 2)
    assert sorted([*whole.y_train[:, 0], *whole.y_test[:, 0]]) == list(range(10))
    with pytest.raises(ValueError, match="line 1: target 'inf' is not a finite number"):
        libsvm(write(tmp_path / "i", "inf 1:1\n"), task="regression")


def test_libsvm_classes_that_are_asked_for(tmp_path):
    given = libsvm(write(tmp_path / "d", GOOD), test_fraction=0, task="classification")
    assert given.y_train.tolist() == [1, 0, 2, 0]
    with pytest.raises(ValueError) as error:
        libsvm(tmp_path / "d", task="classes")
    assert str(error.value) == (
        "dataset.task must be classification, regression or null, got 'classes'"
    )


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
        ({"y_train": np.array([0, 1, -1, 0, 1, 1])}, "1 labels below 0, the first is -1"),
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


def test_npz_float_labels_need_a_task(tmp_path):
    values = arrays(y_train=np.array([0.0, 1, 2, 0, 1, 2]), y_test=np.array([1.0, 0.0]))
    path = saved(tmp_path, **values)
    with pytest.raises(ValueError) as error:
        npz(path)
    assert str(error.value) == (
        f"{path}: y_train is float64 and holds whole numbers only; set dataset.task=classification,"
        " or dataset.task=regression"
    )
    data = npz(path, task="classification")
    assert (data.num_classes, data.y_train.tolist()) == (3, [0, 1, 2, 0, 1, 2])
    assert data.y_train.dtype == data.y_test.dtype == torch.int64
    assert npz(path, num_classes=5, task="classification").num_classes == 5
    data = npz(path, task="regression")
    assert (data.num_classes, data.y_test.tolist()) == (None, [[1.0], [0.0]])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, bool])
def test_npz_whole_numbers_for_regression(tmp_path, dtype):
    targets = np.array([0, 1, 1, 0, 1, 0]).astype(dtype)
    data = npz(saved(tmp_path, **arrays(y_train=targets, y_test=targets[:2])), task="regression")
    assert data.num_classes is None and data.y_train.dtype == torch.float32
    assert data.y_train[:, 0].tolist() == targets.tolist()


@pytest.mark.parametrize(
    ("changes", "given", "message"),
    [
        (
            {},
            {"task": "clustering"},
            "dataset.task must be classification, regression or null, got 'clustering'",
        ),
        (
            {"y_test": np.array([0.5, 1.0])},
            {},
            "y_train is int64 and y_test float64; save both in one dtype",
        ),
        (
            {"x_train": np.zeros((6, 2), np.uint8)},
            {},
            "x_train is uint8 and x_test float64; save both in one dtype",
        ),
        (
            {"y_train": np.linspace(0, 1, 6), "y_test": np.zeros(2)},
            {"task": "classification"},
            "dataset.task=classification, but y has fractions, NaN or inf",
        ),
        (
            {"y_train": np.eye(6, 3, dtype=int), "y_test": np.eye(2, 3, dtype=int)},
            {},
            "y_train is [6, 3]; classes are indices [n], of one-hot rows y.argmax(1), and for"
            " numbers set dataset.task=regression",
        ),
        (
            {"y_train": np.array([0, 1, 2, 0, 1, 20261128])},
            {},
            "labels run up to 20261128 in 8 examples; number the classes from 0 on",
        ),
        (
            {"x_train": np.full((6, 2), 2**24 + 1), "x_test": np.zeros((2, 2), int)},
            {},
            "x_train has whole numbers of up to 16777217, which float32 does not hold; scale them,"
            " or save them as float64",
        ),
        (
            {"y_train": np.full(6, 2**63, np.uint64), "y_test": np.zeros(2, int)},
            {"num_classes": 2},
            f"y_train has {2**63}, which is too large for int64",
        ),
        ({"x_train": np.zeros((6, 2), np.longdouble)}, {}, "x_train is an array of "),
    ],
)
def test_npz_ambiguous_or_lossy(tmp_path, changes, given, message):
    with pytest.raises(ValueError) as error:
        npz(saved(tmp_path, **arrays(**changes)), **given)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_npz_half_precision_is_widened(tmp_path):
    x = np.arange(12, dtype=np.float16).reshape(6, 2)
    data = npz(saved(tmp_path, **arrays(x_train=x, x_test=x[:2])))
    assert data.x_train.dtype == torch.float32 and np.array_equal(data.x_train, x)


def test_npz_says_what_it_takes_for_granted(tmp_path, caplog):
    x = np.full((6, 2), 255, dtype=np.uint8)
    labels = np.array([1, 2, 4, 1, 2, 4])
    path = saved(tmp_path, **arrays(x_train=x, y_train=labels, x_test=None, y_test=None))
    assert npz(path).num_classes == 5
    assert caplog.messages == [
        f"{path}: labels run from 1 to 4 and 2 of the classes 0 to 4 have no examples",
        f"{path}: x_train is uint8, taken for pixels and divided by 255; save other numbers as"
        " float32",
    ]


def test_libsvm_of_another_encoding_and_of_a_wrong_index(tmp_path):
    path = tmp_path / "d"
    path.write_bytes(b"1 1:2 # caf\xe9\n2 1:1\n")
    with pytest.raises(ValueError, match="d: not UTF-8 text"):
        libsvm(path)
    path.write_text(f"1 1:2 {10**15}:1\n2 1:1\n")
    with pytest.raises(ValueError) as error:
        libsvm(path)
    assert str(error.value) == (
        f"{path}: 2 examples of {10**15} features do not fit into memory as a matrix; is the"
        " largest index right?"
    )


def test_libsvm_of_windows(tmp_path):
    path = tmp_path / "d"
    path.write_bytes(b"\xef\xbb\xbf1 1:2\r\n2 1:1\r\n")
    assert libsvm(path, test_fraction=0).y_train.tolist() == [0, 1]
