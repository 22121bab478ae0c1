"""ImageNet and Tiny ImageNet in tiny: the published layouts, the middle of a picture, the cache."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from fedlocal.config.build import build
from fedlocal.config.errors import ConfigError
from fedlocal.data import imagenet, tiny_imagenet
from fedlocal.data.pictures import crop, read_pictures
from fedlocal.data.pixels import normalise, standardise
from fedlocal.objective.augment import CropFlip
from fedlocal.rounds.run_loop import initial_progress, run
from tests.strategies_in_conf import composed

WNIDS = ("n01443537", "n01629819", "n02056570")
RNG = np.random.default_rng(0)


def write(file, pixels=None, kind="PNG"):
    """A picture without loss, whatever its name ends in; libraries look inside."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8) if pixels is None else pixels
    Image.fromarray(pixels).save(file, kind)
    return pixels


@pytest.fixture
def tiny(tmp_path):
    """As Tiny ImageNet is published, and the pixels of train and of val in the order of files."""
    root = tmp_path / "tiny-imagenet-200"
    # Written in another order than that of the classes.
    train = {
        wnid: [write(root / f"train/{wnid}/images/{wnid}_{i}.JPEG") for i in range(4)]
        for wnid in reversed(WNIDS)
    }
    for wnid in WNIDS:
        (root / f"train/{wnid}/{wnid}_boxes.txt").write_text("n_0.JPEG\t0\t10\t63\t58\n")
    val = [write(root / f"val/images/val_{i}.JPEG") for i in range(3)]
    lines = [f"val_{i}.JPEG\t{WNIDS[2 - i]}\t0\t32\t44\t62\n" for i in range(3)]
    (root / "val/val_annotations.txt").write_text("".join(lines))
    write(root / "test/images/test_0.JPEG")
    return root, np.stack([p for wnid in WNIDS for p in train[wnid]]), np.stack(val)


