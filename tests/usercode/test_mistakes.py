"""Typical mistakes of users, through Python and on the command line, each with its one line."""

import warnings
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import fedlocal
import strategies
from fedlocal.config.build import build
from fedlocal.config.compose import compose
from fedlocal.config.errors import ConfigError
from fedlocal.objective.losses import MSE, CrossEntropy, squared_error
from fedlocal.runtime import Vmapped
from fedlocal.slots.outer.sgd import OuterSGD
from strategies import local_sgd
from tests.usercode import mine

FILE = "tests.usercode.mine"
LINE = f"K=2 H=2 rounds=1 partition=iid dataset=own dataset._target_={FILE}.data"
X, Y = mine.features(), mine.labels()
ONE_HOT = torch.eye(mine.CLASSES)[Y]
NUMBERS = X.sum(1)
TOKENS = Y[:, None].expand(-1, 4)


def split(x: Tensor = X, y: Tensor = Y, at: int = 30) -> list[tuple[Tensor, Tensor]]:
    return [(x[:at], y[:at]), (x[at:], y[at:])]


def python(
    model: Any = None, x: Tensor = X, y: Tensor = Y, strategy: Any = None, **given: Any
) -> Callable[[], object]:
    """A call of `simulate` that is right but for what is given."""
    given = {"clients": split(x, y), "rounds": 1, "device": "cpu"} | given

    def run() -> object:
        method = local_sgd(0.1, 2) if strategy is None else strategy
        return fedlocal.simulate(
            mine.Net((4,), 3) if model is None else model, strategy=method, **given
        )

    return run


def column(loss: Any, y: Tensor = NUMBERS) -> Callable[[], object]:
    """A model with an output [n, 1]."""
    return python(nn.Linear(4, 1), y=y, loss=loss)


def command(line: str) -> Callable[[], object]:
    return lambda: build(compose(f"{LINE} {line}").cfg)


def data(name: str) -> Callable[[], object]:
    return own("dataset", name)


def own(group: str, name: str) -> Callable[[], object]:
    def run() -> object:
        cfg = deepcopy(chosen(group))
        cfg[group]._target_ = f"{FILE}.{name}"
        return build(cfg)

    return run


@cache
def chosen(group: str) -> DictConfig:
    """The configuration of `command`, with an object of the user's own for a group."""
    return compose(f"{LINE} {group}=own {group}._target_=to.be.named").cfg


# What torch itself says of its build is a part of the line.
NO_CUDA = (
    "torch finds no CUDA device on this machine, got 'cuda'"
    f"{'' if torch.version.cuda else '; this torch is built without CUDA'}; use device=cpu or auto"
)


class Mistake(NamedTuple):
    """The line that a mistake gets, and how it is made through either door."""

    says: str
    python: Callable[[], object] | None = None
    command: Callable[[], object] | None = None


def filled(value: float) -> nn.Module:
    """A model with one such value in its weight."""
    model = nn.Linear(4, 3)
    with torch.no_grad():
        model.weight[0, 0] = value
    return model


def hooked(by: str) -> nn.Module:
    model = nn.Linear(4, 3)
    getattr(model.weight, by)(lambda _: None)
    return model


def compiled(by: Callable[[nn.Module], nn.Module]) -> nn.Module:
    with warnings.catch_warnings():
        # torch is about to drop it.
        warnings.simplefilter("ignore")
        return by(nn.Linear(4, 3))


class Warming:
    """A loss that counts its calls."""

    calls = 0

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        self.calls += 1
        return F.cross_entropy(output, target) * self.calls


# The one label that no output has is not among the first examples.
LATE = torch.where(torch.arange(mine.N) == 20, 5, Y)
STATEFUL = (
    "the loss changes its {} at every call, and what it changes would depend on the order in which"
    " clients are computed; a loss must keep no state"
)

CHANNEL = (
    " ValueError: Expected more than 1 value per channel when training, got input size"
    " torch.Size([1, 5]); batches need 2 examples or more: take a larger batch_size and clients"
    " with more examples, or a model without batch normalisation"
)
COMPUTED = (
    "the model cannot be copied with the attribute {}, which was computed from its parameters:"
    " leave it out, or keep it detached; torch.nn.utils.parametrizations has a weight_norm and a"
    " spectral_norm that compute theirs in forward"
)
KEYLESS = (
    " cannot draw from a run's own keys; use torch.rand, torch.randn or torch.bernoulli, or draw a"
    " table of values once, keep it in a buffer and pick from it by torch.randint"
)

