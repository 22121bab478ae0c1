"""Objects of a user's own file, for every group that takes some: found, or refused in one line."""

import sys
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, TensorDataset

from fedlocal.config.build import build
from fedlocal.config.compose import compose
from fedlocal.config.errors import ConfigError
from fedlocal.data.dataset import Dataset
from fedlocal.data.own import as_dataset
from fedlocal.rounds.fingerprint import describe_loss, run_digest

FILE = """
import torch
from torch import nn
from torch.nn import functional as F

from fedlocal.data import Dataset
from partitions import iid

def data(size=40):
    x = torch.linspace(-1, 1, 4 * size).reshape(size, 4)
    return x, torch.arange(size) % 3, x[:6], torch.arange(6) % 3

def numbers(size=40):
    x = torch.linspace(-1, 1, 4 * size).reshape(size, 4)
    return x.numpy(), x.sum(1).numpy()

def whole():
    x, y, *_ = data()
    return Dataset("whole", x, y, None, None, 3)

def needs(size):
    return data(size)

class Net(nn.Sequential):
    def __init__(self, input_shape, num_outputs, width=5):
        super().__init__(nn.Linear(*input_shape, width), nn.Linear(width, num_outputs))

def split(labels, num_clients, seed):
    return iid(labels, num_clients, seed, min_size=1)

def focal(output, target, gamma=2.0):
    logs = F.log_softmax(output, -1).gather(-1, target.unsqueeze(-1))
    return (-(1 - logs.exp()) ** gamma * logs).mean()

class Scaled(nn.Module):
    def __init__(self, factor=1.0):
        super().__init__()
        self.register_buffer("factor", torch.tensor(factor))

    def forward(self, output, target):
        return self.factor * F.cross_entropy(output, target)

number = 3
"""
GROUPS = {"model": "Net", "partition": "split", "loss": "focal", "dataset": "data"}


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """The name of a module in the folder where the command is given; a new one for every test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def write(text: str = FILE) -> str:
        name = f"mine_{uuid4().hex[:8]}"
        Path(f"{name}.py").write_text(text)
        return name

    yield write
    for name in [name for name in sys.modules if name.startswith("mine_")]:
        del sys.modules[name]


def built(line: str):
    return build(compose(f"K=2 H=2 rounds=2 partition=iid {line}").cfg)


def refused(line: str) -> str:
    with pytest.raises(ConfigError) as caught:
        built(line)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_all_four(mine):
    name = mine()
    given = " ".join(f"{group}=own {group}._target_={name}.{GROUPS[group]}" for group in GROUPS)
    job = built(f"{given} +model.width=7 +loss.gamma=1 +dataset.size=24")
    assert len(job.labels) == 24 and len(job.simulation.start) == 7 * 5 + 8 * 3
    assert describe_loss(job.simulation.objective.loss) == f"{name}.focal(gamma=1)"


@pytest.mark.parametrize("group", GROUPS)
def test_what_cannot_be_found(mine, group):
    name, other = mine(), mine("import torch\nimport not_there\n")
    broken = mine("x = 1\ny = (\n")
    given = f"{group}=own {group}._target_="
    start = f"{group}._target_="
    assert refused(f"{given}nowhere.Net") == (
        f"{start}nowhere.Net cannot be imported: there is no module nowhere in {Path.cwd()}, where"
        " the command is given, nor among the installed packages"
    )
    line = refused(f"{given}{name}.splt")
    assert line.startswith(f"{start}{name}.splt: {name} ({Path.cwd() / name}.py) has no splt")
    assert line.endswith(
        "(did you mean split?); it has Net, Scaled, data, focal, needs, numbers, split, whole"
    )
    assert refused(f"{given}{other}.Net") == (
        f"{start}{other}.Net cannot be imported: {other}.py, line 2: ModuleNotFoundError: No module"
        " named 'not_there'"
    )
    assert refused(f"{given}{broken}.Net") == (
        f"{start}{broken}.Net cannot be imported: {broken}.py, line 2: SyntaxError: '(' was never"
        " closed"
    )
    assert refused(f"{given}{name}").startswith(f"{start}{name} is the module {name}, which cannot")
    assert "is 3, which cannot be called" in refused(f"{given}{name}.number")
    assert refused(f"{given}{name}.Net.foo").startswith(f"{start}{name}.Net.foo: Net has no foo")
    assert refused(f"{group}=own") == (
        f"{group}._target_ must be given; add {group}._target_=... to the command line"
    )


def test_a_file_that_fails(mine):
    name = mine("def f():\n    raise KeyError('lost')\n\nf()\n")
    assert refused(f"model=own model._target_={name}.Net") == (
        f"model._target_={name}.Net cannot be imported: {name}.py, line 2: KeyError: 'lost'"
    )


def test_data_of_ones_own(mine):
    name = mine()
    own = f"dataset=own dataset._target_={name}"
    assert built(f"{own}.whole").simulation.test is None
    assert built(f"{own}.data").simulation.test is not None
    # Numbers [n] become a column, which is what a model of one output gives.
    assert built(f"{own}.numbers").simulation.objective.y.shape == (40, 1)
    assert refused(f"{own}.needs") == (
        "dataset.size must be given; add +dataset.size=... to the command line"
    )
    assert refused(f"{own}.data +dataset.sze=3") == (
        "dataset has no setting sze (did you mean size?); it takes size"
    )


def test_the_parts_of_a_dataset():
    x, y = np.ones((6, 2), np.float32), np.array([0, 1, 2, 3, 0, 1], np.int32)
    data = as_dataset((x, y), "mine.make")
    assert isinstance(data, Dataset) and (data.name, data.num_classes) == ("make", 4)
    assert data.y_train.dtype == torch.int64 and data.y_train.tolist() == y.tolist()
    # A class that only the test set has is one.
    assert as_dataset((x[:3], y[:3], x, y), "make").num_classes == 4
    assert as_dataset((x, y.astype(float)), "make").num_classes is None
    with pytest.raises(ValueError, match="3 parts"):
        as_dataset((x, y, x), "make")
    with pytest.raises(ValueError, match=r"y_train is torch\.int64 and y_test torch.float64; give"):
        as_dataset((x, y.astype(np.int64), x, y.astype(float)), "make")
    with pytest.raises(ValueError, match="dataset make: x_train is an array of text"):
        as_dataset(("abc", y), "make")
    with pytest.raises(ValueError, match="dataset make: the train set is empty"):
        as_dataset((x[:0], y[:0]), "make")


def test_test_labels_that_no_training_example_has_are_reported(caplog):
    x = np.zeros((4, 2), np.float32)
    as_dataset((x, np.array([0, 1, 2, 1]), x, np.array([2, 1, 1, 0])), "make")
    assert caplog.messages == []
    as_dataset((x, np.array([0, 1, 3, 1]), x, np.array([0, 2, 2, 3])), "make")
    assert caplog.messages == [
        "dataset make: 2 test examples have classes without training examples, the first 2"
    ]


def test_sets_of_torch():
    x, y = torch.rand(6, 2), torch.tensor([0, 1, 2, 0, 1, 1])
    whole, items = TensorDataset(x, y), ConcatDataset([TensorDataset(x, y)])
    for made in (whole, items, (whole, items), ((x, y), (x, y)), ((x.numpy(), y), whole)):
        data = as_dataset(made, "mine.make")
        assert torch.equal(data.x_train, x) and torch.equal(data.y_train, y)
        tested = isinstance(made, tuple)
        assert torch.equal(data.x_test, x) if tested else data.x_test is None
    rows = tuple(map(tuple, x.tolist())), tuple(y.tolist())
    assert torch.equal(as_dataset(rows, "mine.make").x_train.float(), x)
    with pytest.raises(ValueError, match="3 parts"):
        as_dataset((whole, whole, whole), "mine.make")


DIGITS = "dataset=digits loss=own"


def test_a_loss_of_ones_own(mine):
    name = mine()
    given = f"{DIGITS} loss._target_={name}.Scaled dtype=float64"
    one, two = built(f"{given} +loss.factor=2.0"), built(f"{given} +loss.factor=3.0")
    loss = one.simulation.objective.loss
    assert (loss.factor.item(), loss.factor.dtype) == (2.0, torch.float64)
    assert run_digest(one.simulation) != run_digest(two.simulation)
    again = built(f"{given} +loss.factor=2.0")
    assert run_digest(one.simulation) == run_digest(again.simulation)


def test_a_keyword_that_a_loss_does_not_have():
    line = refused(f"{DIGITS} loss._target_=torch.nn.L1Loss +loss.foo=1")
    assert line.startswith("loss has no setting foo; it takes size_average, reduce, reduction")
