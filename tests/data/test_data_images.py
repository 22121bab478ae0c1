"""The image loaders, on MNIST itself and on tiny files in the published formats."""

import functools
import gzip
import hashlib
import pickle
import re
import struct
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from fedlocal.data import cifar10, cifar100, emnist, fashion_mnist, imagefolder, kmnist, mnist, svhn

SHARED = Path(__file__).parents[2].parent / "shared/data"
# A warning of a library on its first import is that library's affair, not the loaders'.
datasets = pytest.importorskip("torchvision").datasets


@pytest.mark.skipif(not (SHARED / "MNIST/raw").is_dir(), reason=f"needs MNIST in {SHARED}")
def test_mnist_from_gzip_without_writing():
    before = sorted(SHARED.rglob("*"))
    data = mnist(SHARED)
    assert sorted(SHARED.rglob("*")) == before
    assert data.x_train.shape == (60_000, 1, 28, 28)
    assert data.x_test.shape == (10_000, 1, 28, 28)
    train = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    test = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert torch.bincount(data.y_train).tolist() == train
    assert torch.bincount(data.y_test).tolist() == test
    assert abs(data.x_train.mean()) < 1e-3
    assert abs(data.x_train.std() - 1) < 1e-3


def idx(array, type_byte=8):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, type_byte, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_idx(folder, prefixes=("train", "t10k"), labels=range(10), zipped=False):
    """Write four idx files; returns the train images and labels."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    first = None
    for prefix in prefixes:
        y = np.array([*labels, *labels])
        x = rng.integers(0, 256, (len(y), 28, 28))
        first = first or (x, y)
        for kind, array in (("images-idx3", x), ("labels-idx1", y)):
            raw = idx(array)
            name = f"{prefix}-{kind}-ubyte{'.gz' if zipped else ''}"
            (folder / name).write_bytes(gzip.compress(raw) if zipped else raw)
    return first


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("loader", "folder", "mean", "std"),
    [
        (mnist, "MNIST", 0.1307, 0.3081),
        (fashion_mnist, "FashionMNIST", 0.2860, 0.3530),
        (kmnist, "KMNIST", 0.1918, 0.3483),
    ],
)
def test_idx_family(tmp_path, loader, folder, mean, std, zipped):
    x, y = write_idx(tmp_path / folder / "raw", zipped=zipped)
    data = loader(tmp_path)
    assert data.name == loader.__name__
    assert np.allclose(data.x_train[:, 0], (x / 255 - mean) / std, atol=1e-6)
    assert data.y_train.tolist() == y.tolist()
    assert data.num_classes == 10
    if not zipped:  # torchvision reads the same
        other = getattr(datasets, folder)(str(tmp_path))
        assert torch.equal(other.targets, data.y_train)


def test_emnist_stands_upright_and_letters_begin_at_zero(tmp_path):
    prefixes = ("emnist-letters-train", "emnist-letters-test")
    x, y = write_idx(tmp_path / "EMNIST/raw", prefixes, labels=range(1, 27), zipped=True)
    data = emnist(tmp_path, split="letters")
    upright = (x.swapaxes(1, 2) / 255 - 0.1751) / 0.3332
    assert np.allclose(data.x_train[:, 0], upright, atol=1e-6)
    assert data.y_train.tolist() == (y - 1).tolist()
    assert data.num_classes == 26
    with pytest.raises(FileNotFoundError, match="no emnist-balanced-train-images-idx3-ubyte"):
        emnist(tmp_path)
    with pytest.raises(ValueError, match="no split 'cyrillic'; one of byclass, bymerge"):
        emnist(tmp_path, split="cyrillic")


def test_mnist_missing_says_where_and_what(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        mnist(tmp_path)
    assert str(error.value) == (
        f"dataset mnist: no train-images-idx3-ubyte (or .gz) in {tmp_path}/MNIST/raw; put the "
        "four idx files there (gz or not), or set dataset.download=true"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx(np.zeros((3, 28, 28)))[:-1], r"promises \[3, 28, 28\] values but 2351 follow"),
        (idx(np.zeros((3, 28, 28)), type_byte=13), "not an idx file of unsigned bytes"),
        (b"<html>", r"not an idx file of unsigned bytes \(begins 3c68746d\)"),
        (
            idx(np.zeros((20, 28))),
            r"should hold images \[n, H, W\] and labels \[n\], got \[20, 28\]",
        ),
        (idx(np.zeros((3, 28, 28))), "x_train has 3 examples but y_train has 20"),
    ],
)
def test_mnist_damaged_files(tmp_path, content, message):
    write_idx(tmp_path / "MNIST/raw")
    (tmp_path / "MNIST/raw/train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        mnist(tmp_path)


def test_mnist_label_out_of_range(tmp_path):
    write_idx(tmp_path / "MNIST/raw", labels=range(11))
    with pytest.raises(ValueError, match=r"2 labels outside 0\.\.9, the first is 10 in row 10"):
        mnist(tmp_path)


class SilentHandler(SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


def test_mnist_download_is_torchvisions(tmp_path, monkeypatch):
    """torchvision's own code fetches, checks and unpacks; only the address is local."""
    _, y = write_idx(tmp_path / "site", zipped=True)
    files = sorted((tmp_path / "site").iterdir())
    resources = [(file.name, hashlib.md5(file.read_bytes()).hexdigest()) for file in files]
    monkeypatch.setattr(datasets.MNIST, "resources", resources)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = functools.partial(SilentHandler, directory=tmp_path / "site")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        monkeypatch.setattr(datasets.MNIST, "mirrors", [address])
        data = mnist(tmp_path / "root", download=True)
        server.shutdown()
    assert data.y_train.tolist() == y.tolist()
    assert (tmp_path / "root/MNIST/raw/train-images-idx3-ubyte").is_file()
    # Everything is there now: no second visit.
    monkeypatch.setattr(datasets.MNIST, "mirrors", [])
    assert torch.equal(mnist(tmp_path / "root", download=True).x_train, data.x_train)


