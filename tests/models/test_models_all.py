"""Shapes, published sizes, and what every model must keep to run vectorised."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap

from fedlocal import models
from fedlocal.models import batch_norm_to_group_norm
from fedlocal.objective.losses import cross_entropy

CASES = {
    "logistic": (models.logistic, (64,), {}),
    "linear": (models.linear, (1, 8, 8), {}),
    "mlp": (models.mlp, (1, 8, 8), {"hidden": [12, 7]}),
    "lenet5": (models.lenet5, (1, 28, 28), {}),
    "lenet5_tanh": (models.lenet5, (3, 32, 32), {"activation": "tanh"}),
    "cnn": (models.cnn, (1, 8, 8), {}),
    "resnet20_gn": (models.resnet20_gn, (3, 9, 8), {}),
    "resnet18_gn": (models.resnet18_gn, (1, 8, 8), {}),
}
# Looping over ResNet-18 costs seconds in float64 and its blocks are those of ResNet-20.
STACKED = sorted(set(CASES) - {"resnet18_gn"})


def num_parameters(module):
    return sum(p.numel() for p in module.parameters())


def build(case, seed=0, num_outputs=10):
    function, shape, options = CASES[case]
    torch.manual_seed(seed)
    return function(shape, num_outputs, **options), shape


@pytest.mark.parametrize("case", CASES)
def test_shape_no_buffers_and_reproducible(case):
    module, shape = build(case, num_outputs=7)
    assert not list(module.buffers())
    module = module.double()
    x = torch.randn(3, *shape, dtype=torch.float64)
    before = x.clone()
    out = module(x)
    assert out.shape == (3, 7)
    assert out.dtype == torch.float64
    assert torch.equal(x, before)
    again, _ = build(case, num_outputs=7)
    for a, b in zip(module.parameters(), again.double().parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("case", STACKED)
def test_vmap_over_stacked_parameters_equals_looping(case):
    """Gradients of three different models, each on its own batch, in one call."""
    num_clients = 3
    clients = [build(case, seed)[0].double() for seed in range(num_clients)]
    module, shape = build(case)
    generator = torch.Generator().manual_seed(0)
    for client in clients:  # convex models start at zero: move them apart
        for p in client.parameters():
            p.data += 0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    x = torch.randn(num_clients, 4, *shape, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 10, (num_clients, 4), generator=generator)
    params, buffers = stack_module_state(clients)
    assert buffers == {}

    def loss(params, x, y):
        return cross_entropy(functional_call(module, params, (x,)), y)

    kept = {name: p.detach().clone() for name, p in params.items()}
    grads = vmap(grad(loss))(params, x, y)
    for i in range(num_clients):
        one = grad(loss)({name: p[i].detach() for name, p in params.items()}, x[i], y[i])
        for name, expected in one.items():
            assert (grads[name][i] - expected).abs().max() < 1e-12, name
    assert all(torch.equal(params[name], kept[name]) for name in kept)


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (lambda: models.lenet5((1, 28, 28), 10), 61_706),
        (lambda: models.lenet5((3, 32, 32), 10), 62_006),
        (lambda: models.cnn((1, 28, 28), 10), 1_663_370),
        (lambda: models.mlp((1, 28, 28), 10, hidden=[200, 200]), 199_210),  # McMahan's 2NN
        (lambda: models.resnet20_gn((3, 32, 32), 10), 269_722),  # He et al.: 0.27 M
        (lambda: models.resnet18_gn((3, 32, 32), 10), 11_173_962),
        (lambda: models.logistic((784,), 10), 7_850),
        (lambda: models.logistic((300,), 2), 301),
        (lambda: models.logistic((300,), 2, bias=False), 300),
        (lambda: models.linear((20,), 1, bias=False), 20),
        (lambda: models.mlp((64,), 10, hidden=[]), 650),
    ],
)
def test_parameter_counts(module, expected):
    assert num_parameters(module()) == expected


def test_convex_models_start_at_zero():
    for build_one in (models.logistic, models.linear):
        assert all((p == 0).all() for p in build_one((3,), 4).parameters())


def test_two_classes_are_one_logit():
    assert models.logistic((5,), 2)(torch.zeros(3, 5)).shape == (3, 1)
    assert models.mlp((5,), 2)(torch.zeros(3, 5)).shape == (3, 2)


@pytest.mark.parametrize("name", ["lenet5", "cnn", "resnet20_gn", "resnet18_gn"])
def test_flat_input_is_refused_with_the_way_out(name):
    with pytest.raises(ValueError) as error:
        getattr(models, name)((64,), 10)
    assert str(error.value) == (
        f"model {name} needs images [C, H, W] but an example has shape [64]; use model=mlp or "
        "model=logistic for flat data (digits is flat: dataset.flat=false gives images)"
    )


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: models.lenet5((1, 8, 8), 10), "lenet5 needs .* at least 28x28 pixels, got 8x8"),
        (lambda: models.lenet5((1, 64, 64), 10), "needs 28x28 or 32x32 images, got 64x64"),
        (lambda: models.lenet5((1, 28, 28), 10, "gelu"), "must be relu or tanh, got 'gelu'"),
        (lambda: models.cnn((1, 3, 9), 10), "cnn needs images of at least 4x4 pixels, got 3x9"),
        (lambda: models.mlp((4,), 2, hidden=[3, 0]), r"widths must be at least 1, got \[3, 0\]"),
        (lambda: models.resnet20_gn((3, 8, 8), 2, groups=0), "groups must be at least 1, got 0"),
        (lambda: batch_norm_to_group_norm(nn.Identity(), 0), "groups must be at least 1, got 0"),
    ],
)
def test_refusals(function, message):
    with pytest.raises(ValueError, match=message) as error:
        function()
    assert "\n" not in str(error.value)


def test_conversion_is_deep_and_keeps_scale_and_shift():
    inner = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, eps=1e-3))
    module = nn.Sequential(inner, nn.Flatten(), nn.Linear(6, 5), nn.BatchNorm1d(5, affine=False))
    with torch.no_grad():
        inner[1].weight.uniform_()
        inner[1].bias.uniform_()
    weight, bias = inner[1].weight.clone(), inner[1].bias.clone()
    converted = batch_norm_to_group_norm(module, groups=4)
    assert converted is module
    assert not list(module.buffers())
    norm = module[0][1]
    assert (norm.num_groups, norm.num_channels, norm.eps) == (2, 6, 1e-3)
    assert torch.equal(norm.weight, weight)
    assert torch.equal(norm.bias, bias)
    assert (module[3].num_groups, module[3].affine) == (1, False)
    assert module(torch.randn(2, 3, 3, 3)).shape == (2, 5)


def test_conversion_of_a_published_network():
    resnet18 = pytest.importorskip("torchvision").models.resnet18
    module = resnet18(num_classes=10)
    before = num_parameters(module)
    batch_norm_to_group_norm(module, groups=32)
    assert not list(module.buffers())
    assert num_parameters(module) == before
    assert sum(isinstance(m, nn.GroupNorm) for m in module.modules()) == 20
    assert {m.num_groups for m in module.modules() if isinstance(m, nn.GroupNorm)} == {32}


def test_a_lone_batch_norm_is_replaced():
    assert isinstance(batch_norm_to_group_norm(nn.BatchNorm2d(4)), nn.GroupNorm)
