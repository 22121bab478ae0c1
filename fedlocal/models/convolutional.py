"""Small convolutional networks: LeNet-5 and the CNN of the FedAvg paper."""

from collections.abc import Sequence

from torch import nn

from fedlocal.models.shapes import image_shape

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


def lenet5(input_shape: Sequence[int], num_outputs: int, activation: str = "relu") -> nn.Module:
    """Return LeNet-5 for 28x28 (padded to 32x32) or 32x32 images; 61,706 parameters on MNIST.

    Source: LeCun, Bottou, Bengio, Haffner. 1998. https://doi.org/10.1109/5.726791. Used by
    VRL-SGD, 2019. https://arxiv.org/abs/1912.12844. Differences from 1998: max pooling without
    weights, full connections between feature maps, and a linear last layer.

    Args:
        input_shape: (C, 28, 28) or (C, 32, 32).
        num_outputs: Number of classes.
        activation: "relu" or "tanh".

    Raises:
        ValueError: Another input shape or activation.
    """
    channels, height, width = image_shape(input_shape, "lenet5", at_least=28)
    if (height, width) not in ((28, 28), (32, 32)):
        raise ValueError(
            f"model lenet5 needs 28x28 or 32x32 images, got {height}x{width}; use model=cnn"
        )
    if activation not in _ACTIVATIONS:
        raise ValueError(f"model lenet5: activation must be relu or tanh, got {activation!r}")
    act = _ACTIVATIONS[activation]
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=(32 - height) // 2),
        act(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        act(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 5 * 5, 120),
        act(),
        nn.Linear(120, 84),
        act(),
        nn.Linear(84, num_outputs),
    )


def cnn(input_shape: Sequence[int], num_outputs: int) -> nn.Module:
    """Return the CNN of the FedAvg paper; 1,663,370 parameters on MNIST.

    Two 5x5 convolutions (32 and 64 channels, each with ReLU and 2x2 max pooling) and a dense
    layer of 512.
    Source: McMahan et al. 2017. https://arxiv.org/abs/1602.05629

    Args:
        input_shape: (C, H, W), at least 4x4 pixels.
        num_outputs: Number of classes.

    Raises:
        ValueError: Not an image, or too small an image.
    """
    channels, height, width = image_shape(input_shape, "cnn", at_least=4)
    return nn.Sequential(
        nn.Conv2d(channels, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * (height // 4) * (width // 4), 512),
        nn.ReLU(),
        nn.Linear(512, num_outputs),
    )