def test_tiny_imagenet_as_published(tiny):
    root, train, val = tiny
    data = tiny_imagenet(root, size=8)
    assert data.x_train.dtype == data.x_test.dtype == torch.uint8
    assert (data.name, data.num_classes, data.input_shape) == ("tiny_imagenet", 3, (3, 8, 8))
    np.testing.assert_array_equal(data.x_train, train.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(data.x_test, val.transpose(0, 3, 1, 2))
    assert data.y_train.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
    assert data.y_test.tolist() == [2, 1, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_are_those_of_standardised_pictures(tiny, dtype):
    data = tiny_imagenet(tiny[0], size=8)
    found = normalise(data.x_train, data.pixels.scale(torch.zeros(1, dtype=dtype)))
    expected = standardise(data.x_train.numpy(), data.pixels.mean, data.pixels.std)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 if dtype != torch.float32 else 0)


def test_validation_sorted_by_class_is_read_too(tiny):
    root, _, val = tiny
    (root / "val/val_annotations.txt").unlink()
    for i, pixels in enumerate(val):
        write(root / f"val/{WNIDS[2 - i]}/images/val_{i}.JPEG", pixels)
    (root / "val/images/val_0.JPEG").unlink()
    for i in (1, 2):
        (root / f"val/images/val_{i}.JPEG").unlink()
    data = tiny_imagenet(root, size=8)
    assert data.y_test.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(data.x_test, val[::-1].transpose(0, 3, 1, 2))


def test_imagenet_keeps_the_middle(tmp_path):
    wide = np.zeros((4, 12, 3), dtype=np.uint8)
    wide[:, :4], wide[:, 4:8], wide[:, 8:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    for part in ("train", "val"):
        write(tmp_path / f"{part}/{WNIDS[0]}/a.JPEG", wide)
        write(tmp_path / f"{part}/{WNIDS[1]}/a.JPEG", wide.transpose(1, 0, 2))
    grey = np.full((20, 20), 77, dtype=np.uint8)
    write(tmp_path / f"train/{WNIDS[1]}/b.jpg", grey, "JPEG")
    data = imagenet(tmp_path, size=4)
    green = torch.tensor([0, 255, 0], dtype=torch.uint8).view(3, 1, 1).expand(2, 3, 4, 4)
    assert torch.equal(data.x_train[:2], green) and torch.equal(data.x_test, green)
    assert (data.x_train[2].int() - 77).abs().max() <= 1
    assert data.y_train.tolist() == [0, 1, 1]


def test_the_cache_is_of_these_files_at_this_size(tiny, tmp_path):
    root, train, _ = tiny
    cache = tmp_path / "cache"
    first = tiny_imagenet(root, 8, str(cache))
    assert len(list(cache.iterdir())) == 2  # train and val, and nothing half done
    file = root / f"train/{WNIDS[0]}/images/{WNIDS[0]}_0.JPEG"
    stat = file.stat()
    file.write_bytes(bytes(stat.st_size))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # not to be told apart, so not read
    again = tiny_imagenet(root, 8, str(cache))
    for found in (first, again):
        np.testing.assert_array_equal(found.x_train, train.transpose(0, 3, 1, 2))
    # A run may not change what the next one reads.
    again.x_train[:] = 0
    assert torch.equal(tiny_imagenet(root, 8, str(cache)).x_train, first.x_train)
    with pytest.raises(ValueError, match=r"tiny_imagenet: cannot read .*_0\.JPEG"):
        tiny_imagenet(root, 6, str(cache))
    write(file, train[1])
    assert torch.equal(tiny_imagenet(root, 8, str(cache)).x_train[0], first.x_train[1])
    assert not [path for path in cache.iterdir() if path.suffix != ".npy"]


def test_a_run_on_bytes_is_the_run_on_numbers(tiny):
    """The dataset imagefolder keeps the same pictures as float32."""
    root, _, val = tiny
    for i, pixels in enumerate(val):
        write(root / f"folder/test/{WNIDS[2 - i]}/val_{i}.png", pixels)
    (root / "folder/train").symlink_to(root / "train")
    options = ("model=resnet20_gn", "K=2", "H=2", "rounds=2", "partition=iid", "batch_size=3")
    results = []
    for dataset in (
        ("dataset=tiny_imagenet", f"dataset.root={root}", "dataset.size=8"),
        ("dataset=imagefolder", f"dataset.path={root / 'folder'}", "dataset.size=8"),
    ):
        sim = build(composed(*dataset, *options, "augment=crop_flip")).simulation
        assert sim.objective.augment == CropFlip()
        state, rows, _ = run(sim, initial_progress(sim))
        results.append((state.server.anchor, [row["train_loss"] for row in rows], rows[-1]))
    (bytes_end, bytes_losses, last), (end, losses, other) = results
    assert torch.equal(bytes_end, end)
    # The mean over the test set runs in another order of examples.
    assert bytes_losses == losses and last["test_loss"] == pytest.approx(other["test_loss"], 1e-6)


def test_refusals(tiny, tmp_path, monkeypatch):
    root, *_ = tiny
    with pytest.raises(
        FileNotFoundError, match=r"imagenet: no folder .*/none/train; it should hold"
    ):
        imagenet(tmp_path / "none")
    with pytest.raises(ConfigError, match=r"tiny_imagenet: size must be >= 1, got 0"):
        build(composed("dataset=tiny_imagenet", f"dataset.root={root}", "dataset.size=0"))
    annotations = root / "val/val_annotations.txt"
    for text, message in (
        ("val_0.JPEG n01443537\n", r"must have a file and a WordNet id, got \['val_0"),
        ("", r"must have a file and a WordNet id, got None"),
        ("val_9.JPEG\tn01443537\t0\n", r"no file .*/val/images/val_9.JPEG"),
        ("val_0.JPEG\tn00000001\t0\n", r"val_0.JPEG is of the class n00000001, which train/"),
    ):
        annotations.write_text(text)
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            tiny_imagenet(root)
    annotations.unlink()
    with pytest.raises(ValueError, match=r"is of the class images, which train/ does not have"):
        tiny_imagenet(root)
    for file in (root / "val/images").iterdir():
        file.rename(root / "val" / file.name)
    with pytest.raises(FileNotFoundError, match=r"has the subfolders \['images'\]. Sort"):
        imagenet(root)

    def full(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(np, "empty", full)
    with pytest.raises(ValueError, match=r"1000000 pictures of 224 x 224 pixels take 151 GB"):
        read_pictures("imagenet", [root] * 1_000_000, 224, crop)