def test_failed_download_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"file://{tmp_path}/nowhere/"])
    with pytest.raises(
        OSError, match=r"mnist: download into .* failed: Error downloading"
    ) as error:
        mnist(tmp_path, download=True)
    assert "\n" not in str(error.value)


def write_pickle(path, content, python_2=False):
    data = pickle.dumps(content, protocol=2)
    if python_2:  # Python 2 numpy stored a dtype's (align, copy) as 0, 1 and not False, True.
        old, new = rb"(X\x02\x00\x00\x00u1q.)\x89\x88", lambda match: match[1] + b"K\x00K\x01"
        data, count = re.subn(old, new, data, flags=re.DOTALL)
        assert count == 1
    path.write_bytes(data)
    return hashlib.md5(data).hexdigest()


def write_cifar(root, monkeypatch, cls, label_key, num_classes, python_2=False):
    """Write pickled batches as published; only the list of checksums is replaced."""
    folder = root / cls.base_folder
    folder.mkdir()
    rng = np.random.default_rng(1)
    lists = {"train_list": [], "test_list": []}
    for name, entries in lists.items():
        for file, _ in getattr(cls, name):
            pixels = rng.integers(0, 256, (4, 3072), dtype=np.uint8)
            labels = rng.integers(0, num_classes, 4).tolist()
            batch = {"data": pixels, label_key: labels, "batch_label": file}
            entries.append([file, write_pickle(folder / file, batch, python_2)])
        monkeypatch.setattr(cls, name, entries)
    meta = {cls.meta["key"]: [str(c) for c in range(num_classes)]}
    md5 = write_pickle(folder / cls.meta["filename"], meta)
    monkeypatch.setattr(cls, "meta", cls.meta | {"md5": md5})


def check_cifar(data, folder, first_batch, label_key):
    with open(folder / first_batch, "rb") as file:
        batch = pickle.load(file)
    first = data.x_train[: len(batch["data"])]
    mean, std = data_statistics(data.name)
    pixels = (first * std + mean) * 255
    assert np.allclose(pixels, batch["data"].reshape(-1, 3, 32, 32), atol=1e-3)
    assert data.y_train[: len(first)].tolist() == batch[label_key]


def data_statistics(name):
    values = {
        "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
        "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
        "svhn": ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
        "imagefolder": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    }
    return (torch.tensor(v).view(3, 1, 1) for v in values[name])


def test_cifar10(tmp_path, monkeypatch):
    write_cifar(tmp_path, monkeypatch, datasets.CIFAR10, "labels", 10)
    data = cifar10(tmp_path)
    assert data.x_train.shape == (20, 3, 32, 32)  # five batches
    assert data.x_test.shape == (4, 3, 32, 32)
    check_cifar(data, tmp_path / "cifar-10-batches-py", "data_batch_1", "labels")


