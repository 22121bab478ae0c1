"""Right values where user code branches, writes, has attributes of its own, or lower precision."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedlocal.rounds.scoring import Evaluate
from tests.usercode import plain
from tests.usercode.test_layers import LOSS, RUNTIMES, Writes, clients, dense, trained


class Branching(nn.Linear):
    """Takes one of two ways, by the values of the batch."""

    ways: list[bool]

    def forward(self, x: Tensor) -> Tensor:
        up = bool(x.sum() > 20)
        self.ways.append(up)
        return super().forward(x if up else x.cos())


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_branch_on_values(runtime):
    Branching.ways = []
    pairs, model = clients(4), plain.seeded(lambda: Branching(4, 3))
    expected = plain.local_sgd(model, pairs, LOSS)
    assert {True, False} == set(Branching.ways)
    ours = trained(model, pairs, RUNTIMES[runtime])
    assert plain.largest(dict(ours.model.state_dict()), expected.tensors) <= 1e-12


def shifted(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output, (target + 1) % 3)


def shifting(output: Tensor, target: Tensor) -> Tensor:
    """The same, written into the targets: twice on the same ones it would be another loss."""
    return F.cross_entropy(output, target.add_(1).remainder_(3))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_neither_model_nor_loss_writes_into_the_data(runtime):
    pairs, test = clients(4), clients(4, sizes=(11,))[0]
    every = [t for pair in (*pairs, test) for t in pair]
    kept = [t.clone() for t in every]
    model = plain.seeded(Writes)
    expected = plain.local_sgd(model, [(x.clone(), y) for x, y in pairs], shifted)
    given = {"test": test, "evaluate": Evaluate(batch_size=4), "loss": shifting}
    ours = trained(model, pairs, RUNTIMES[runtime], **given)
    assert all(torch.equal(a, b) for a, b in zip(kept, every, strict=True))
    assert plain.largest(dict(ours.model.state_dict()), expected.tensors) <= 1e-12
    x, y = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    with torch.no_grad():
        losses = [float(shifted(ours.model(a.clone()), b)) for a, b in ((x, y), test)]
    last = ours.history[-1]
    assert [last["train_loss"], last["test_loss"]] == pytest.approx(losses, rel=1e-12)


class Regularised(nn.Linear):
    """Has an attribute that is its own affair."""

    l2 = 5.0


def test_l2_is_asked_for_and_never_found():
    model, pairs = plain.seeded(lambda: Regularised(4, 3)), clients(4)
    ours = trained(model, pairs, "loop")
    expected = plain.local_sgd(model, pairs, LOSS)
    assert plain.largest(dict(ours.model.state_dict()), expected.tensors) <= 1e-12

    def penalised(output: Tensor, target: Tensor) -> Tensor:
        return LOSS(output, target) + 0.15 * sum(p.square().sum() for p in here.parameters())

    # The same in plain PyTorch, one step at a time from the same point.
    here = plain.seeded(lambda: Regularised(4, 3))
    x, y = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    alone = trained(model, [(x, y)], "loop", rounds=1, batch_size=None, l2=0.3)
    for _ in range(plain.STEPS):
        grads = torch.autograd.grad(penalised(here(x), y), tuple(here.parameters()))
        with torch.no_grad():
            for p, g in zip(here.parameters(), grads, strict=True):
                p -= plain.RATE * g
    assert plain.largest(dict(alone.model.state_dict()), dict(here.state_dict())) <= 1e-12
    with torch.no_grad():
        without = float(LOSS(here(x), y))
    assert alone.history[-1]["train_loss"] == pytest.approx(without, rel=1e-12)


@pytest.mark.parametrize("runtime", ["direct", "recorded"])
def test_a_normalised_layer_in_bfloat16(runtime):
    """Run for many clients as for one, with errors of the size of bfloat16."""
    pairs = [(x.float(), y) for x, y in clients(4)]
    model = plain.seeded(lambda: dense(nn.LayerNorm(6))).float()
    full = trained(model, pairs, "loop").params
    loop = trained(model, pairs, "loop", precision="bf16").params
    many = trained(model, pairs, RUNTIMES[runtime], precision="bf16").params
    moved = float((full - torch.cat([p.detach().ravel() for p in model.parameters()])).norm())
    for low in (loop, many):
        assert 0 < float((low - full).norm()) < 0.05 * moved
