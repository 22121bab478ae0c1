"""A file as users write it, with one mistake in each of its models, losses, data, partitions."""

import random

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

N, CLASSES = 40, 3


def features() -> Tensor:
    return torch.linspace(-1, 1, 4 * N).reshape(N, 4)


def labels() -> Tensor:
    return torch.arange(N) % CLASSES


def data():
    return features(), labels(), features()[:6], labels()[:6]


def one_hot():
    return features(), torch.eye(CLASSES, dtype=torch.int64)[labels()]


def missing_values():
    x = features()
    x[7, 2] = torch.nan
    return x, labels()


def short():
    return features(), labels()[:-1]


def named():
    return {"x_train": features(), "y_train": labels()}


def names():
    return features(), np.array(["cat", "dog", "owl"])[labels()]


def pictures():
    return features().mul(9).byte().reshape(N, 1, 2, 2), labels()


def batched():
    return DataLoader(TensorDataset(features(), labels()), batch_size=4)


def failing(*_):
    return {}["x"]


def failing_partition(labels, num_clients, seed):
    return failing()


LINE = failing.__code__.co_firstlineno + 1


def negative():
    return features(), labels() - 1


def masked():
    return np.ma.masked_greater(features().numpy(), 0.5), labels().numpy()


def unseen(late=20):
    """A label that no training example has, in one test example."""
    tested = labels()
    tested[late] = 5
    return features(), labels(), features(), tested


def unseen_first():
    return unseen(late=0)


class Net(nn.Sequential):
    def __init__(self, input_shape, num_outputs, width=5):
        super().__init__(nn.Linear(*input_shape, width), nn.Tanh(), nn.Linear(width, num_outputs))


class Normalised(nn.Sequential):
    def __init__(self, input_shape, num_outputs):
        super().__init__(nn.Linear(*input_shape, 5), nn.BatchNorm1d(5), nn.Linear(5, num_outputs))


class Lazy(nn.Sequential):
    def __init__(self, input_shape, num_outputs):
        super().__init__(nn.LazyLinear(5), nn.Linear(5, num_outputs))


class Frozen(Net):
    def __init__(self, input_shape, num_outputs):
        super().__init__(input_shape, num_outputs)
        self.requires_grad_(False)


class Several(Net):
    def forward(self, x):
        return super().forward(x), x


class Named(Net):
    def forward(self, x):
        return {"logits": super().forward(x)}


class Draws(Net):
    def forward(self, x):
        return super().forward(x) * random.random()


class Drawing(nn.Module):
    """Multiplies its inputs by a sample of a distribution."""

    def __init__(self, distribution):
        super().__init__()
        self.distribution, self.last = distribution, nn.Linear(4, 3)

    def forward(self, x):
        return self.last(x * self.distribution().sample())


class Sparse(nn.Module):
    """Reads rows of a parameter with a sparse gradient."""

    def __init__(self):
        super().__init__()
        self.rows, self.last = nn.Parameter(torch.randn(3, 4)), nn.Linear(4, 3)

    def forward(self, x):
        return self.last(F.embedding(x, self.rows, sparse=True).mean(1))


class Failing(Net):
    def __init__(self, input_shape, num_outputs):
        super().__init__(input_shape, failing())


class Keeps(Net):
    """Keeps its output."""

    def forward(self, x):
        self.last = super().forward(x)
        return self.last


class Counts(Net):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x) / self.calls


class Averaged(Net):
    def forward(self, x):
        return super().forward(x).mean(0)


class Squeezed(Net):
    def forward(self, x):
        return super().forward(x).squeeze()


class Three(Net):
    """Has three outputs, however many are asked for."""

    def __init__(self, input_shape, num_outputs):
        super().__init__(input_shape, 3)


def Wrapped(input_shape, num_outputs):
    return nn.DataParallel(Net(input_shape, num_outputs))


def Hooked(input_shape, num_outputs):
    model = nn.Linear(*input_shape, num_outputs)
    model.weight.register_hook(lambda grad: grad * 0)
    return model


class Tied(nn.Module):
    """Two layers with one matrix."""

    def __init__(self, input_shape, num_outputs):
        super().__init__()
        self.into, self.out = nn.Linear(4, 4), nn.Linear(4, 4)
        self.out.weight = self.into.weight
        self.last = nn.Linear(4, num_outputs)

    def forward(self, x):
        return self.last(self.out(torch.tanh(self.into(x))))


class Rotary(nn.Module):
    """Turns pairs of inputs by angles in a complex buffer, as rotary embeddings do."""

    def __init__(self, input_shape, num_outputs):
        super().__init__()
        self.register_buffer("turn", torch.polar(torch.ones(2), torch.tensor([0.3, 1.1])))
        self.last = nn.Linear(*input_shape, num_outputs)

    def forward(self, x):
        pairs = torch.view_as_complex(x.reshape(-1, 2, 2))
        return self.last(torch.view_as_real(pairs * self.turn).flatten(1))


class Turned(Rotary):
    """Trains the angles."""

    def __init__(self, input_shape, num_outputs):
        super().__init__(input_shape, num_outputs)
        turn = self.turn
        del self.turn
        self.turn = nn.Parameter(turn)


class Turning(Rotary):
    """Changes the angles."""

    def forward(self, x):
        out = super().forward(x)
        if self.training:
            self.turn.mul_(self.turn)
        return out


class WithoutArguments(nn.Linear):
    def __init__(self):
        super().__init__(4, 3)


def no_model(input_shape, num_outputs):
    return None


class Learnt(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, output, target):
        return self.scale * F.cross_entropy(output, target)


def each(output, target):
    return F.cross_entropy(output, target, reduction="none")


def number(output, target):
    return F.cross_entropy(output, target).item()


def detached(output, target):
    return (output.argmax(1) == target).double().mean()


def steep(output, target):
    """Adds a penalty on a gradient by the output."""
    (slope,) = torch.autograd.grad(output.square().sum(), output, create_graph=True)
    return F.cross_entropy(output, target) + slope.square().mean()


def turned(output, target):
    return F.cross_entropy(output, target) * (1 + 1j)


class Warmed(nn.Module):
    """Counts its calls in a buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, output, target):
        self.calls += 1
        return F.cross_entropy(output, target) * self.calls


CALLS = [0]


def warm(output, target):
    """Counts its calls in a global."""
    CALLS[0] += 1
    return F.cross_entropy(output, target) * CALLS[0]


def by_hand(output, target):
    return F.cross_entropy(output, target)


def one_tensor(output):
    return output.mean()


def nothing():
    """Forgets to return."""


def owners(labels, num_clients, seed):
    return [i % num_clients for i in range(len(labels))]


def beyond(labels, num_clients, seed):
    return np.array_split(np.arange(len(labels)) + 1, num_clients)


def repeated(labels, num_clients, seed):
    return [np.zeros(3, int)] * num_clients


def masks(labels, num_clients, seed):
    return [np.arange(len(labels)) % num_clients == k for k in range(num_clients)]


def too_few(labels, num_clients, seed):
    return [np.arange(len(labels))]


def alone(labels, num_clients, seed):
    """Client 1 holds one example."""
    return [np.arange(1, len(labels)), np.array([0])]


def one_argument(labels):
    return [labels]