def test_cifar_written_by_python_2(tmp_path, monkeypatch):
    """As the published files are; numpy 2.4.0 to 2.4.4 warn, which pytest makes an error."""
    write_cifar(tmp_path, monkeypatch, datasets.CIFAR10, "labels", 10, python_2=True)
    assert len(cifar10(tmp_path, download=True).x_train) == 20


def test_cifar100(tmp_path, monkeypatch):
    write_cifar(tmp_path, monkeypatch, datasets.CIFAR100, "fine_labels", 100)
    data = cifar100(tmp_path)
    assert data.num_classes == 100
    check_cifar(data, tmp_path / "cifar-100-python", "train", "fine_labels")


def test_cifar_missing_or_damaged(tmp_path):
    message = (
        f"dataset cifar10: {tmp_path} should hold the folder cifar-10-batches-py, complete and as "
        "published (torchvision checks them); or set dataset.download=true"
    )
    with pytest.raises(FileNotFoundError) as error:
        cifar10(tmp_path)
    assert str(error.value) == message


def test_svhn(tmp_path, monkeypatch):
    from scipy.io import savemat

    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (32, 32, 3, 5), dtype=np.uint8)
    labels = np.array([[1], [10], [9], [2], [10]], dtype=np.uint8)
    entries = {}
    for split in ("train", "test"):
        file = tmp_path / f"{split}_32x32.mat"
        savemat(file, {"X": pixels, "y": labels})
        entries[split] = ["", file.name, hashlib.md5(file.read_bytes()).hexdigest()]
    monkeypatch.setattr(datasets.SVHN, "split_list", entries)
    data = svhn(tmp_path)
    mean, std = data_statistics("svhn")
    assert np.allclose((data.x_train * std + mean) * 255, pixels.transpose(3, 2, 0, 1), atol=1e-3)
    assert data.y_train.tolist() == [1, 0, 9, 2, 0]
    with pytest.raises(FileNotFoundError, match=r"should hold train_32x32\.mat and test_32x32"):
        svhn(tmp_path / "elsewhere")


COLOURS = {"blue": (0, 0, 255), "red": (255, 0, 0)}


def write_pictures(folder, count, mode="RGB"):
    from PIL import Image

    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for index in range(count):
            picture = Image.new("RGB", (10, 6), colour).convert(mode)
            picture.save(folder / name / f"{index}.png")


def test_imagefolder_splits_by_itself(tmp_path):
    write_pictures(tmp_path, 5)
    data = imagefolder(tmp_path, size=4)
    assert data.x_train.shape == (8, 3, 4, 4)
    assert torch.bincount(data.y_test).tolist() == [1, 1]
    mean, std = data_statistics("imagefolder")
    pixels = (data.x_train * std + mean) * 255
    expected = torch.tensor(list(COLOURS.values()), dtype=torch.float32)[data.y_train]
    assert torch.allclose(pixels.mean((2, 3)), expected, atol=1e-3)


def test_imagefolder_with_its_own_test_set(tmp_path):
    write_pictures(tmp_path / "train", 3)
    write_pictures(tmp_path / "test", 1, mode="P")
    data = imagefolder(tmp_path, size=8)
    assert (len(data.x_train), len(data.x_test)) == (6, 2)
    assert torch.equal(data.x_test[0], data.x_train[0])


def test_imagefolder_refusals(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*/none; it should hold one subfolder"):
        imagefolder(tmp_path / "none")
    write_pictures(tmp_path / "train", 2)
    with pytest.raises(ValueError, match=r"has only one of train/ and test/"):
        imagefolder(tmp_path)
    (tmp_path / "test").mkdir()
    with pytest.raises(FileNotFoundError, match="Couldn't find any class folder"):
        imagefolder(tmp_path)
    (tmp_path / "test/green").mkdir()
    (tmp_path / "test/green/a.png").write_bytes((tmp_path / "train/red/0.png").read_bytes())
    with pytest.raises(ValueError, match=r"classes \['blue', 'red'\] in .* but \['green'\] in"):
        imagefolder(tmp_path)
    (tmp_path / "train/red/0.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"cannot read .*red/0\.png"):
        imagefolder(tmp_path)
