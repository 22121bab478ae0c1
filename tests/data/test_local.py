"""A machine's own data: what is read, what is refused, and that machines agree on indices."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from fedlocal.data.held_by_nodes import on_nodes
from fedlocal.data.image_folder import imagefolder
from fedlocal.data.local import load_local


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def picture(path, shade=0, size=(4, 3)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, 0, 255)).save(path)


def test_npz_keeps_the_shape_of_an_example(tmp_path):
    x = np.arange(24, dtype=np.float64).reshape(3, 2, 4)
    np.savez(tmp_path / "a.npz", x=x, y=np.array([0, 5, 1], dtype=np.uint8))
    inputs, targets = load_local(tmp_path / "a.npz")
    assert inputs.dtype == torch.float32
    assert targets.dtype == torch.int64
    assert torch.equal(inputs, torch.from_numpy(x).float())
    assert targets.tolist() == [0, 5, 1]


def test_npz_bytes_are_pixels_and_fractions_are_regression_targets(tmp_path):
    x = np.array([[0, 51], [102, 255]], dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x=x, y=np.array([0.5, 2.0]))
    inputs, targets = load_local(str(tmp_path / "a.npz"))
    assert torch.allclose(inputs, torch.tensor([[0, 0.2], [0.4, 1]]))
    assert targets.dtype == torch.float32
    assert targets.tolist() == [[0.5], [2.0]]


@pytest.mark.parametrize(
    ("header", "target_column"), [("a,y,b", 1), ("label,a,b", 0), ("a,b,c", 2), (' a , "y" ,b', 1)]
)
def test_csv_finds_its_target(tmp_path, header, target_column):
    rows = [[1.5, 0, 3], [0, 1, 2]]
    rows = [[int(v) if i == target_column else float(v) for i, v in enumerate(row)] for row in rows]
    text = "\n".join([header, *(",".join(map(str, row)) for row in rows)])
    inputs, targets = load_local(write(tmp_path / "a.csv", text + "\n"))
    assert targets.tolist() == [row[target_column] for row in rows]
    assert inputs.tolist() == [row[:target_column] + row[target_column + 1 :] for row in rows]


def test_csv_of_a_spreadsheet(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbfy,a\r\n"1","0.5"\r\n0, 2\r\n')
    inputs, targets = load_local(path)
    assert inputs.tolist() == [[0.5], [2.0]]
    assert targets.tolist() == [1, 0]


def test_csv_regression(tmp_path):
    _, targets = load_local(write(tmp_path / "a.csv", "a,y\n1,2\n1,2.5\n"))
    assert targets.tolist() == [[2.0], [2.5]]


def test_names_agree_between_machines_through_classes(tmp_path):
    first = write(tmp_path / "1/a.csv", "a,label\n1,dog\n2,cat\n")
    second = write(tmp_path / "2/a.csv", "a,label\n1,dog\n2,emu\n")
    assert load_local(first)[1].tolist() == [1, 0]
    assert load_local(second)[1].tolist() == [0, 1]  # sorted names of what is found: no agreement
    names = ["cat", "dog", "emu"]
    assert load_local(first, names)[1].tolist() == [1, 0]
    assert load_local(second, names)[1].tolist() == [1, 2]
    for folder in ("1", "2"):
        write(tmp_path / folder / "classes.txt", "cat\ndog\n\nemu\n")
    assert load_local(first)[1].tolist() == [1, 0]
    assert load_local(second)[1].tolist() == [1, 2]
    other = write(tmp_path / "names", "emu\ndog\ncat\n")
    assert load_local(first, other)[1].tolist() == [1, 2]


def test_numbers_are_indices_unless_the_names_are_numbers(tmp_path):
    path = write(tmp_path / "a.csv", "a,y\n1,2\n2,0\n")
    assert load_local(path, ["cat", "dog", "emu"])[1].tolist() == [2, 0]
    assert load_local(path, ["2", "1", "0"])[1].tolist() == [0, 2]
    with pytest.raises(ValueError, match="no class '0'; the classes are"):
        load_local(path, ["1", "2"])


def test_npz_of_names(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 2)), y=np.array(["b", "a", "b"]))
    assert load_local(tmp_path / "a.npz")[1].tolist() == [1, 0, 1]


def test_one_class_alone_is_enough(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 2)), y=np.zeros(3, dtype=int))
    assert load_local(tmp_path / "a.npz")[1].tolist() == [0, 0, 0]
    path = write(tmp_path / "a.csv", "a,y\n1,cat\n")
    assert load_local(path)[1].tolist() == [0]


def test_pictures_are_those_of_the_dataset_imagefolder(tmp_path):
    for name, shade in (("cat/1.png", 10), ("cat/2.jpg", 20), ("dog/1.png", 200)):
        picture(tmp_path / name, shade, size=(4, 4))
    write(tmp_path / "cat/notes.md", "not a picture")
    inputs, targets = load_local(tmp_path)
    expected = imagefolder(tmp_path, size=4, test_fraction=0)
    assert inputs.shape == (3, 3, 4, 4)
    assert torch.equal(inputs, expected.x_train)
    assert torch.equal(targets, expected.y_train)


def test_pictures_of_some_classes(tmp_path):
    picture(tmp_path / "dog/1.png")
    (tmp_path / "cat").mkdir()
    inputs, targets = load_local(tmp_path, ["ant", "cat", "dog"])
    assert inputs.shape == (1, 3, 3, 4)
    assert targets.tolist() == [2]
    with pytest.raises(ValueError, match=r"no class 'dog'; the classes are \['ant', 'cat'\]"):
        load_local(tmp_path, ["ant", "cat"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the first line must name two or more columns"),
        ("y\n1\n", "the first line must name two or more columns"),
        ("a,y,label\n1,2,3\n", "has the columns y and label"),
        ("a,y\n", "no examples below the header"),
        ("a,y\nx,1\n", "could not convert string 'x' to float32 at row 0, column 1"),
        ("a,b,y\n1,2,0\n1,2\n", "invalid column index 2 at row 2 with 2 columns"),
        ("a,y\n1,0\nnan,1\n", "1 values that are NaN or inf, the first in row 1"),
        ("a,y\n1,0\n2,\n", "the example in row 1 has no target"),
        ("a,y\n1,0\n2,-1\n", "labels below 0, the first is -1 in row 1"),
    ],
)
def test_bad_csv_is_named(tmp_path, text, reason):
    path = write(tmp_path / "a.csv", text)
    with pytest.raises(ValueError, match=re.escape(str(path)) + ".*" + re.escape(reason)):
        load_local(path)


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"x": np.zeros((2, 1))}, "the plain arrays x and y"),
        ({"x": np.array([["a"]]), "y": np.zeros(1)}, "x must hold numbers"),
        ({"x": np.array([[None]]), "y": np.zeros(1)}, "Object arrays cannot be loaded"),
        ({"x": np.zeros((2, 1)), "y": np.zeros(3, int)}, "2 examples but y_train has 3"),
        ({"x": np.zeros(2), "y": np.zeros(2, int)}, "must be [n, ...]"),
        ({"x": np.zeros((0, 1)), "y": np.zeros(0, int)}, "the train set is empty"),
    ],
)
def test_bad_npz_is_named(tmp_path, arrays, reason):
    path = tmp_path / "a.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=re.escape(str(path)) + ".*" + re.escape(reason)):
        load_local(path)


def test_damaged_files_are_named(tmp_path):
    for name in ("a.npz", "cat/a.png"):
        write(tmp_path / name, "no such format")
    np.save(tmp_path / "b.npz.npy", np.zeros(3))
    (tmp_path / "b.npz.npy").rename(tmp_path / "b.npz")
    for path in (tmp_path / "a.npz", tmp_path / "b.npz"):
        with pytest.raises(ValueError, match=r"not a readable \.npz"):
            load_local(path)
    with pytest.raises(ValueError, match=r"cannot read .*cat/a\.png"):
        load_local(tmp_path)


def test_pictures_of_two_sizes_are_refused(tmp_path):
    picture(tmp_path / "cat/1.png", size=(4, 3))
    picture(tmp_path / "cat/2.png", size=(5, 3))
    with pytest.raises(ValueError, match=r"2\.png is 5 x 3 but .*1\.png is 4 x 3"):
        load_local(tmp_path)


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no local data at"):
        load_local(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"is a \.npz, a \.csv or a folder"):
        load_local(write(tmp_path / "a.parquet", ""))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no pictures"):
        load_local(tmp_path / "empty")
    path = write(tmp_path / "a.csv", "a,y\n1,0\n")
    with pytest.raises(FileNotFoundError, match=r"no file .*names"):
        load_local(path, tmp_path / "names")
    with pytest.raises(ValueError, match="two or more different names"):
        load_local(path, ["cat", "cat"])
    with pytest.raises(ValueError, match="labels outside"):
        load_local(write(path, "a,y\n1,2\n"), ["cat", "dog"])
    with pytest.raises(ValueError, match="targets are fractions"):
        load_local(write(path, "a,y\n1,0.5\n"), ["cat", "dog"])


REFUSED = [
    (",a,y\n0,1,0\n1,2,1\n", ": column 1 has no name, as pandas writes an index; write the file "
     "with index=False, or name the column if it is an input"),
    ("Unnamed: 0,a,y\n0,1,0\n1,2,1\n", ": column 1 has no name, as pandas writes an index; write "
     "the file with index=False, or name the column if it is an input"),
    ("ID,a,y\n5,1,0\n6,2,1\n7,2,1\n", ": the column ID counts the rows; delete it, or give it "
     "another name if it is an input"),
    ("a,a,y\n1,2,0\n", ": the column a stands twice; keep one of them"),
    ("a,Y,label\n1,2,0\n", ": has the columns label and Y; keep the one that is the target"),
    ("a,y\n1,0\n2,1,9\n", ", line 3: 3 cells, and the header names 2"),
    ("a,y\n1,cat\n2,NA\n", ": the example in row 1 has no target, but 'NA'; delete the row"),
    ("a,y\n1,0\n2,?\n", ": the example in row 1 has no target, but '?'; delete the row"),
    ("a,y\n1,Cat\n2,cat\n", ": the classes Cat and cat differ in upper and lower case only; give "
     "a class one name"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "reason"), REFUSED)
def test_csv_that_would_be_guessed_at(tmp_path, text, reason):
    path = write(tmp_path / "a.csv", text)
    with pytest.raises(ValueError) as error:
        load_local(path)
    assert str(error.value) == f"{path}{reason}"


def test_csv_columns_that_only_look_like_an_index(tmp_path):
    x, _ = load_local(write(tmp_path / "a.csv", "id,a,y\n3,1,0\n9,2,1\n"))
    assert x.tolist() == [[3, 1], [9, 2]]
    x, _ = load_local(write(tmp_path / "a.csv", "hour,a,y\n0,1,0\n1,2,1\n"))
    assert x.tolist() == [[0, 1], [1, 2]]


def test_csv_target_in_capitals(tmp_path, caplog):
    x, y = load_local(write(tmp_path / "a.csv", "Label,a\n1,5\n0,6\n"))
    assert (x.tolist(), y.tolist()) == ([[5], [6]], [1, 0])
    assert caplog.messages == []


def test_csv_says_which_column_it_took(tmp_path, caplog):
    path = write(tmp_path / "a.csv", "a,b\n1,0\n")
    load_local(path)
    assert caplog.messages == [f"{path}: no column y or label; the last, b, is the target"]


def test_csv_labels_too_large_for_an_integer(tmp_path):
    path = write(tmp_path / "a.csv", "a,y\n1,99999999999999999999\n")
    _, y = load_local(path)
    assert y.tolist() == [[pytest.approx(1e20)]]


def test_whole_numbers_with_a_point_are_said(tmp_path, caplog):
    path = write(tmp_path / "a.csv", "a,y\n1,2.0\n1,3.0\n")
    assert load_local(path)[1].tolist() == [[2.0], [3.0]]
    assert caplog.messages == [
        f"{path}: the targets are float64 and are read for regression, though all are whole"
        " numbers; class indices have no decimal point"
    ]


def test_names_that_cannot_agree_with_other_machines(tmp_path):
    path = write(tmp_path / "a.csv", "a,y\n1,dog\n1,cat\n")
    assert load_local(path, num_classes=2)[1].tolist() == [1, 0]
    with pytest.raises(ValueError) as error:
        on_nodes(2, [1], num_classes=3, own=str(path))
    message = (
        f"{path}: has 2 names of classes, dataset.num_classes is 3; list all of them in"
        " classes.txt beside the data, the same on every machine"
    )
    assert str(error.value) == message
    with pytest.raises(ValueError) as error:
        on_nodes(2, [1], num_classes=3, test=str(path))
    assert str(error.value) == message


def test_npz_of_wide_whole_numbers(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.array([[2**24 + 1]]), y=np.array([0]))
    with pytest.raises(ValueError) as error:
        load_local(path)
    assert str(error.value) == (
        f"{path}: x has whole numbers of up to 16777217, which float32 does not hold; scale them,"
        " or save them as float64"
    )
