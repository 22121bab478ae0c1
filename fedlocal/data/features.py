"""Features for transfer learning: what a frozen network makes of a dataset, as a file for `npz`."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedlocal.data.dataset import Dataset
from fedlocal.data.pixels import Pixels, normalise


def extract_features(
    backbone: nn.Module, data: Dataset, path: str | Path, batch_size: int = 256
) -> Path:
    """Run `backbone` once over `data` and write what `dataset=npz` reads.

    Clients then train a small model (`model=linear`, `mlp` or `logistic`) on the features, which
    costs a fraction of the network's time and bytes. With torchvision:

        network = torchvision.models.resnet18(weights="DEFAULT")
        network.fc = torch.nn.Identity()
        extract_features(network, fedlocal.data.imagefolder("pictures", size=224), "features.npz")

    `imagefolder` standardises as torchvision's weights expect; other sets come as near as their own
    means and deviations do.

    Args:
        backbone: Runs as it is, where its parameters are, in evaluation mode.
        data: Inputs for the backbone, bytes as the numbers they mean; targets, test set and client
            ids are kept.
        path: Of the file, ending in .npz; its folder exists.
        batch_size: Examples at once.

    Returns:
        The path. Features are the flattened outputs, [n, d].

    Raises:
        ValueError: Another ending than .npz, features that are no numbers or not one row an
            example, or NaN or inf among them.
    """
    path = Path(path).expanduser()
    if path.suffix != ".npz":
        raise ValueError(f"path must end in .npz, got {path}")
    x_train = _features(backbone, data.x_train, batch_size, data.pixels)
    arrays = {"x_train": x_train, "y_train": data.y_train.cpu().numpy()}
    if data.x_test is not None and data.y_test is not None:
        arrays["x_test"] = _features(backbone, data.x_test, batch_size, data.pixels)
        arrays["y_test"] = data.y_test.cpu().numpy()
    if data.client_ids is not None:
        arrays["client_ids"] = data.client_ids
    np.savez(path, **arrays)
    return path


@torch.no_grad()
def _features(
    backbone: nn.Module, x: Tensor, batch_size: int, pixels: Pixels | None
) -> NDArray[np.floating]:
    like = next(backbone.parameters(), x if x.is_floating_point() else torch.zeros(1))
    scale = None if pixels is None else pixels.scale(like)
    training = backbone.training
    backbone.eval()
    try:
        batches = (part.to(like.device) for part in x.split(batch_size))
        shown = (normalise(batch, scale) for batch in batches)
        parts = [backbone(batch).cpu() for batch in shown]
    finally:
        backbone.train(training)
    features = torch.cat(parts)
    if len(features) != len(x) or not torch.isfinite(features).all():
        raise ValueError(
            f"the backbone must give one finite row an example; {len(x)} examples gave"
            f" {list(features.shape)}, finite: {bool(torch.isfinite(features).all())}"
        )
    return features.flatten(1).numpy()
