"""What `Dataset` accepts, refuses and moves."""

import ast
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from fedlocal.data import Dataset
from fedlocal.data.dataset import of_fields

PACKAGE = Path(__file__).parents[2] / "fedlocal"


def build(**changes) -> Dataset:
    values = {
        "name": "toy",
        "x_train": torch.arange(6.0).view(3, 2),
        "y_train": torch.tensor([0, 1, 1]),
        "x_test": torch.ones(2, 2),
        "y_test": torch.tensor([1, 0]),
        "num_classes": 2,
    }
    return Dataset(**(values | changes))


def with_value(value: float) -> Tensor:
    x = torch.zeros(3, 2)
    x[1, 0] = x[2, 1] = value
    return x


def test_shapes_and_repr():
    data = build(client_ids=[0, 0, 7])
    assert data.input_shape == (2,)
    assert data.num_outputs == 2
    assert data.client_ids.dtype == np.int64
    assert repr(data) == "Dataset('toy', 3 train, 2 test, input [2], 2 outputs)"


def test_regression_counts_target_columns():
    data = build(y_train=torch.zeros(3, 4), num_classes=None, x_test=None, y_test=None)
    assert data.num_outputs == 4


def test_empty_test_set_becomes_none():
    data = build(x_test=torch.empty(0, 2), y_test=torch.empty(0, dtype=torch.int64))
    assert data.x_test is None
    assert data.y_test is None


def test_to_casts_floating_tensors_only():
    data = build(client_ids=torch.tensor([0, 1, 2]), optimum=torch.zeros(2))
    moved = data.to("cpu", torch.float64)
    assert moved.x_train.dtype == moved.x_test.dtype == moved.optimum.dtype == torch.float64
    assert moved.y_train.dtype == torch.int64
    assert moved.client_ids.tolist() == [0, 1, 2]
    assert data.x_train.dtype == torch.float32


def test_token_indices_stay_integers():
    tokens = torch.tensor([[0, 3], [2, 2], [1, 0]])
    data = build(x_train=tokens, x_test=tokens[:2], num_tokens=4)
    moved = data.to("cpu", torch.float64)
    assert moved.x_train.dtype == moved.x_test.dtype == torch.int64
    assert moved.num_tokens == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"x_train": with_value(float("nan"))},
            "dataset toy: x_train has 2 values that are NaN or inf, the first in row 1",
        ),
        (
            {"x_train": with_value(float("-inf"))},
            "dataset toy: x_train has 2 values that are NaN or inf, the first in row 1",
        ),
        (
            {"x_test": torch.full((2, 2), float("nan"))},
            "dataset toy: x_test has 4 values that are NaN or inf, the first in row 0",
        ),
        (
            {"y_train": torch.tensor([0, 1])},
            "dataset toy: x_train has 3 examples but y_train has 2",
        ),
        (
            {"y_train": torch.tensor([0, 2, 5])},
            "dataset toy: y_train has 2 labels outside 0..1, the first is 2 in row 1",
        ),
        (
            {"y_test": torch.tensor([0, -1])},
            "dataset toy: y_test has 1 labels below 0, the first is -1 in row 1; classes count"
            " from 0: renumber the labels, or leave these examples out",
        ),
        (
            {"y_train": torch.tensor([0.0, 1.0, 1.0])},
            "dataset toy: y_train must be int64 labels [n], got torch.float32 [3]",
        ),
        (
            {"x_train": torch.empty(0, 2), "y_train": torch.empty(0, dtype=torch.int64)},
            "dataset toy: the train set is empty",
        ),
        (
            {"client_ids": np.zeros(2, dtype=np.int64)},
            "dataset toy: 2 client_ids for 3 training examples; one per example needed",
        ),
        (
            {"here": [1]},
            "dataset toy: here=[1] names owners of examples, and there are no client_ids; give one"
            " per example",
        ),
        (
            {"client_ids": np.zeros(3)},
            "dataset toy: client_ids must be integers [n], got float64 [3]",
        ),
        ({"x_train": torch.zeros(3)}, "dataset toy: x_train must be [n, ...], got [3]"),
        ({"x_test": None}, "dataset toy: give both of x_test and y_test, or neither"),
        (
            {"x_test": torch.ones(2, 3)},
            "dataset toy: an example is [2] in x_train but [3] in x_test",
        ),
        (
            {"x_train": torch.zeros(3, 2, dtype=torch.int64)},
            "dataset toy: x_train is int64; numbers must be floating: x.astype(numpy.float32), and"
            " token indices need Dataset(..., num_tokens=) with the number of different tokens",
        ),
        (
            {"x_train": torch.zeros(3, 1, 4, 4, dtype=torch.uint8)},
            "dataset toy: x_train is uint8; for pictures give x / 255, or Dataset(...,"
            " pixels=Pixels(mean, std))",
        ),
        (
            {"num_tokens": 4},
            "dataset toy: x_train is float32, and num_tokens=4 is for token indices, which are"
            " int64",
        ),
        (
            {"x_train": torch.tensor([[0, 4]] * 3), "num_tokens": 4},
            "dataset toy: x_train has tokens 0..4, outside 0..3",
        ),
        (
            {"x_train": torch.tensor([[-1, 3]] * 3), "num_tokens": 4},
            "dataset toy: x_train has tokens -1..3, outside 0..3",
        ),
        ({"num_classes": 1}, "dataset toy: 1 class; at least 2 needed"),
        (
            {"num_classes": None},
            "dataset toy: regression needs y_train as float [n, d], got torch.int64 [3]; "
            "for classification set num_classes",
        ),
    ],
)
def test_refusals(changes, message):
    with pytest.raises(ValueError) as error:
        build(**changes)
    assert str(error.value) == message