MISTAKES = {
    "data: one-hot labels": Mistake(
        "y is one-hot [40, 3]; cross_entropy takes class indices: pass y.argmax(1)",
        python=python(y=ONE_HOT),
    ),
    "data: one-hot labels for CrossEntropy": Mistake(
        "loss CrossEntropy needs class indices of the output's shape without its classes,"
        " got output [8, 3] and target torch.float32 [8, 3]; of one-hot rows pass the"
        " index: y.argmax(-1); use loss=mse or loss=bce for targets that are numbers",
        python=python(y=ONE_HOT, loss=CrossEntropy()),
    ),
    "data: one-hot labels for torch": Mistake(
        "y is one-hot [40, 3]; the loss takes class indices: pass y.argmax(1)",
        python=python(y=ONE_HOT.long(), loss=nn.CrossEntropyLoss()),
    ),
    "data: one-hot labels in a file": Mistake(
        "dataset one_hot: y is int64 [40, 3]; classes are indices [n], of one-hot rows"
        " y.argmax(1), and numbers to predict are floating",
        command=data("one_hot"),
    ),
    "data: float labels": Mistake(
        "y is float32, and cross_entropy takes class indices: pass y.long()",
        python=python(y=Y.float()),
    ),
    "data: float labels for CrossEntropy": Mistake(
        "loss CrossEntropy needs class indices of the output's shape without its classes,"
        " got output [8, 3] and target torch.float32 [8]; for classes pass y.long(); use"
        " loss=mse or loss=bce for targets that are numbers",
        python=python(y=Y.float(), loss=CrossEntropy()),
    ),
    "data: float labels for torch": Mistake(
        "y is float32, and the loss takes class indices: pass y.long()",
        python=python(y=Y.float(), loss=F.cross_entropy),
    ),
    "data: labels from 1": Mistake(
        "labels run from 1 to 3 and the model has 3 outputs, classes are 0 to 2: subtract 1",
        python=python(y=Y + 1),
    ),
    "data: labels from 1 for CrossEntropy": Mistake(
        "loss CrossEntropy has targets 1 to 3, and the model's 3 outputs are for 0 to 2;"
        " subtract 1",
        python=python(y=Y + 1, loss=CrossEntropy()),
    ),
    "data: labels from 1 for torch": Mistake(
        "labels run from 1 to 3 and the model has 3 outputs, classes are 0 to 2: subtract 1",
        python=python(y=Y + 1, loss=nn.CrossEntropyLoss()),
    ),
    "data: a label for torch that no output has": Mistake(
        "labels run from 0 to 5 and the model has 3 outputs, classes are 0 to 2: make the"
        " model with 6 outputs, or renumber the labels",
        python=python(y=torch.where(torch.arange(mine.N) == 20, 5, Y), loss=nn.CrossEntropyLoss()),
    ),
    "data: negative labels for torch": Mistake(
        "labels run from -1 to 1 and the model has 3 outputs, classes are 0 to 2: leave out"
        " the 14 labels below 0, or give the loss ignore_index=-1 to skip them",
        python=python(y=Y - 1, loss=nn.CrossEntropyLoss()),
    ),
    "data: negative labels": Mistake(
        "dataset negative: y_train has 14 labels below 0, the first is -1 in row 0; classes count"
        " from 0: renumber the labels, or leave these examples out",
        command=data("negative"),
    ),
    "data: labels in a column": Mistake(
        "y is [40, 1] and the model's output [n, 3]; cross_entropy takes class indices"
        " [40]: pass y.squeeze(-1)",
        python=python(y=Y[:, None]),
    ),
    "data: labels in a column for torch": Mistake(
        "y is [40, 1] and the model's output [n, 3]; the loss takes class indices [40]:"
        " pass y.squeeze(-1)",
        python=python(y=Y[:, None], loss=nn.CrossEntropyLoss()),
    ),
    "data: missing values": Mistake(
        "client 0: x has 1 values that are NaN or inf, the first in row 7",
        python=python(x=mine.missing_values()[0]),
    ),
    "data: missing values in a file": Mistake(
        "dataset missing_values: x_train has 1 values that are NaN or inf, the first in row 7",
        command=data("missing_values"),
    ),
    "data: bytes": Mistake(
        "client 0: x is uint8; for pictures pass x / 255, or Clients(...,"
        " pixels=Pixels(mean, std)), and x.long() for token indices",
        python=python(x=X.mul(9).byte()),
    ),
    "loss: numbers [n] for an output [n, 1]": Mistake(
        "the loss fails on output [8, 1] and targets [8] (torch.float32): ValueError: Target size"
        " (torch.Size([8])) must be the same as input size (torch.Size([8, 1])); give both one"
        " shape: y.unsqueeze(1)",
        python=column(nn.BCEWithLogitsLoss(), y=(NUMBERS > 0).float()),
    ),
    "loss: arguments in the other order": Mistake(
        "the loss fails on output [8, 3] and targets [8] (torch.int64): NotImplementedError:"
        " \"log_softmax_lastdim_kernel_impl\" not implemented for 'Long'; a loss is called with"
        " (output, target), in this order",
        python=python(loss=lambda target, output: F.cross_entropy(output, target)),
    ),
    "data: channels last": Mistake(
        "the model fails on a batch of shape [8, 5, 5, 3] (torch.float32): RuntimeError: Given"
        " groups=1, weight of size [2, 3, 3, 3], expected input[8, 5, 5, 3] to have 3 channels, but"
        " got 5 channels instead; with the channels last pass x.permute(0, 3, 1, 2)",
        python=python(nn.Conv2d(3, 2, 3), x=torch.rand(mine.N, 5, 5, 3)),
    ),
    "data: a token that the embedding does not have": Mistake(
        "the model fails on a batch of shape [8, 4] (torch.int64): IndexError: index out of range"
        " in self; tokens are 7 to 7 here: make the embedding with more entries",
        python=python(nn.Embedding(5, 3), x=torch.full((mine.N, 4), 7)),
    ),
    "data: objects": Mistake(
        "client 0: x is an array of object with 'a' in row 1, column 0; real numbers are needed",
        python=python(x=np.array([[1, 2], ["a", 2]], dtype=object)),
    ),
    "data: numbers as objects": Mistake(
        "client 0: x is an array of object; pass array.astype(numpy.float64)",
        python=python(x=np.array([[1, 2], [3, 4.5]], dtype=object)),
    ),
    "data: a loader that returns nothing": Mistake(
        f"dataset: {FILE}.nothing returned nothing; return (x_train, y_train), (x_train, y_train,"
        " x_test, y_test) or a fedlocal.data.Dataset",
        command=data("nothing"),
    ),
    "model: no file": Mistake(
        f"model._target_=Net cannot be imported: there is no module Net in {Path.cwd()}, where the"
        " command is given, nor among the installed packages; for one in FILE.py, FILE.Net",
        command=command("model=own model._target_=Net"),
    ),
    "partition: the client of each example": Mistake(
        "partition: client 0 has a single number; give one array of indices per client, and for"
        " the client of each example: [numpy.flatnonzero(ids == k) for k in range(K)]",
        command=own("partition", "owners"),
    ),
    "data: whole numbers": Mistake(
        "the model fails on a batch of shape [8, 4] (torch.int64): RuntimeError: mat1 and"
        " mat2 must have the same dtype, but got Long and Float; if the model takes numbers"
        " and not tokens, pass x.float()",
        python=python(x=X.mul(9).long()),
    ),
    "data: lists of different lengths": Mistake(
        "client 1 has 40 inputs and 39 targets; both must be equal and at least 1",
        python=python(clients=[(X, Y), (X.tolist(), Y.tolist()[:-1])]),
    ),
    "data: arrays of different lengths": Mistake(
        "client 1 has 40 inputs and 39 targets; both must be equal and at least 1",
        python=python(clients=[(X, Y), (X.numpy(), Y.numpy()[:-1])]),
    ),
    "data: different lengths in a file": Mistake(
        "dataset short: x_train has 40 examples but y_train has 39",
        command=data("short"),
    ),
    "data: names of classes in a file": Mistake(
        "dataset names: y_train is an array of text; for names pass their indices:"
        " numpy.unique(names, return_inverse=True)[1]",
        command=data("names"),
    ),
    "data: bytes in a file": Mistake(
        "dataset pictures: x_train is uint8; for pictures give x / 255, or Dataset(...,"
        " pixels=Pixels(mean, std))",
        command=data("pictures"),
    ),
    "data: a DataLoader in a file": Mistake(
        "dataset batched: the train set is a DataLoader, whose batches are not used; pass its"
        " .dataset",
        command=data("batched"),
    ),
    "data: a loader that fails": Mistake(
        f"dataset: mine.py, line {mine.LINE}: KeyError: 'x'",
        command=data("failing"),
    ),
    "model: a class that fails": Mistake(
        f"model._target_={FILE}.Failing: mine.py, line {mine.LINE}: KeyError: 'x'",
        command=own("model", "Failing"),
    ),
    "partition: a function that fails": Mistake(
        f"mine.py, line {mine.LINE}: KeyError: 'x'",
        command=own("partition", "failing_partition"),
    ),
    "data: a loader that returns a dict": Mistake(
        f"dataset: {FILE}.named returned a dict; return (x_train, y_train), (x_train, y_train,"
        " x_test, y_test) or a fedlocal.data.Dataset",
        command=data("named"),
    ),
    "data: an empty test set": Mistake(
        "test has 0 inputs and 0 targets; both must be equal and at least 1",
        python=python(test=(X[:0], Y[:0])),
    ),
    "data: a test set without targets": Mistake(
        "test is a Tensor; pass a pair (x, y), a map-style Dataset of (x, y) or a list of (x, y)",
        python=python(test=X),
    ),
    "data: one pair for all clients": Mistake(
        "clients is a list of arrays, perhaps one pair (x, y); pass one pair per client,"
        " [(x, y)] for a single client",
        python=python(clients=(X, Y)),
    ),
    "data: clients by name": Mistake(
        "clients is a dict; pass a list: list(clients.values())",
        python=python(clients={"a": (X, Y)}),
    ),
    "data: a DataLoader": Mistake(
        "client 0 is a DataLoader, whose batches are not used; pass its .dataset",
        python=python(clients=[DataLoader(TensorDataset(X, Y))]),
    ),
    "model: a dict as output": Mistake(
        "the model returns a dict, and the loss is of one tensor; wrap it in a module whose"
        " forward returns the tensor, logits for example",
        python=python(mine.Named((4,), 3)),
        command=own("model", "Named"),
    ),
    "model: a tuple as output": Mistake(
        "the model returns a tuple, and the loss is of one tensor; wrap it in a module"
        " whose forward returns the tensor, logits for example",
        python=python(mine.Several((4,), 3)),
        command=own("model", "Several"),
    ),
    "model: a mean over the batch": Mistake(
        "the model's output for 8 examples has the shape [3]; its first dimension must be"
        " that of the batch",
        python=python(mine.Averaged((4,), 3)),
        command=own("model", "Averaged"),
    ),
    "model: another input size": Mistake(
        "the model fails on a batch of shape [8, 4] (torch.float32): RuntimeError: addmm:"
        " mat1 and mat2 shapes cannot be multiplied (8x4 and 6x3)",
        python=python(nn.Linear(6, 3)),
    ),
    "model: lazy layers": Mistake(
        "the parameter 0.weight is lazy and has no shape yet; call the model once on a"
        " batch before it is given to fedlocal",
        python=python(mine.Lazy((4,), 3)),
        command=own("model", "Lazy"),
    ),
    "model: without requires_grad": Mistake(
        "all parameters of the model are frozen (0.weight, ...) and nothing would be"
        " trained; leave some out of frozen=, or set requires_grad_(True)",
        python=python(mine.Frozen((4,), 3)),
        command=own("model", "Frozen"),
    ),
    "model: all of it frozen": Mistake(
        "all parameters of the model are frozen (0.weight, ...) and nothing would be"
        " trained; leave some out of frozen=, or set requires_grad_(True)",
        python=python(frozen=["*"]),
        command=command(f"model=own model._target_={FILE}.Net 'model.frozen=[\"*\"]'"),
    ),
    "model: all of it personal": Mistake(
        "personal=['*'] matches all trained parameters, and clients would have nothing to"
        " exchange; leave some of them out",
        python=python(personal=["*"]),
        command=command("'model.personal=[\"*\"]'"),
    ),
    "model: a pattern that fits nothing": Mistake(
        "frozen: no parameter matches 'bodi'; there are 2.bias, 0.bias, ...",
        python=python(frozen=["bodi"]),
    ),
    "model: a pattern that fits nothing, on the command line": Mistake(
        "personal: no parameter matches 'heads'; there are 3.bias, 1.bias, ...",
        command=command("model.personal=[heads]"),
    ),
    "model: personal and frozen": Mistake(
        "personal=['2'] matches frozen parameters only (2.weight, ...); leave them out of"
        " personal, or out of frozen",
        python=python(frozen=["2"], personal=["2"]),
    ),
    "model: a text in place of a list": Mistake(
        "personal must be a list of patterns, got '2'; for example personal=['2']",
        python=python(personal="2"),
    ),
    "model: a text in place of a list, on the command line": Mistake(
        "model.personal must be a list, each text, got 'head'; for example model.personal=[head]",
        command=command("model.personal=head"),
    ),
    "model: a number as a pattern": Mistake(
        "personal must be a list of patterns, each text, got [2]; for example personal=['2']",
        python=python(personal=[2]),
    ),
    "model: a number as a pattern, on the command line": Mistake(
        "model.personal must be a list, each text, got [2]; quote numbers:"
        " 'model.personal=[\"2\"]'",
        command=command("model.personal=[2]"),
    ),
    "model: null as a list": Mistake(
        "model.frozen must be a list, each text, got None; for example model.frozen=[head]",
        command=command("model.frozen=null"),
    ),
    "model: None as a list": Mistake(
        "frozen must be a list of patterns, each text, got None; for example frozen=['head']",
        python=python(frozen=None),
    ),
    "model: a batch of one in front of BatchNorm": Mistake(
        "client 1 has batches of 1: the model fails on a batch of shape [1, 4] (torch.float32):"
        + CHANNEL,
        python=python(mine.Normalised((4,), 3), clients=split(at=39)),
        command=command(
            f"model=own model._target_={FILE}.Normalised"
            f" partition=own partition._target_={FILE}.alone"
        ),
    ),
    "model: Python's random": Mistake(
        "the model or the loss draws from Python's random, which a run cannot repeat for"
        " each client and step; use torch.rand, torch.randint or torch.bernoulli",
        python=python(mine.Draws((4,), 3)),
        command=own("model", "Draws"),
    ),
    "model: draws from a Poisson distribution": Mistake(
        "the model draws by torch.poisson, which fedlocal" + KEYLESS,
        python=python(mine.Drawing(lambda: torch.distributions.Poisson(torch.ones(4)))),
    ),
    "model: draws from a Beta distribution": Mistake(
        "the model draws by torch.distributions.Beta or Dirichlet, which fedlocal" + KEYLESS,
        python=python(mine.Drawing(lambda: torch.distributions.Beta(torch.ones(4), torch.ones(4)))),
    ),
    "model: draws from a Dirichlet distribution": Mistake(
        "the model draws by torch.distributions.Beta or Dirichlet, which fedlocal" + KEYLESS,
        python=python(mine.Drawing(lambda: torch.distributions.Dirichlet(torch.ones(4)))),
    ),
    "model: draws from a Gamma distribution": Mistake(
        "the model draws by torch.distributions.Gamma, Chi2 or StudentT, which fedlocal" + KEYLESS,
        python=python(
            mine.Drawing(lambda: torch.distributions.Gamma(torch.ones(4), torch.ones(4)))
        ),
    ),
    "model: keeps what it computed": Mistake(
        COMPUTED.format("last"),
        python=python(mine.Keeps((4,), 3)),
        command=own("model", "Keeps"),
    ),
    "model: weight_norm by hooks": Mistake(
        COMPUTED.format("weight"),
        python=lambda: python(compiled(nn.utils.weight_norm))(),
    ),
    "model: a counter": Mistake(
        "forward changes the attribute calls of the model, which a run cannot carry from step to"
        " step; keep such state in a buffer, or leave it out",
        python=python(mine.Counts((4,), 3)),
        command=own("model", "Counts"),
    ),
    "model: a class": Mistake(
        "model is the class Net, which has not been made yet; write Net(...)",
        python=python(mine.Net),
    ),
    "model: a name": Mistake(
        "model must be a torch.nn.Module, got 'mlp'; put a function into a module's forward",
        python=python("mlp"),
    ),
    "model: a function that returns none": Mistake(
        "model must be a torch.nn.Module, got None; put a function into a module's forward",
        command=own("model", "no_model"),
    ),
    "model: without the two arguments": Mistake(
        f"model._target_={FILE}.WithoutArguments is called with (input_shape, num_outputs),"
        " and says: too many positional arguments",
        command=own("model", "WithoutArguments"),
    ),
    "model: a name that the file lacks": Mistake(
        f"model._target_={FILE}.Nope: {FILE} ({mine.__file__}) has no Nope; it has Averaged, …",
        command=own("model", "Nope"),
    ),
    "model: a file that is not there": Mistake(
        "model._target_=yours.Net cannot be imported: there is no module yours in"
        f" {Path.cwd()}, where the command is given, nor among the installed packages",
        command=command("model=own model._target_=yours.Net"),
    ),
    "model: buffers": Mistake(
        "buffers must be one of average, personal, frozen, got 'mean'",
        python=python(buffers="mean"),
        command=command("model.buffers=mean"),
    ),
    "loss: one number for each example": Mistake(
        "the loss must return one number as a tensor without dimensions, got [8] for output"
        " [8, 3] and targets [8]; take the mean over the batch",
        python=python(loss=mine.each),
        command=own("loss", "each"),
    ),
    "loss: without a reduction": Mistake(
        "the loss must return one number as a tensor without dimensions, got [8] for output"
        " [8, 3] and targets [8]; take the mean over the batch",
        python=python(loss=nn.CrossEntropyLoss(reduction="none")),
    ),
    "loss: item": Mistake(
        "the loss must return one number as a tensor without dimensions, got float for"
        " output [8, 3] and targets [8]; take the mean over the batch",
        python=python(loss=mine.number),
        command=own("loss", "number"),
    ),
    "loss: an error rate": Mistake(
        "the loss does not depend on the model's trained parameters: its output is"
        " detached, rounded, or made by argmax; nothing would be trained",
        python=python(loss=mine.detached),
        command=own("loss", "detached"),
    ),
    "loss: a class": Mistake(
        "loss is the class CrossEntropyLoss, which has not been made yet; write"
        " CrossEntropyLoss(...)",
        python=python(loss=nn.CrossEntropyLoss),
    ),
    "loss: a name": Mistake(
        "loss must be a function (output, target) -> mean over the batch, got 'mse'; for"
        " example fedlocal.objective.losses.MSE()",
        python=python(loss="mse"),
    ),
    "loss: with parameters": Mistake(
        "the loss Learnt has parameters, which a run would not train; make them buffers, or"
        " parts of the model",
        python=python(loss=mine.Learnt()),
        command=own("loss", "Learnt"),
    ),
    "loss: of three tensors": Mistake(
        "the loss fails on output [8, 3] and targets [8] (torch.int64): TypeError:"
        " TripletMarginLoss.forward() missing 1 required positional argument: 'negative'",
        python=python(loss=nn.TripletMarginLoss()),
    ),
    "loss: of one tensor": Mistake(
        f"loss._target_={FILE}.one_tensor must be a function (output, target) -> mean over"
        " the batch, or a class of such; called with two it says: too many positional"
        " arguments",
        command=own("loss", "one_tensor"),
    ),
    "loss: mse_loss of [n, 1] and [n]": Mistake(
        "the loss compares every output with every target: output [8, 1] and targets [8]"
        " are broadcast to a square; give both one shape: y.unsqueeze(1) or"
        " output.squeeze(1)",
        python=column(F.mse_loss),
    ),
    "loss: MSELoss of [n] and [n, 1]": Mistake(
        "the loss compares every output with every target: output [8] and targets [8, 1]"
        " are broadcast to a square; give both one shape: y.squeeze(1) or"
        " output.unsqueeze(1)",
        python=python(
            nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)), y=NUMBERS[:, None], loss=nn.MSELoss()
        ),
    ),
    "loss: by hand of [n, 1] and [n]": Mistake(
        "the loss compares every output with every target: output [8, 1] and targets [8]"
        " are broadcast to a square; give both one shape: y.unsqueeze(1) or"
        " output.squeeze(1)",
        python=column(lambda o, t: ((o - t) ** 2).mean()),
    ),
    "loss: MSE of [n, 1] and [n]": Mistake(
        "loss MSE needs equal shapes, got output [8, 1] and target [8]; give the target a"
        " last dimension of 1: y.unsqueeze(-1)",
        python=column(MSE()),
    ),
    "loss: squared_error of [n, 1] and [n]": Mistake(
        "squared_error needs equal shapes, got output [8, 1] and target [8]; give the"
        " target a last dimension of 1: y.unsqueeze(-1)",
        python=column(squared_error),
    ),
    "loss: MSELoss for classes": Mistake(
        "the loss compares numbers one by one, and output [8, 3] and targets [8] differ in"
        " shape; for class indices take a loss of classes, such as cross_entropy",
        python=python(loss=nn.MSELoss()),
        command=command("loss=own loss._target_=torch.nn.MSELoss"),
    ),
    "loss: mse for classes": Mistake(
        "loss MSE needs numbers as targets, got class indices (torch.int64); use"
        " loss=cross_entropy, or give the targets as floating-point numbers",
        python=python(loss=MSE()),
        command=command("loss=mse"),
    ),
    "loss: added with a plus": Mistake(
        "Multiple values for loss. Write loss=mse",
        command=command("+loss=mse"),
    ),
    "loss: misspelt": Mistake(
        "there is no loss=msee (did you mean mse?); one of auto, bce, cross_entropy, huber,"
        " mae, mse, nll, own, squared_error",
        command=command("loss=msee"),
    ),
    "loss: a misspelt key": Mistake(
        "there is no key loss.detla (did you mean delta?); loss has delta",
        command=command("loss=huber loss.detla=2"),
    ),
    "strategy: a name": Mistake(
        "strategy must be what a function of `strategies` returns, got 'fedavg'; write"
        " strategies.fedavg(lr=0.1) after import strategies",
        python=python(strategy="fedavg"),
    ),
    "strategy: not called": Mistake(
        "strategy is the function local_sgd, which has not been called yet; write"
        " local_sgd(...), for example with lr=0.1",
        python=python(strategy=local_sgd),
    ),
    "strategy: its settings": Mistake(
        "strategy must be what a function of `strategies` returns, got {}; write"
        " strategies.local_sgd(lr=0.1) after import strategies",
        python=python(strategy={}),
    ),
    "strategy: misspelt": Mistake(
        "there is no strategy=fedavgg (did you mean fedavg?); one of ad_psgd, …",
        command=command("strategy=fedavgg"),
    ),
    "strategy: VRL-SGD with sampling": Mistake(
        "correction=DriftCorrection() needs: every client takes part in every round;"
        " participation is 0.5, drop-out counted. Use participation=1 without faults, or a"
        " method that allows sampling: scaffold, which corrects drift too, local_sgd,"
        " fedavg, fedprox or slowmo",
        python=python(strategy=strategies.vrl_sgd(0.1, 2), participation=0.5),
        command=command("strategy=vrl_sgd participation=0.5"),
    ),
    "strategy: a negative step size": Mistake(
        "lr must be positive, got -0.1; for example lr=0.1",
        python=lambda: local_sgd(-0.1, 2),
        command=command("lr=-0.1"),
    ),
    "strategy: lr and period exchanged": Mistake(
        "period (H) must be a whole number of local steps >= 1, got 0.1",
        python=lambda: local_sgd(10, 0.1),
    ),
    "strategy: momentum with a method that forbids it": Mistake(
        "anytime_minibatch takes no momentum, got 0.9: its mean counts every gradient once."
        " Leave it out, or take local_sgd",
        python=lambda: strategies.anytime_minibatch(0.1, 2, momentum=0.9),
        command=command("strategy=anytime_minibatch strategy.momentum=0.9"),
    ),
    "strategy: momentum of 1": Mistake(
        "momentum must be in [0, 1), got 1.0",
        python=lambda: local_sgd(0.1, 2, momentum=1.0),
        command=command("strategy.momentum=1.0"),
    ),
    "strategy: Nesterov without momentum": Mistake(
        "nesterov=True changes the momentum of local steps, which is 0; give a momentum, for"
        " example 0.9, or leave nesterov out",
        python=lambda: local_sgd(0.1, 2, nesterov=True),
        command=command("strategy=vrl_sgd strategy.nesterov=true"),
    ),
    "strategy: Nesterov of a server without momentum": Mistake(
        "nesterov=True changes the outer momentum, which is 0; give a momentum, for example 0.9, or"
        " leave nesterov out",
        python=lambda: OuterSGD(nesterov=True),
    ),
    "strategy: a switch in quotes": Mistake(
        "nesterov must be True or False, got 'False'",
        python=lambda: local_sgd(0.1, 2, momentum=0.9, nesterov="False"),
    ),
    "strategy: a step size as a switch": Mistake(
        "lr must be a number, got True",
        python=lambda: local_sgd(True, 2),
    ),
    "strategy: a comma in a number": Mistake(
        "Ambiguous value for argument 'lr=0,1'; 1. To use it as a list, use key=[value1,value2]…",
        command=command("lr=0,1"),
    ),
    "partition: alpha at the top level": Mistake(
        "there is no key alpha (did you mean partition.alpha?); the top level has K, …",
        command=command("partition=dirichlet alpha=0.5"),
    ),
    "partition: too many shards": Mistake(
        "partition: shards_per_client must be at most the number of examples, got 3000"
        " shards for each client and 40 examples in all; use 2, as in the paper",
        command=command("partition=shards partition.shards_per_client=3000"),
    ),
    "partition: an index too large": Mistake(
        "partition: client 1 has the index 40; there are 40 examples, 0 to 39",
        command=own("partition", "beyond"),
    ),
    "partition: an example twice": Mistake(
        "partition: client 0 has the index 0 more than once; drop repetitions with numpy.unique",
        command=own("partition", "repeated"),
    ),
    "partition: masks": Mistake(
        "partition: client 0 has a boolean mask; give indices: numpy.flatnonzero(mask)",
        command=own("partition", "masks"),
    ),
    "partition: another number of clients": Mistake(
        "partition: the scheme returned 1 clients, but K=2; it must return"
        " one array of indices per client",
        command=own("partition", "too_few"),
    ),
    "partition: one argument": Mistake(
        f"partition._target_={FILE}.one_argument is called with (labels, num_clients,"
        " seed=...), and says: too many positional arguments",
        command=own("partition", "one_argument"),
    ),
    "partition: more clients than examples": Mistake(
        "partition: K must be at most the number of examples, got 100 clients for 40"
        " examples; use fewer clients or more data",
        command=command("K=100"),
    ),
    "partition: natural without ids": Mistake(
        "partition=natural needs client ids, and dataset data has none; use another"
        " partition, for example partition=dirichlet, or data with client_ids",
        command=command("partition=natural"),
    ),
    "run: uplink.ratio": Mistake(
        "there is no key uplink.ratio (did you mean uplink.compressor.ratio?); uplink has"
        " error_feedback, per_layer, compressor",
        command=command("uplink=topk uplink.ratio=0.1"),
    ),
    "run: a negative batch size": Mistake(
        "batch_size must be a whole number >= 0, got -1; 0 takes the full batch",
        python=python(batch_size=-1),
    ),
    "run: a negative batch size, on the command line": Mistake(
        "batch_size must be a whole number >= 0, got -1; for example batch_size=32",
        command=command("batch_size=-1"),
    ),
    "run: a batch size with a fraction": Mistake(
        "batch_size must be a whole number >= 0, got 1.5; 0 takes the full batch",
        python=python(batch_size=1.5),
    ),
    "run: no rounds": Mistake(
        "rounds must be a whole number >= 1, got 0",
        python=python(rounds=0),
    ),
    "run: rounds as text": Mistake(
        "rounds must be a whole number >= 1, got '3'",
        python=python(rounds="3"),
    ),
    "run: participation in percent": Mistake(
        "participation must be in (0, 1], got 50; 0.1 samples one client in ten",
        python=python(participation=50),
        command=command("participation=50"),
    ),
    "run: a seed with a fraction": Mistake(
        "seed must be a whole number, got 1.5",
        python=python(seed=1.5),
    ),
    "run: a runtime that there is not": Mistake(
        "runtime must be one of vmapped, loop, got 'vmaped'",
        python=python(runtime="vmaped"),
    ),
    "run: dtype of whole numbers": Mistake(
        "dtype must be one of torch.float32, torch.float64, torch.float16, got torch.int64",
        python=python(dtype=torch.int64),
    ),
    "run: dtype as text": Mistake(
        "dtype must be one of torch.float32, torch.float64, torch.float16, got 'float64'; without"
        " quotes: dtype=torch.float64",
        python=python(dtype="float64"),
    ),
    "run: a number in place of Evaluate": Mistake(
        "evaluate must be an Evaluate, got 5; write Evaluate(...)",
        python=python(evaluate=5),
    ),
    "run: a name in place of an augmentation": Mistake(
        "augment must be an Augment, got 'crop_flip'",
        python=python(augment="crop_flip"),
    ),
    "run: a diagnostic that there is not": Mistake(
        "there is no diagnostic drift (did you mean drift_norm?); diagnostics is true,"
        " false or a list of gradient_diversity, gradient_variance, consensus_distance,"
        " drift_norm, update_cosine, staleness",
        python=python(diagnostics=["drift"]),
        command=command("diagnostics=[drift]"),
    ),
    "run: a device that there is not": Mistake(
        "device must be auto, or cpu, cuda, cuda:1 or mps if the machine has it, got 'gpu'",
        python=python(device="gpu"),
        command=command("device=gpu"),
    ),
    "model: wrapped in DataParallel": Mistake(
        "the model is wrapped in DataParallel, and a run places its clients on the device itself;"
        " give what is inside: model.module",
        python=python(nn.DataParallel(mine.Net((4,), 3))),
        command=own("model", "Wrapped"),
    ),
    "model: DataParallel inside": Mistake(
        "the module 0 of the model is wrapped in DataParallel, and a run places its clients on the"
        " device itself; give what is inside: model.module",
        python=python(nn.Sequential(nn.DataParallel(nn.Linear(4, 3)))),
    ),
    "model: torch.jit.script": Mistake(
        "the model is compiled by torch.jit, and takes no parameters of a client; give the eager"
        " module that was scripted or traced",
        python=lambda: python(compiled(torch.jit.script))(),
    ),
    "model: torch.jit.trace": Mistake(
        "the model is compiled by torch.jit, and takes no parameters of a client; give the eager"
        " module that was scripted or traced",
        python=lambda: python(compiled(lambda m: torch.jit.trace(m, X)))(),
    ),
    "model: torch.jit.script inside": Mistake(
        "the module 0 of the model is compiled by torch.jit, and takes no parameters of a client;"
        " give the eager module that was scripted or traced",
        python=lambda: python(nn.Sequential(compiled(torch.jit.script), nn.Tanh()))(),
    ),
    "model: a function": Mistake(
        "model is the function data, and must be a torch.nn.Module; give what it returns if it"
        " makes a model, or put it into a module's forward",
        python=python(mine.data),
    ),
    "model: None": Mistake(
        "model must be a torch.nn.Module, got None; put a function into a module's forward",
        python=lambda: fedlocal.simulate(None, split(), local_sgd(0.1, 2)),
    ),
    "model: a sparse embedding": Mistake(
        "the gradient of the parameter 0.weight is sparse, and clients exchange dense vectors; make"
        " its embedding without sparse=True",
        python=python(
            nn.Sequential(nn.Embedding(3, 4, sparse=True), nn.Flatten(), nn.Linear(16, 3)),
            x=TOKENS,
        ),
    ),
    "model: a sparse bag of embeddings": Mistake(
        "the gradient of the parameter 0.weight is sparse, and clients exchange dense vectors; make"
        " its embedding without sparse=True",
        python=python(
            nn.Sequential(nn.EmbeddingBag(3, 4, mode="sum", sparse=True), nn.Linear(4, 3)),
            x=TOKENS,
        ),
    ),
    "model: a sparse embedding by hand": Mistake(
        "the gradient of the parameter rows is sparse, and clients exchange dense vectors; make its"
        " embedding without sparse=True",
        python=python(mine.Sparse(), x=TOKENS),
    ),
    "model: without values": Mistake(
        "weight of the model is on the device meta and has no values; make the model on a real"
        " device, or call model.to_empty(device='cpu') and initialise it",
        python=python(nn.Linear(4, 3, device="meta")),
    ),
    "model: NaN in a parameter": Mistake(
        "the parameter weight holds NaN or inf before the first round; initialise it, or load the"
        " weights of a run that did not diverge",
        python=python(filled(float("nan"))),
    ),
    "model: inf in a parameter": Mistake(
        "the parameter weight holds NaN or inf before the first round; initialise it, or load the"
        " weights of a run that did not diverge",
        python=python(filled(float("inf"))),
    ),
    "model: a complex parameter": Mistake(
        "the parameter weight is complex64, and trained parameters must be real; keep real and"
        " imaginary part as [..., 2] and use torch.view_as_complex in forward",
        python=python(nn.Linear(4, 3, dtype=torch.complex64)),
    ),
    "model: a complex parameter, on the command line": Mistake(
        "the parameter turn is complex64, and trained parameters must be real; keep real and"
        " imaginary part as [..., 2] and use torch.view_as_complex in forward",
        command=own("model", "Turned"),
    ),
    "model: a complex buffer that changes": Mistake(
        "forward changes the buffer turn, which is complex, and vectors are real; keep it as"
        " [..., 2] and use torch.view_as_complex, or take buffers='frozen'",
        python=python(mine.Turning((4,), 3)),
        command=own("model", "Turning"),
    ),
    "model: bfloat16": Mistake(
        "the model's parameters are bfloat16, and a run has float32, float64, float16; give"
        " dtype=torch.float32, and precision='bf16' to compute in bfloat16",
        python=python(nn.Linear(4, 3, dtype=torch.bfloat16)),
    ),
    "model: a hook on a gradient": Mistake(
        "the parameter weight has a hook on its gradient, which a copy of the model does not keep;"
        " write it into forward: torch.where(mask, w, w.detach()) masks the gradient of w",
        python=lambda: python(hooked("register_hook"))(),
        command=own("model", "Hooked"),
    ),
    "model: a hook after a gradient": Mistake(
        "the parameter weight has a hook on its gradient, which a copy of the model does not keep;"
        " write it into forward: torch.where(mask, w, w.detach()) masks the gradient of w",
        python=lambda: python(hooked("register_post_accumulate_grad_hook"))(),
    ),
    "model: one parameter, personal and frozen": Mistake(
        "personal=['weight'] matches frozen parameters only (weight, ...); leave them out of"
        " personal, or out of frozen",
        python=python(nn.Linear(4, 3), frozen=["weight"], personal=["weight"]),
    ),
    "model: squeezes a batch of one": Mistake(
        "client 1 has batches of 1: the model's output for 1 examples has the shape [3]; its first"
        " dimension must be that of the batch; squeeze() drops that dimension of a single example:"
        " use squeeze(1)",
        python=python(mine.Squeezed((4,), 3), clients=split(at=39)),
        command=command(
            f"model=own model._target_={FILE}.Squeezed"
            f" partition=own partition._target_={FILE}.alone"
        ),
    ),
    "model: BatchNorm and a batch size of 1": Mistake(
        "client 0 has batches of 1: the model fails on a batch of shape [1, 4] (torch.float32):"
        + CHANNEL,
        python=python(mine.Normalised((4,), 3), batch_size=1),
    ),
    "model: BatchNorm where everybody has one example": Mistake(
        "the model fails on a batch of shape [1, 4] (torch.float32):" + CHANNEL,
        python=python(mine.Normalised((4,), 3), clients=[(X[:1], Y[:1]), (X[1:2], Y[1:2])]),
    ),
    "loss: of pairs, a batch of one": Mistake(
        "client 1 has batches of 1: the loss fails on output [1, 3] and targets [1] (torch.int64):"
        " IndexError: index 1 is out of bounds for dimension 0 with size 1; give every client more"
        " examples, or use a model and a loss that take so few",
        python=python(loss=lambda o, t: (o[0] - o[1]).square().sum(), clients=split(at=39)),
    ),
    "loss: counts its calls in an attribute": Mistake(
        STATEFUL.format("calls"),
        python=lambda: python(loss=Warming())(),
    ),
    "loss: counts its calls in a buffer": Mistake(
        STATEFUL.format("calls"),
        python=lambda: python(loss=mine.Warmed())(),
        command=own("loss", "Warmed"),
    ),
    "loss: counts its calls in a global": Mistake(
        STATEFUL.format("CALLS"),
        python=python(loss=mine.warm),
        command=own("loss", "warm"),
    ),
    "loss: takes a gradient by the output": Mistake(
        "the loss fails in evaluations, which take no gradients: RuntimeError: element 0 of tensors"
        " does not require grad and does not have a grad_fn",
        python=python(loss=mine.steep),
        command=own("loss", "steep"),
    ),
    "loss: a complex number": Mistake(
        "the loss is complex64, and a loss must be real; take value.real, or value.abs()",
        python=python(loss=mine.turned),
        command=own("loss", "turned"),
    ),
    "data: labels from -1": Mistake(
        "labels run from -1 to 1 and the model has 3 outputs, classes are 0 to 2: leave out the 14"
        " labels below 0, or pass loss=fedlocal.objective.losses.CrossEntropy(ignore_index=-1) to"
        " skip them",
        python=python(y=Y - 1),
    ),
    "data: labels from -1 for CrossEntropy": Mistake(
        "loss CrossEntropy has targets -1 to 1, and the model's 3 outputs are for 0 to 2; leave out"
        " those below 0, or skip them with ignore_index=-1",
        python=python(y=Y - 1, loss=CrossEntropy()),
    ),
    "data: labels from -2": Mistake(
        "labels run from -2 to 0 and the model has 3 outputs, classes are 0 to 2: leave out the 27"
        " labels below 0",
        python=python(y=Y - 2),
    ),
    "data: test labels that no output has": Mistake(
        "test: labels run from 0 to 5 and the model has 3 outputs, classes are 0 to 2: make the"
        " model with 6 outputs, or renumber the labels",
        python=python(test=(X, LATE)),
        command=command(f"dataset._target_={FILE}.unseen model=own model._target_={FILE}.Three"),
    ),
    "data: test labels that no output has, for torch": Mistake(
        "test: labels run from 0 to 5 and the model has 3 outputs, classes are 0 to 2: make the"
        " model with 6 outputs, or renumber the labels",
        python=python(test=(X, LATE), loss=nn.CrossEntropyLoss()),
    ),
    "data: test labels that no output has, for CrossEntropy": Mistake(
        "test: loss CrossEntropy has targets 0 to 5, and the model's 3 outputs are for 0 to 2; give"
        " the model more outputs, or ignore_index",
        python=python(test=(X, LATE), loss=CrossEntropy(class_weights="balanced")),
        command=command(
            f"dataset._target_={FILE}.unseen model=own model._target_={FILE}.Three"
            " loss=cross_entropy"
        ),
    ),
    "data: test labels that a loss by hand fails on": Mistake(
        "test: the loss fails on output [8, 3] and targets [8] (torch.int64): IndexError: Target 5"
        " is out of bounds.",
        python=python(
            test=(X, torch.where(torch.arange(mine.N) == 0, 5, Y)),
            loss=lambda o, t: F.cross_entropy(o, t),
        ),
        command=command(
            f"dataset._target_={FILE}.unseen_first model=own model._target_={FILE}.Three"
            f" loss=own loss._target_={FILE}.by_hand"
        ),
    ),
    "data: test labels in another form": Mistake(
        "test has y of int64 [3], and clients of int64 []; all must have examples of one shape and"
        " dtype, on one device",
        python=python(test=(X, ONE_HOT.long())),
    ),
    "data: a list of pairs of arrays as a test set": Mistake(
        "test is a list whose first pair has inputs [40, 4], and a list has one example in each"
        " pair; pass all test examples as one pair: test=(x, y)",
        python=python(test=[(X, Y)]),
    ),
    "data: a masked array": Mistake(
        "client 0: x is a masked array, and its mask would be ignored; pass .filled(value), or"
        " leave the masked examples out",
        python=python(clients=[(np.ma.masked_greater(X.numpy(), 0.5), Y.numpy())]),
    ),
    "data: a masked array in a file": Mistake(
        "dataset masked: x_train is a masked array, and its mask would be ignored; pass"
        " .filled(value), or leave the masked examples out",
        command=data("masked"),
    ),
    "data: masked labels": Mistake(
        "client 0: y is a masked array, and its mask would be ignored; pass .filled(value), or"
        " leave the masked examples out",
        python=python(clients=[(X.numpy(), np.ma.masked_equal(Y.numpy(), 2))]),
    ),
    "data: a masked example of a list": Mistake(
        "client 0: x of example 0 is a masked array, and its mask would be ignored; pass"
        " .filled(value), or leave the masked examples out",
        python=python(clients=[[(np.ma.masked_less(X[0].numpy(), 0), 1)]]),
    ),
    "strategy: a step size in quotes": Mistake(
        "lr must be a number, got '0.1'; leave the quotes out",
        python=lambda: local_sgd("0.1", 2),
    ),
    "run: l2 in quotes": Mistake(
        "l2 must be a number, got '0.1'; leave the quotes out",
        python=python(l2="0.1"),
    ),
    "run: clip_norm in quotes": Mistake(
        "clip_norm must be a number, got '1'; leave the quotes out",
        python=python(clip_norm="1"),
    ),
    "run: participation in quotes": Mistake(
        "participation must be a number, got '0.5'; leave the quotes out",
        python=python(participation="0.5"),
    ),
    "run: dtype bfloat16": Mistake(
        "dtype must be one of torch.float32, torch.float64, torch.float16, got torch.bfloat16;"
        " precision='bf16' computes in bfloat16 and keeps float32 parameters",
        python=python(dtype=torch.bfloat16),
    ),
    "run: participation as a switch": Mistake(
        "participation must be a number, got True",
        python=python(participation=True),
    ),
    "run: personal_steps as a switch": Mistake(
        "personal_steps must be a whole number >= 0, got True",
        python=python(personal=["2"], personal_steps=True),
    ),
    "run: spill into a file": Mistake(
        f"spill={__file__!r} cannot be a folder: File exists",
        python=python(spill=__file__),
        command=command(f"spill={__file__}"),
    ),
    "run: rounds and steps": Mistake(
        "rounds=1 and steps=20 give the run two lengths: with H=2, 20 local steps are 10 rounds;"
        " leave one of them out",
        command=command("steps=20"),
    ),
    "run: a period that is not H": Mistake(
        "strategy.period=2 differs from H=5, by which rounds are counted: the run would take 8"
        " local steps and not steps=20; give H=2, or the number of rounds",
        command=lambda: build(compose("K=2 dataset=digits strategy.period=2 H=5 steps=20").cfg),
    ),
    "data: a DataLoader as clients": Mistake(
        "clients is a DataLoader, and each of its batches would be a client; pass a list, for each"
        " client a pair (x, y), a map-style Dataset of (x, y) or a list of (x, y)",
        python=python(clients=DataLoader(TensorDataset(X, Y), batch_size=10)),
    ),
    "model: a state_dict": Mistake(
        "model must be a torch.nn.Module, got an object of OrderedDict; make the model and give it"
        " these tensors by load_state_dict()",
        python=lambda: fedlocal.simulate(nn.Linear(4, 3).state_dict(), split(), local_sgd(0.1, 2)),
    ),
    "run: no runtime": Mistake(
        "runtime must be one of vmapped, loop, got None", python=python(runtime=None)
    ),
    "run: a runtime's class": Mistake(
        "runtime must be one of vmapped, loop, got <class 'fedlocal.runtime.vmapped.Vmapped'>;"
        " write Vmapped()",
        python=python(runtime=Vmapped),
    ),
    "run: a device's number": Mistake(
        "device must be a name such as 'cpu' or 'cuda:0', got 0", python=python(device=0)
    ),
    "run: spill=True": Mistake(
        "spill must be the path of a folder or None, got True", python=python(spill=True)
    ),
    "run: on_round without a row": Mistake(
        "on_round must be a function of one row of metrics, got …",
        python=python(on_round=lambda: 0),
    ),
    "run: no CUDA": Mistake(
        NO_CUDA,
        python=python(device="cuda"),
        command=command("device=cuda"),
    ),
}


def check(make: Callable[[], object], says: str, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        make()
    line = str(caught.value)
    assert type(caught.value) is kind and "\n" not in line
    # A line that ends in a list is known by its beginning.
    assert line.startswith(says[:-1]) if says.endswith("…") else line == says


def cases(door: str) -> list[Any]:
    """The mistakes that can be made through a door."""
    there = torch.cuda.is_available()
    needs = pytest.mark.skipif(there, reason="needs a machine without CUDA")
    names = [name for name, mistake in MISTAKES.items() if getattr(mistake, door) is not None]
    return [pytest.param(n, marks=needs if n == "run: no CUDA" else ()) for n in names]


@pytest.mark.parametrize("name", cases("python"))
def test_in_python(name):
    check(MISTAKES[name].python, MISTAKES[name].says, ValueError)


@pytest.mark.parametrize("name", cases("command"))
def test_on_the_command_line(name):
    check(MISTAKES[name].command, MISTAKES[name].says, ConfigError)
