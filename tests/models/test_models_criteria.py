"""Losses with settings: against torch's, as means over examples, under vmap; what they refuse."""

import pytest
import torch
from torch import nn
from torch.func import grad, vmap
from torch.nn import functional as F

import fedlocal
from fedlocal.objective.losses import (
    MAE,
    MSE,
    NLL,
    BinaryCrossEntropy,
    CrossEntropy,
    Huber,
    cross_entropy,
)
from fedlocal.runtime import Loop, Vmapped
from strategies import local_sgd

N, C = 12, 4


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def labels(*shape, classes=C):
    return torch.randint(0, classes, shape, generator=torch.Generator().manual_seed(1))


Z, Y = 2 * numbers(N, C), labels(N)
W = [0.5, 1.0, 2.0, 0.0]
OUT, TARGET = numbers(N, 3), numbers(N, 3, seed=1)
AGAINST_TORCH = [
    (MSE(), OUT, TARGET, F.mse_loss(OUT, TARGET)),
    (MAE(), OUT, TARGET, F.l1_loss(OUT, TARGET)),
    (Huber(0.3), OUT, TARGET, F.huber_loss(OUT, TARGET, delta=0.3)),
    (CrossEntropy(), Z, Y, F.cross_entropy(Z, Y)),
    (
        CrossEntropy(label_smoothing=0.2),
        Z,
        Y,
        F.cross_entropy(Z, Y, label_smoothing=0.2),
    ),
    (CrossEntropy(W), Z, Y, F.cross_entropy(Z, Y, torch.tensor(W).double())),
    (
        CrossEntropy(W, label_smoothing=0.3),
        Z,
        Y,
        F.cross_entropy(Z, Y, torch.tensor(W).double(), label_smoothing=0.3),
    ),
    (
        CrossEntropy(ignore_index=2),
        Z,
        Y,
        F.cross_entropy(Z, Y, ignore_index=2),
    ),
    (NLL(), Z.log_softmax(1), Y, F.cross_entropy(Z, Y)),
    (
        BinaryCrossEntropy(),
        OUT,
        TARGET.sigmoid(),
        F.binary_cross_entropy_with_logits(OUT, TARGET.sigmoid()),
    ),
    (
        BinaryCrossEntropy([1.0, 2.0, 3.0]),
        OUT,
        TARGET.sigmoid(),
        F.binary_cross_entropy_with_logits(
            OUT, TARGET.sigmoid(), pos_weight=torch.tensor([1.0, 2.0, 3.0]).double()
        ),
    ),
    (
        BinaryCrossEntropy(2.5),
        OUT[:, :1],
        labels(N, classes=2),
        F.binary_cross_entropy_with_logits(
            OUT[:, 0], labels(N, classes=2).double(), pos_weight=torch.tensor(2.5).double()
        ),
    ),
]
IDS = [repr(loss) for loss, *_ in AGAINST_TORCH]


@pytest.mark.parametrize("loss, output, target, expected", AGAINST_TORCH, ids=IDS)
def test_value(loss, output, target, expected):
    value = loss(output, target)
    assert value.shape == () and value.dtype == torch.float64
    assert value.item() == pytest.approx(expected.item(), rel=1e-13)
    # Settings in double precision do not make a run of single precision double.
    single = target.float() if target.is_floating_point() else target
    assert loss(output.float(), single).dtype == torch.float32


@pytest.mark.parametrize("loss, output, target, expected", AGAINST_TORCH, ids=IDS)
def test_nested_vmap_equals_looping(loss, output, target, expected):
    z, y = (t.reshape(2, 2, 3, *t.shape[1:]) for t in (output, target))
    both, slopes = vmap(vmap(loss))(z, y), vmap(vmap(grad(loss)))(z, y)
    for i in range(2):
        for j in range(2):
            assert both[i, j].item() == pytest.approx(loss(z[i, j], y[i, j]).item(), rel=1e-13)
    assert torch.allclose(slopes[1, 1], grad(loss)(z[1, 1], y[1, 1]), rtol=0, atol=1e-14)


