"""What users may give as examples, what becomes of it, and the one line for everything else."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array, csr_matrix
from torch import nn
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

import fedlocal
from fedlocal import Clients
from fedlocal.data.arrays import place_like
from fedlocal.data.examples import check_targets, examples
from fedlocal.data.pixels import Pixels
from strategies.local_sgd import local_sgd

X, Y = torch.arange(6.0).view(3, 2), torch.tensor([0, 1, 1])


class Items(Dataset):
    """Map-style, with a transform that is drawn anew for each item."""

    def __init__(self, items, transform=lambda x: x):
        self.items, self.transform, self.read = items, transform, 0

    def __len__(self):
        return len(self.items)

    def __getitem__(self, row):
        self.read += 1
        x, y = self.items[row]
        return self.transform(x), y


class Stream(IterableDataset):
    def __iter__(self):
        return iter([(X[0], 0)])


GOOD = {
    "pair of tensors": (X, Y),
    "list of two tensors": [X, Y],
    "numpy": (X.numpy(), Y.numpy()),
    "big-endian, backwards, read-only": (
        np.broadcast_to(X.numpy()[::-1].astype(">f4"), (3, 2))[::-1],
        Y.numpy().astype(">i2"),
    ),
    "nested lists": (X.tolist(), Y.tolist()),
    "TensorDataset": TensorDataset(X, Y),
    "Subset": Subset(TensorDataset(X, Y), [0, 1, 2]),
    "items": Items(list(zip(X, Y, strict=True))),
    "numbers as labels": [(x, int(y)) for x, y in zip(X, Y, strict=True)],
    "numpy items": [(x.numpy(), np.int32(y)) for x, y in zip(X, Y, strict=True)],
    "with gradient": (X.clone().requires_grad_(), Y),
}


@pytest.mark.parametrize("name", GOOD)
def test_every_form_gives_the_same_tensors(name):
    x, y = examples(GOOD[name], "client 0")
    assert torch.equal(x.float(), X) and torch.equal(y, Y)
    assert y.dtype == torch.int64 and not x.requires_grad


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.bool])
def test_short_labels_become_int64(dtype):
    assert examples((X, Y.to(dtype)), "client 0")[1].dtype == torch.int64
    assert examples((X, Y.to(dtype)), "client 0")[1].tolist() == [0, 1, 1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_short_floats_become_float32(dtype):
    x, y = examples((X.to(dtype), X.to(dtype)), "client 0")
    assert x.dtype == y.dtype == torch.float32 and torch.equal(x, X)


def test_unsigned_numpy_labels():
    assert examples((X, np.array([0, 2**40, 1], np.uint64)), "c")[1].tolist() == [0, 2**40, 1]
    with pytest.raises(ValueError, match=f"^c: y has {2**63}, which is too large for int64$"):
        examples((X, np.array([0, 2**63, 1], np.uint64)), "c")


def test_a_transform_is_applied_once():
    items = Items([(X[0], 0), (X[1], 1)], transform=lambda x: x + torch.rand(()))
    x, _ = examples(items, "client 0")
    assert items.read == 2 and x.shape == (2, 2)


def test_pictures_as_bytes_need_their_meaning():
    pixels = Pixels((0.5,), (0.25,))
    x = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    assert examples((x, Y), "test", pixels)[0].dtype == torch.uint8
    with pytest.raises(ValueError, match="needs uint8 pictures"):
        examples((x.float(), Y), "test", pixels)


NAN = torch.tensor([[0.0, 0], [1, float("nan")], [0, 0]])
NO_SHAPE = "all examples must have one shape and dtype"
BAD = [
    ((X, NAN), "client 2: y has 1 values that are NaN or inf, the first in row 1"),
    ((X, NAN[:, 1] / 0), "client 2: y has 3 values that are NaN or inf, the first in row 0"),
    ((X[:0], Y[:0]), "client 2 has 0 inputs and 0 targets; both must be equal and at least 1"),
    ((X, Y[0]), "client 2: y is a single number; its first dimension must count examples"),
    ((X > 1, Y), "client 2: x is bool; pass x.float(), or x.long() for token indices"),
    ((X.to(torch.complex64), Y), "client 2: x is complex64; real numbers are needed"),
    (
        (X.numpy() * 1j, Y),
        "client 2: x is an array of complex64; real numbers are needed:"
        " numpy.stack((array.real, array.imag), -1)",
    ),
    *(
        (
            (X, names),
            "client 2: y is an array of text; for names pass their indices: numpy.unique(names,"
            " return_inverse=True)[1]",
        )
        for names in (np.array(["a", "b", "a"]), np.array(["a", "b", "a"], object))
    ),
    (
        (np.array([None] * 3), Y),
        "client 2: x is an array of object with None in row 0; real numbers are needed",
    ),
    (
        (np.zeros(3, [("size", float), ("age", int)]), Y),
        "client 2: x is an array of records (size, age); make columns of them:"
        " numpy.lib.recfunctions.structured_to_unstructured(array)",
    ),
    (
        (np.array(["2020-02-03"] * 3, "datetime64[D]"), Y),
        "client 2: x is an array of datetime64[D]; pass numbers: (times - times.min()) /"
        " numpy.timedelta64(1, 'D') are days",
    ),
    (
        (X.numpy().astype(np.longdouble), Y),
        f"client 2: x is an array of {np.dtype(np.longdouble).name}; pass"
        " array.astype(numpy.float64)",
    ),
    ((csr_matrix(X.numpy()), Y), "client 2: x is sparse; pass it dense: .toarray()"),
    ((csr_array(X.numpy()), Y), "client 2: x is sparse; pass it dense: .toarray()"),
    ((X.to_sparse(), Y), "client 2: x is sparse; pass it dense: .to_dense()"),
    (
        {"x": X, "y": Y},
        "client 2 is a dict; pass a pair (x, y), a map-style Dataset of (x, y) or a list of (x, y)",
    ),
    (
        Stream(),
        "client 2 is a Stream; pass a pair (x, y), a map-style Dataset of (x, y) or a list of"
        " (x, y)",
    ),
    (TensorDataset(X), "client 2 is a TensorDataset of 1 tensors; x and y needed"),
    ([], "client 2 has no examples, or does not say how many; at least 1 is needed"),
    ([(X[0], 0), {"x": X[1]}], "client 2: example 1 is a dict; it must be a pair (x, y)"),
    (
        [(X[0], 0), (X[1, :1], 1)],
        f"client 2: x of example 1 is float32 [1], and of example 0 float32 [2]; {NO_SHAPE}",
    ),
    (
        [(X[0], 0), (X[1], 1.0)],
        f"client 2: y of example 1 is float32 [], and of example 0 int64 []; {NO_SHAPE}",
    ),
]


@pytest.mark.parametrize(("given", "message"), BAD)
def test_one_line_names_the_client(given, message):
    with pytest.raises(ValueError) as error:
        Clients.of([(X, Y), (X, Y), given])
    assert str(error.value) == message


def test_pil_pictures_are_named():
    image = pytest.importorskip("PIL.Image")
    with pytest.raises(ValueError) as error:
        examples([(image.new("L", (2, 2)), 0)], "client 0")
    assert str(error.value) == (
        "client 0: x of example 0 is a PIL picture; give the dataset transform=ToTensor()"
    )


ALIKE = "all must have examples of one shape and dtype, on one device"


@pytest.mark.parametrize(
    ("clients", "message"),
    [
        (
            TensorDataset(X, Y),
            "clients is a TensorDataset; pass a list, for each client a pair (x, y), a map-style"
            " Dataset of (x, y) or a list of (x, y)",
        ),
        (
            X,
            "clients is a Tensor; pass a list, for each client a pair (x, y), a map-style"
            " Dataset of (x, y) or a list of (x, y)",
        ),
        ([], "no clients were given; pass one (x, y) pair of tensors per client"),
        (
            [(X, Y), (X[:, :1], Y)],
            f"client 1 has x of float32 [1], and client 0 of float32 [2]; {ALIKE}",
        ),
        (
            [(X, Y), (X.double(), Y)],
            f"client 1 has x of float64 [2], and client 0 of float32 [2]; {ALIKE}",
        ),
        (
            [(X, Y), (X, Y.float())],
            f"client 1 has y of float32 [], and client 0 of int64 []; {ALIKE}",
        ),
    ],
)
def test_all_clients_together(clients, message):
    with pytest.raises(ValueError) as error:
        fedlocal.simulate(nn.Linear(2, 2), clients, local_sgd(0.1, 1), rounds=1, device="cpu")
    assert str(error.value) == message


def simulated(clients, **options):
    model = nn.Linear(2, 2)
    nn.init.zeros_(model.weight), nn.init.zeros_(model.bias)
    return fedlocal.simulate(model, clients, local_sgd(0.1, 2), 3, device="cpu", **options).params


def test_datasets_train_like_their_tensors():
    pairs = [(X, Y), (X + 1, 1 - Y)]
    expected = simulated(pairs)
    assert torch.equal(simulated([TensorDataset(*pair) for pair in pairs]), expected)
    items = [Items(list(zip(*pair, strict=True))) for pair in pairs]
    assert torch.equal(simulated(items, test=items[0]), expected)
    assert torch.equal(simulated([(x.numpy(), y.short().numpy()) for x, y in pairs]), expected)


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ((NAN, Y), "test: x has 1 values that are NaN or inf, the first in row 1"),
        ((X, Y[:2]), "test has 3 inputs and 2 targets; both must be equal and at least 1"),
        (
            (X[:, :1], Y),
            f"test has x of float32 [1], and clients of float32 [2]; {ALIKE}",
        ),
        ((X, Y.float()), f"test has y of float32 [], and clients of int64 []; {ALIKE}"),
    ],
)
def test_the_test_set_is_checked_as_the_clients_are(test, message):
    with pytest.raises(ValueError) as error:
        simulated([(X, Y)], test=test)
    assert str(error.value) == message


def test_a_test_set_of_another_precision_is_cast():
    assert torch.equal(simulated([(X, Y)], test=(X.double(), Y)), simulated([(X, Y)]))


def test_numbers_that_the_runs_dtype_does_not_hold():
    large = torch.tensor([[1e300, 0.0]], dtype=torch.float64)
    with pytest.raises(ValueError) as error:
        place_like(large, torch.zeros(1), "x")
    assert str(error.value) == (
        "x has numbers too large for float32, up to 1e+300; scale them, or run with dtype=float64"
    )
    assert place_like(large, torch.zeros(1, dtype=torch.float64), "x") is large


@pytest.mark.parametrize(
    ("shape", "targets"),
    [
        ((32, 10), torch.tensor([0, 9, 3])),
        ((32, 1), torch.tensor([0, 1])),
        ((1, 5, 7), torch.tensor([[0, 1, 2, 3, 6]])),
        ((32, 3), torch.tensor([1, 1])),
    ],
)
def test_targets_that_are_classes(shape, targets):
    check_targets(shape, targets)


ONE_HOT = torch.eye(3)[[0, 2, 1, 1]]
WRONG = [
    (
        (8, 1),
        torch.tensor([-1, 1, 1]),
        "labels run from -1 to 1 and the model has 1 output, classes are 0 to 1: pass (y + 1) // 2",
    ),
    (
        (8, 2),
        torch.tensor([-1, 1, 1]),
        "labels run from -1 to 1 and the model has 2 outputs, classes are 0 to 1:"
        " pass (y + 1) // 2",
    ),
    (
        (8, 3),
        torch.tensor([-100, 1, 2, -1]),
        "labels run from -100 to 2 and the model has 3 outputs, classes are 0 to 2: leave out the"
        " 2 labels below 0",
    ),
    (
        (8, 3),
        torch.tensor([-100, 1, 2, -100]),
        "labels run from -100 to 2 and the model has 3 outputs, classes are 0 to 2: leave out the"
        " 2 labels below 0, or pass"
        " loss=fedlocal.objective.losses.CrossEntropy(ignore_index=-100) to skip them",
    ),
    (
        (8, 3),
        torch.tensor([0, 7]),
        "labels run from 0 to 7 and the model has 3 outputs, classes are 0 to 2: make the model"
        " with 8 outputs, or renumber the labels",
    ),
    (
        (8, 3),
        ONE_HOT.long(),
        "y is one-hot [4, 3]; cross_entropy takes class indices: pass y.argmax(1)",
    ),
    (
        (8, 3),
        torch.rand(4, 3),
        "y is [4, 3] and the model's output [n, 3]; cross_entropy takes class indices [4]",
    ),
    (
        (8, 5, 3),
        torch.tensor([0, 1]),
        "y is [2] and the model's output [n, 5, 3]; cross_entropy takes class indices [2, 5]",
    ),
    (
        (8, 3),
        torch.tensor([0.5, 2.0]),
        "y is float32, and cross_entropy takes class indices: for regression pass"
        " loss=squared_error",
    ),
]


@pytest.mark.parametrize(("shape", "targets", "message"), WRONG)
def test_targets_that_are_no_classes(shape, targets, message):
    with pytest.raises(ValueError) as error:
        check_targets(shape, targets)
    assert str(error.value) == message
