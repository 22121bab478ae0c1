"""Trainable tensors and state outside of what a run carries: refused, or computed right."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fedlocal
from fedlocal.runtime import Vmapped
from strategies import local_sgd

torch.manual_seed(0)
X, Y = torch.randn(40, 6), torch.randint(0, 3, (40,))


def clients(sizes: tuple[int, ...] = (20, 20)) -> list[tuple[Tensor, Tensor]]:
    count = sum(sizes)
    return list(zip(X[:count].split(sizes), Y[:count].split(sizes), strict=True))


def refused(model: nn.Module, loss: Callable[..., Tensor] = F.cross_entropy) -> str:
    with pytest.raises(ValueError) as error:
        fedlocal.simulate(model, clients(), local_sgd(0.1, 3), 2, loss=loss, device="cpu")
    assert "\n" not in str(error.value)
    return str(error.value)


class Bound(nn.Module):
    """A layer that is reached by a function."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.a = nn.Linear(6, 3)
        functions = {"act": lambda x: self.a(x)}
        self.functions = functions if kind == "dict" else None
        self.act = functions["act"] if kind == "attribute" else None

    def forward(self, x: Tensor) -> Tensor:
        act: Any = self.act if self.functions is None else self.functions["act"]
        return act(x * 0.5)


@pytest.mark.parametrize("kind", ["attribute", "dict"])
def test_a_function_that_holds_the_module(kind):
    line = refused(Bound(kind))
    assert "a trainable tensor of shape [3, 6]" in line and "a lambda over self" in line


def test_a_forward_that_is_replaced():
    model = nn.Linear(6, 3)
    former = model.forward
    model.forward = lambda x: former(x * 0.5)
    assert "would keep its first value" in refused(model)


def test_a_hook_that_holds_the_model():
    model = nn.Linear(6, 3)
    model.scale = nn.Parameter(torch.ones(3))
    model.register_forward_hook(lambda module, args, output: output * model.scale)
    assert "a trainable tensor of shape [3]" in refused(model)


def test_a_penalty_in_the_loss():
    model = nn.Linear(6, 3)
    line = refused(
        model, lambda o, y: F.cross_entropy(o, y) + sum(p.abs().sum() for p in model.parameters())
    )
    assert "a penalty over model.parameters()" in line and "take l2=" in line


def test_a_loss_that_calls_the_model_again():
    model = nn.Linear(6, 3)
    assert "would keep its first value" in refused(
        model, lambda o, y: F.cross_entropy(o, y) + model(X[:1]).square().mean()
    )


def test_a_parameter_of_a_loss():
    temperature = nn.Parameter(torch.ones(()))
    line = refused(nn.Linear(6, 3), lambda o, y: F.cross_entropy(o * temperature, y))
    assert "a trainable tensor of shape []" in line


class Gradient(nn.Module):
    """A model that takes a gradient by its input, which makes a leaf in each call."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            at = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.a(at).sum(), at, create_graph=True)
        return self.a(x) + slope[:, :3]


class Inner(nn.Module):
    """A model that takes a gradient by its own parameter, in training and in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            weight = self.a.weight
            value = (x @ weight.T).square().mean()
            (slope,) = torch.autograd.grad(value, weight, create_graph=True)
        return F.linear(x, weight - 0.1 * slope, self.a.bias)


@pytest.mark.parametrize("kind", [Gradient, Inner])
def test_gradients_inside_forward(kind):
    torch.manual_seed(1)
    model = kind().double()
    data = [(x.double(), y) for x, y in clients()]
    run = fedlocal.simulate(
        model, data, local_sgd(0.1, 3), 2, None, runtime="loop", test=data[0], device="cpu"
    )
    moving = [nn.utils.parameters_to_vector(model.parameters()).detach().clone()] * len(data)
    for _ in range(2):
        for k, (x, y) in enumerate(data):
            local = kind().double()
            nn.utils.vector_to_parameters(moving[k].clone(), local.parameters())
            for _ in range(3):
                grads = torch.autograd.grad(F.cross_entropy(local(x), y), [*local.parameters()])
                with torch.no_grad():
                    for p, grad in zip(local.parameters(), grads, strict=True):
                        p -= 0.1 * grad
            moving[k] = nn.utils.parameters_to_vector(local.parameters()).detach().clone()
        moving = [torch.stack(moving).mean(0)] * len(data)
    assert (run.params - moving[0]).abs().max() < 1e-12
    kept = kind().double()
    nn.utils.vector_to_parameters(moving[0].clone(), kept.parameters())
    with torch.no_grad():
        wanted = float(F.cross_entropy(kept(data[0][0]), data[0][1]))
    assert abs(run.history[-1]["test_loss"] - wanted) < 1e-12


