"""Handwritten digits that come inside scikit-learn: real data without a download."""

import numpy as np
import torch

from fedlocal.data.dataset import Dataset
from fedlocal.data.split import stratified_split

# Of all pixels of all 1,797 images, after dividing by 16. Not per pixel: some are always 0.
_MEAN, _STD = 0.3053, 0.3760


def digits(test_fraction: float = 0.2, seed: int = 0, flat: bool = True) -> Dataset:
    """Optical recognition of handwritten digits: 1,797 images of 8x8 pixels, 10 classes.

    Args:
        test_fraction: Share of each class to test on; 0.2 leaves 1,437 to train on.
        seed: Of the split. Keep it fixed to compare runs on the same test set.
        flat: True gives [n, 64] for `mlp` and `logistic`; False [n, 1, 8, 8] for `cnn`.

    Returns:
        float32 inputs, value / 16 standardised by the mean and deviation of all pixels.

    Raises:
        ValueError: test_fraction out of [0, 1).

    Source: Alpaydin and Kaynak. 1998. https://doi.org/10.24432/C50P49
    """
    from sklearn.datasets import load_digits

    values, labels = load_digits(return_X_y=True)
    labels = np.asarray(labels, dtype=np.int64)
    x = (torch.from_numpy(np.asarray(values, dtype=np.float32)) / 16.0 - _MEAN) / _STD
    x = x if flat else x.view(-1, 1, 8, 8)
    y = torch.from_numpy(labels)
    train, test = map(torch.from_numpy, stratified_split(labels, test_fraction, seed))
    return Dataset("digits", x[train], y[train], x[test], y[test], num_classes=10)