def test_sequences_in_either_layout():
    z, y = numbers(N, 5, C), labels(N, 5)
    expected = F.cross_entropy(z.movedim(-1, 1), y).item()
    for loss in (CrossEntropy(), CrossEntropy(class_dim=-1), cross_entropy):
        assert loss(z, y).item() == pytest.approx(expected, rel=1e-13)
    for loss in (CrossEntropy(), CrossEntropy(class_dim=1)):
        assert loss(z.movedim(-1, 1), y).item() == pytest.approx(expected, rel=1e-13)
    pictures = numbers(N, C, 3, 2)
    assert CrossEntropy()(pictures, labels(N, 3, 2)).shape == ()
    with pytest.raises(ValueError) as caught:
        CrossEntropy()(numbers(N, C, C), labels(N, C))
    assert str(caught.value) == (
        "loss CrossEntropy cannot tell which dimension of output [12, 4, 4] has the classes; say"
        " class_dim=-1 (the last) or class_dim=1"
    )
    square = numbers(N, C, C)
    for dim in (-1, 1):
        expected = F.cross_entropy(square.movedim(dim, 1), labels(N, C))
        assert torch.allclose(CrossEntropy(class_dim=dim)(square, labels(N, C)), expected)


def test_padding_counts_for_nothing():
    z, y = numbers(2, 5, C), labels(2, 5)
    y[0, 3:], y[1, 1:] = -1, -1
    counted = torch.cat([z[0, :3], z[1, :1]]), torch.cat([y[0, :3], y[1, :1]])
    loss = CrossEntropy(ignore_index=-1)
    assert loss(z, y).item() == pytest.approx(F.cross_entropy(*counted).item(), rel=1e-13)
    # Where nothing is left a client's step is no step, and not NaN.
    assert loss(z, torch.full_like(y, -1)).item() == 0


def test_balanced():
    y = torch.tensor([0, 0, 0, 1, 1, 3])
    loss = CrossEntropy("balanced")
    with pytest.raises(ValueError, match="no training labels yet"):
        loss(Z[:6], y)
    loss.fit(Z[:6], y)
    # 6 examples, 3 classes that occur.
    assert loss.weights.tolist() == pytest.approx([6 / 9, 6 / 6, 1.0, 6 / 3])
    assert loss.weights[y].mean().item() == pytest.approx(1.0)
    expected = F.cross_entropy(Z[:6], y, loss.weights)
    assert loss(Z[:6], y).item() == pytest.approx(expected.item(), rel=1e-13)


SHAPES = [
    (MSE(), (4, 1), (4,), "needs equal shapes, got output [4, 1] and target [4]; give the target a"
     " last dimension of 1: y.unsqueeze(-1)"),
    (MAE(), (4,), (4, 1), "needs equal shapes, got output [4] and target [4, 1]; give both one"
     " shape: output.unsqueeze(-1) or y.squeeze(-1)"),
    (Huber(), (4, 2), (4, 3), "needs equal shapes, got output [4, 2] and target [4, 3]; the model"
     " must give a number for each of the target's"),
    (BinaryCrossEntropy(), (4, 1), (4,), "needs equal shapes, got output [4, 1] and target [4];"
     " give the target a last dimension of 1: y.unsqueeze(-1)"),
    (CrossEntropy(), (4, 3), (4, 3), "needs class indices of the output's shape without its"
     " classes, got output [4, 3] and target torch.float32 [4, 3]; of one-hot rows pass the index:"
     " y.argmax(-1); use loss=mse or loss=bce for targets that are numbers"),
]  # fmt: skip


@pytest.mark.parametrize("loss, output, target, says", SHAPES)
def test_shapes_that_would_broadcast(loss, output, target, says):
    with pytest.raises(ValueError) as caught:
        loss(torch.zeros(output), torch.zeros(target))
    assert str(caught.value) == f"loss {type(loss).__name__} {says}"


