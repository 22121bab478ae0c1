"""extract_features: a file that npz reads back, from a tiny backbone."""

import pytest
import torch
from torch import nn

from fedlocal.data import Dataset, extract_features, npz
from fedlocal.data.pixels import Pixels


def images(**changes):
    generator = torch.Generator().manual_seed(0)
    values = {
        "name": "toy",
        "x_train": torch.randn(7, 3, 4, 4, generator=generator),
        "y_train": torch.tensor([0, 1, 2, 0, 1, 2, 0]),
        "x_test": torch.randn(3, 3, 4, 4, generator=generator),
        "y_test": torch.tensor([2, 1, 0]),
        "num_classes": 3,
        "client_ids": [0, 0, 0, 1, 1, 4, 4],
    }
    return Dataset(**(values | changes))


def backbone():
    # A network with running statistics may make features, though it cannot be trained here.
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU())


@pytest.mark.parametrize("batch_size", [2, 100])
def test_round_trip(tmp_path, batch_size):
    data, network = images(), backbone()
    statistics = network[1].running_mean.clone()
    path = extract_features(network, data, tmp_path / "features.npz", batch_size)
    assert network.training
    assert torch.equal(network[1].running_mean, statistics)
    back = npz(path)
    with torch.no_grad():
        expected = network.eval()(data.x_train).flatten(1)
    assert torch.allclose(back.x_train, expected, rtol=0, atol=1e-6)
    assert back.input_shape == (5 * 2 * 2,)
    assert torch.equal(back.y_train, data.y_train)
    assert torch.equal(back.y_test, data.y_test)
    assert back.x_test.shape == (3, 20)
    assert back.client_ids.tolist() == data.client_ids.tolist()
    assert back.num_classes == 3


def test_regression_without_test_set_and_clients(tmp_path):
    data = images(
        y_train=torch.randn(7, 2), x_test=None, y_test=None, num_classes=None, client_ids=None
    )
    back = npz(extract_features(nn.Flatten(), data, tmp_path / "f.npz"))
    assert torch.equal(back.x_train, data.x_train.flatten(1))
    assert torch.equal(back.y_train, data.y_train)
    assert (back.x_test, back.client_ids) == (None, None)


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match=r"path must end in \.npz, got .*f\.pt"):
        extract_features(nn.Flatten(), images(), tmp_path / "f.pt")
    with pytest.raises(ValueError, match=r"7 examples gave \[336\], finite: True"):
        extract_features(nn.Flatten(0), images(), tmp_path / "f.npz")
    with torch.no_grad():
        (broken := nn.Conv2d(3, 1, 1)).bias.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"7 examples gave \[7, 1, 4, 4\], finite: False"):
        extract_features(broken, images(), tmp_path / "f.npz")
    assert not (tmp_path / "f.npz").exists()


def test_bytes_reach_the_backbone_as_the_numbers_they_mean(tmp_path):
    pixels = Pixels((0.5,) * 3, (0.25,) * 3)
    x = torch.randint(0, 256, (7, 3, 4, 4), dtype=torch.uint8)
    kept = images(x_train=x, x_test=x[:3], pixels=pixels)
    back = npz(extract_features(nn.Flatten(), kept, tmp_path / "f.npz"))
    assert torch.allclose(back.x_train, ((x / 255 - 0.5) / 0.25).flatten(1))
