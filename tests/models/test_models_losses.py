"""Losses against their formulas, and under nested vmap."""

import pytest
import torch
from torch.func import grad, vmap

from fedlocal.objective.losses import accuracy, cross_entropy, squared_error


def logits(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_cross_entropy_formula():
    z, y = 3 * logits(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    expected = -(z.softmax(1).log()[range(6), y]).mean()
    assert cross_entropy(z, y) == pytest.approx(expected.item(), abs=1e-14)


def test_one_logit_is_two_classes_with_the_first_at_zero():
    z, y = 3 * logits(6, 1), torch.tensor([0, 1, 1, 0, 1, 0])
    two = torch.cat([torch.zeros_like(z), z], dim=1)
    assert cross_entropy(z, y) == pytest.approx(cross_entropy(two, y).item(), abs=1e-14)
    assert accuracy(z, y) == accuracy(two, y)


@pytest.mark.parametrize("z", [-800.0, -30.0, 0.0, 30.0, 800.0])
@pytest.mark.parametrize("y", [0, 1])
def test_one_logit_is_exact_far_out(z, y):
    def loss(z):
        return cross_entropy(z.view(1, 1), torch.tensor([y]))

    x = torch.tensor(z, dtype=torch.float64)
    margin = (2 * y - 1) * x
    exact = torch.logaddexp(torch.zeros_like(x), -margin)
    assert loss(x).item() == pytest.approx(exact.item(), rel=1e-13, abs=1e-300)
    slope = torch.sigmoid(x) - y if abs(z) < 20 else -(2 * y - 1) * torch.sigmoid(-margin)
    assert grad(loss)(x).item() == pytest.approx(slope.item(), rel=1e-13, abs=1e-300)


def test_squared_error_formula():
    a, b = logits(5, 3), logits(5, 3).flip(0)
    expected = 0.5 * sum(float(((a[i] - b[i]) ** 2).sum()) for i in range(5)) / 5
    assert squared_error(a, b) == pytest.approx(expected, abs=1e-14)
    with pytest.raises(
        ValueError, match=r"output \[5, 1\] and target \[5\]; give the target a last"
    ):
        squared_error(torch.zeros(5, 1), torch.zeros(5))


def test_accuracy():
    z = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0]])
    assert accuracy(z, torch.tensor([0, 0])) == 0.5
    one = torch.tensor([[0.3], [-0.3], [0.0], [5.0]])
    assert accuracy(one, torch.tensor([1, 0, 0, 0])) == 0.75


@pytest.mark.parametrize("columns", [1, 2, 5])
@pytest.mark.parametrize("function", [cross_entropy, accuracy, squared_error])
def test_nested_vmap_equals_looping(function, columns):
    z = logits(3, 2, 4, columns)
    if function is squared_error:
        y = logits(4, 2, 3, columns).transpose(0, 2)
    else:
        y = torch.randint(0, max(columns, 2), (3, 2, 4))
    both = vmap(vmap(function))(z, y)
    for i in range(3):
        for j in range(2):
            assert both[i, j] == pytest.approx(function(z[i, j], y[i, j]).item(), abs=1e-14)
    if function is not accuracy:
        grads = vmap(vmap(grad(function)))(z, y)
        one = grad(function)(z[2, 1], y[2, 1])
        assert torch.allclose(grads[2, 1], one, rtol=0, atol=1e-14)