@pytest.mark.parametrize(
    "output, target", [((4, 1), (4, 1)), ((2, 3, 4, 4), (2, 4, 4)), ((4, 3), (1,))]
)
def test_the_plain_cross_entropy_takes_no_other_shapes(output, target):
    with pytest.raises(ValueError, match="cross_entropy needs class indices"):
        cross_entropy(torch.zeros(output), torch.zeros(target, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"got torch\.float32"):
        cross_entropy(torch.zeros(4, 3), torch.zeros(4))


FITS = [
    (MSE(), Z, Y, "needs numbers as targets, got class indices (torch.int64); use"
     " loss=cross_entropy, or give the targets as floating-point numbers"),
    (CrossEntropy(), Z, Y + 1, "has targets 1 to 4, and the model's 4 outputs are for 0 to 3;"
     " subtract 1"),
    (CrossEntropy(), Z, Y + 2, "has targets 2 to 5, and the model's 4 outputs are for 0 to 3; give"
     " the model more outputs, or ignore_index"),
    (CrossEntropy(), Z[:, :1], 0 * Y, "needs a score for each of two or more classes, and the model"
     " has one output; use loss=bce, which takes one logit"),
    (CrossEntropy([1.0, 2.0]), Z, Y, "has 2 class_weights, and the model has 4 outputs; give one"
     " for each, or balanced"),
    (NLL(), Z, Y, "needs log-probabilities, and the exponentials of the model's outputs do not sum"
     " to 1; end the model with log_softmax, or use loss=cross_entropy for logits"),
    (BinaryCrossEntropy(), OUT, OUT + 9, "needs targets in [0, 1], got"),
    (BinaryCrossEntropy([1.0, 2.0]), OUT, OUT.sigmoid(), "has 2 pos_weight for 3 columns; give a"
     " number, or one for each"),
]  # fmt: skip


@pytest.mark.parametrize("loss, output, targets, says", FITS, ids=[repr(loss) for loss, *_ in FITS])
def test_data_that_do_not_suit(loss, output, targets, says):
    with pytest.raises(ValueError) as caught:
        loss.fit(output, targets)
    assert str(caught.value).startswith(f"loss {type(loss).__name__} {says}")


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda: CrossEntropy("balancd"), "class_weights must be a list, balanced or null"),
        (lambda: CrossEntropy([1.0, -1.0]), "class_weights must be finite, not negative and not"),
        (lambda: CrossEntropy(label_smoothing=1), r"label_smoothing must be in \[0, 1\), got 1"),
        (lambda: CrossEntropy(class_dim=2), "class_dim must be 1, -1 or null"),
        (lambda: Huber(0), "delta must be positive, got 0"),
        (lambda: BinaryCrossEntropy(-1), "pos_weight must be finite and not negative, got -1"),
    ],
)
def test_settings_out_of_range(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def train(loss, runtime, program="direct"):
    x, y = numbers(23, 5), labels(23)
    # Unequal clients, so that batches are padded and masked.
    clients = [(x[:3], y[:3]), (x[3:9], y[3:9]), (x[9:], y[9:])]
    torch.manual_seed(0)
    return fedlocal.simulate(
        nn.Linear(5, C).double(),
        clients,
        local_sgd(lr=0.3, period=4),
        rounds=3,
        batch_size=5,
        loss=loss,
        runtime=Loop() if runtime == "loop" else Vmapped(program=program),
        device="cpu",
    ).params


@pytest.mark.parametrize("program", ["direct", "recorded"])
def test_weights_in_padded_batches_are_those_of_a_loop(program):
    loss = CrossEntropy("balanced", label_smoothing=0.1, ignore_index=2)
    one, other = train(loss, "loop"), train(loss, "vmapped", program)
    assert torch.allclose(one, other, rtol=0, atol=1e-12)
    # The caller's loss is left as it was.
    assert loss.weights is None
    assert not torch.allclose(one, train(cross_entropy, "loop"))


def test_a_weighted_mean_of_torchs_is_ours():
    ours = train(CrossEntropy(W), "vmapped")
    torchs = train(nn.CrossEntropyLoss(torch.tensor(W).double()), "vmapped")
    assert torch.allclose(ours, torchs, rtol=0, atol=1e-14)