def test_regression_targets_must_be_finite():
    y = torch.tensor([[0.0], [1.0], [float("inf")]])
    with pytest.raises(ValueError, match=r"y_train has 1 values that are NaN or inf, .* in row 2"):
        build(y_train=y, num_classes=None, x_test=None, y_test=None)


@pytest.mark.parametrize("path", sorted((PACKAGE / "data").glob("*.py")), ids=lambda p: p.stem)
def test_import_is_light(path):
    """Heavy packages are imported inside functions, so never in the module's own body."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.split(".")[0])
    assert names - sys.stdlib_module_names <= {"torch", "numpy", "fedlocal"}


def test_arrays_and_short_integers_are_converted_without_loss():
    data = build(x_train=np.arange(6, dtype=np.float16).reshape(3, 2), y_train=np.uint8([0, 1, 1]))
    assert (data.x_train.dtype, data.y_train.dtype) == (torch.float32, torch.int64)
    tokens = np.int32([[0, 3], [2, 2], [1, 0]])
    assert build(x_train=tokens, x_test=tokens[:2], num_tokens=4).x_train.dtype == torch.int64
    with pytest.raises(ValueError, match="y_train is an array of object with None in row 0"):
        build(y_train=[None, 1, 0])


def test_an_object_with_the_same_fields_is_a_dataset():
    given = build()
    own = SimpleNamespace(
        **{name: getattr(given, name) for name in ("x_train", "y_train", "x_test", "y_test")}
    )
    with pytest.raises(ValueError) as error:
        of_fields(own, "mine.load")
    assert str(error.value) == (
        "dataset: mine.load returned a SimpleNamespace without num_classes; return"
        " fedlocal.data.Dataset(name, x_train, y_train, x_test, y_test, num_classes)"
    )
    own.num_classes, own.client_ids = 2, [0, 1, 1]
    data = of_fields(own, "mine.load")
    assert (data.name, data.client_ids.tolist()) == ("mine.load", [0, 1, 1])
    assert of_fields(given, "mine.load") is given