class Counting(nn.Module):
    def __init__(self, where: str) -> None:
        super().__init__()
        self.where, self.n = where, 0
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, output: Tensor, targets: Tensor) -> Tensor:
        if self.where == "buffer":
            self.seen += 1
            return F.cross_entropy(output, targets) + 0 * self.seen
        self.n += 1
        return F.cross_entropy(output, targets, label_smoothing=0.3 if self.n <= 40 else 0.0)


class Plain:
    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, output: Tensor, targets: Tensor) -> Tensor:
        self.calls.append(1)
        return F.cross_entropy(output, targets)

    def named(self, output: Tensor, targets: Tensor) -> Tensor:
        return self(output, targets)


def closure() -> Callable[[Tensor, Tensor], Tensor]:
    count = 0

    def loss(output: Tensor, targets: Tensor) -> Tensor:
        nonlocal count
        count += 1
        return F.cross_entropy(output, targets)

    return loss


TOTAL = 0


def by_global(output: Tensor, targets: Tensor) -> Tensor:
    global TOTAL
    TOTAL += 1
    return F.cross_entropy(output, targets)


@pytest.mark.parametrize(
    ("loss", "name"),
    [
        (Counting("attribute"), "n"),
        (Counting("buffer"), "seen"),
        (Plain(), "calls"),
        (Plain().named, "calls"),
        (closure(), "count"),
        (by_global, "TOTAL"),
    ],
)
def test_a_loss_that_counts_its_calls(loss, name):
    assert f"the loss changes its {name} at every call" in refused(nn.Linear(6, 3), loss)


class Previous(nn.Module):
    """A model whose output depends on that of the call before."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(6, 3)
        self.previous = torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        output = self.a(x) + 0.5 * self.previous
        self.previous = output.detach().mean()
        return output


def test_state_in_an_attribute_that_is_a_tensor():
    assert "forward changes the attribute previous of the model" in refused(Previous())


def test_an_operation_that_vmap_takes_one_by_one_is_never_padded():
    torch.manual_seed(0)
    data = []
    for size in (6, 6, 4, 4):
        targets = torch.randint(1, 6, (size, 3))
        targets[::2, 2] = 0
        data.append((torch.randn(size, 7, 4).double(), targets))

    def ctc(output: Tensor, targets: Tensor) -> Tensor:
        lengths = torch.full((len(output),), output.shape[1])
        scores = output.log_softmax(-1).transpose(0, 1)
        return F.ctc_loss(scores, targets, lengths, (targets > 0).sum(1))

    model = nn.Linear(4, 6).double()
    loop, vmapped = (
        fedlocal.simulate(
            model, data, local_sgd(0.1, 3), 3, loss=ctc, runtime=runtime, device="cpu"
        ).params
        for runtime in ("loop", Vmapped(program="recorded"))
    )
    assert (loop - vmapped).abs().max() < 1e-12


def test_a_parameter_without_entries():
    model = nn.Sequential(nn.Linear(6, 3), nn.Identity())
    model[1].register_parameter("none", nn.Parameter(torch.zeros(0, 3)))
    run = fedlocal.simulate(model, clients(), local_sgd(0.1, 3), 2, device="cpu")
    assert run.history[-1]["train_loss"] < run.history[0]["local_loss"]


def test_a_batch_that_fits_by_chance():
    data = [(x, x.sum(1)) for x, _ in clients((12, 12))]
    with pytest.raises(ValueError, match=r"the loss fails on output \[7, 8\] and targets \[7\]"):
        fedlocal.simulate(
            nn.Linear(6, 8), data, local_sgd(0.1, 3), 2, 8,
            loss=lambda o, y: ((o - y) ** 2).mean(), device="cpu",
        )  # fmt: skip
