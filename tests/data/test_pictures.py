"""Pictures that RGB cannot hold, folders that are no classes, and what is said of the rest."""

import numpy as np
import pytest
import torch
from PIL import Image

from fedlocal.data import imagefolder, imagenet
from fedlocal.data.local import load_local

GREEN = (0, 255, 0)


def save(path, picture, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path):
    """Two classes of two green pictures each."""
    for name in ("ant", "bee"):
        for index in range(2):
            save(tmp_path / name / f"{index}.png", Image.new("RGB", (4, 4), GREEN))
    return tmp_path


def bytes_of(data):
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406),
                                                        (0.229, 0.224, 0.225)))  # fmt: skip
    return ((data * std + mean) * 255).round()


def grey(dtype):
    return Image.fromarray(np.full((4, 4), 40_000, dtype=dtype))


DEEP = {
    "I;16": ("deep.png", lambda: grey(np.uint16)),
    "I": ("deep.tif", lambda: grey(np.int32)),
    "F": ("deep.tif", lambda: grey(np.float32)),
}


@pytest.mark.parametrize("mode", DEEP)
def test_more_than_a_byte_a_channel_is_refused(folder, mode):
    name, picture = DEEP[mode]
    file = save(folder / "bee" / name, picture())
    message = (
        f"{file} has more than 8 bits a channel (mode {mode}), which RGB does not hold; convert it"
        " to 8 bits a channel, or bring numbers as dataset=npz"
    )
    with pytest.raises(ValueError) as error:
        imagefolder(folder, size=4)
    assert str(error.value) == f"dataset imagefolder: {message}"
    with pytest.raises(ValueError) as error:
        load_local(folder)
    assert str(error.value) == message


def deep_rgb(path):
    """A PNG of 16 bits in three channels, which Pillow reads and cannot write."""
    import struct
    import zlib

    def part(kind, data):
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    rows = b"".join(b"\0" + b"\x12\x34" * 12 for _ in range(4))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + part(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0))
        + part(b"IDAT", zlib.compress(rows))
        + part(b"IEND", b"")
    )


def test_sixteen_bits_in_three_channels_are_refused(folder):
    deep_rgb(folder / "bee/deep.png")
    with pytest.raises(ValueError, match=r"deep\.png has more than 8 bits a channel \(mode RGB\)"):
        imagefolder(folder, size=4)


TRANSPARENT = {
    "RGBA": lambda: Image.new("RGBA", (4, 4), (255, 0, 0, 0)),
    "LA": lambda: Image.new("LA", (4, 4), (9, 0)),
    "P": lambda: Image.new("P", (4, 4), 0),
}


@pytest.mark.parametrize("mode", TRANSPARENT)
def test_transparent_pixels_need_a_background(folder, mode):
    options = {"transparency": 0} if mode == "P" else {}
    file = save(folder / "bee/2.png", TRANSPARENT[mode](), **options)
    with pytest.raises(ValueError) as error:
        imagefolder(folder, size=4)
    assert str(error.value) == (
        f"dataset imagefolder: {file} has transparent pixels; say what they lie on, with"
        " imagefolder dataset.background=[255,255,255], or convert it to RGB"
    )
    data = imagefolder(folder, size=4, test_fraction=0, background=[1, 2, 3])
    assert bytes_of(data.x_train)[-1, :, 0, 0].tolist() == [1, 2, 3]
    assert bytes_of(data.x_train)[0, :, 0, 0].tolist() == list(GREEN)


def test_half_transparent_pixels_are_mixed(folder):
    save(folder / "bee/2.png", Image.new("RGBA", (4, 4), (200, 100, 0, 128)))
    data = imagefolder(folder, size=4, test_fraction=0, background=[0, 0, 0])
    found = bytes_of(data.x_train)[-1, :, 0, 0]
    assert torch.allclose(found, torch.tensor([200.0, 100, 0]) * 128 / 255, atol=1)


@pytest.mark.parametrize("background", [[0, 0], [0, 0, 256], [0, 0, -1], [0.5, 0, 0]])
def test_wrong_backgrounds(folder, background):
    with pytest.raises(ValueError) as error:
        imagefolder(folder, background=background)
    assert str(error.value) == (
        "dataset imagefolder: background must be red, green and blue, 0 to 255 each, got"
        f" {background}; [255,255,255] is white"
    )


SAME = {
    "opaque": lambda: Image.new("RGBA", (4, 4), (*GREEN, 255)),
    "palette": lambda: Image.new("RGB", (4, 4), GREEN).convert("P"),
}


@pytest.mark.parametrize("kind", SAME)
def test_what_rgb_holds_is_read(folder, kind):
    save(folder / "bee/2.png", SAME[kind]())
    data = imagefolder(folder, size=4, test_fraction=0)
    assert torch.equal(data.x_train[-1], data.x_train[0])
    assert torch.equal(load_local(folder)[0], data.x_train)


def test_black_and_white_and_grey(folder):
    save(folder / "bee/2.png", Image.new("1", (4, 4), 1))
    save(folder / "bee/3.png", Image.new("L", (4, 4), 77))
    found = bytes_of(load_local(folder)[0])
    assert found[-2].unique().tolist() == [255.0] and found[-1].unique().tolist() == [77.0]


def test_cmyk_is_said(folder, caplog):
    file = save(folder / "bee/2.jpg", Image.new("CMYK", (4, 4)))
    imagefolder(folder, size=4)
    assert caplog.messages == [
        f"dataset imagefolder: 1 pictures are CMYK, the first is {file}; they became RGB without a"
        " colour profile"
    ]


def test_several_frames_are_refused(folder):
    frame = Image.new("RGB", (4, 4))
    file = save(folder / "bee/2.tif", frame, save_all=True, append_images=[frame, frame])
    with pytest.raises(ValueError, match=f"{file} has 3 frames; a picture of one frame is needed"):
        load_local(folder)


def test_hidden_folders_are_no_classes(folder):
    expected = imagefolder(folder, size=4, test_fraction=0)
    for name in (".ipynb_checkpoints", "__MACOSX", "ant/.ipynb_checkpoints"):
        save(folder / name / "0-checkpoint.png", Image.new("RGB", (4, 4)))
    (folder / "ant/._0.png").write_bytes(b"of a Mac")
    (folder / ".DS_Store").write_bytes(b"of a Mac")
    data = imagefolder(folder, size=4, test_fraction=0)
    assert data.num_classes == 2
    assert torch.equal(data.x_train, expected.x_train)
    assert torch.equal(data.y_train, expected.y_train)
    assert load_local(folder)[1].tolist() == [0, 0, 1, 1]


def test_hidden_folders_of_imagenet(folder, tmp_path):
    root = tmp_path / "imagenet"
    for part in ("train", "val"):
        for name in ("n01", "n02", ".ipynb_checkpoints", "n01/.thumbs"):
            save(root / part / name / "a.png", Image.new("RGB", (4, 4)))
    data = imagenet(root, size=4)
    assert (data.num_classes, data.y_train.tolist()) == (2, [0, 1])


def test_pictures_in_deeper_folders_are_the_classes_too(folder):
    save(folder / "ant/more/0.png", Image.new("RGB", (4, 4)))
    assert load_local(folder)[1].tolist() == [0, 0, 0, 1, 1]
    assert imagefolder(folder, size=4, test_fraction=0).y_train.tolist() == [0, 0, 0, 1, 1]


@pytest.mark.parametrize("load", [imagefolder, load_local])
def test_ambiguous_folders(folder, load):
    save(folder / "Bee/0.png", Image.new("RGB", (4, 4)))
    with pytest.raises(ValueError) as error:
        load(folder)
    assert str(error.value) == (
        f"{folder}: the classes Bee and bee differ in upper and lower case only; give a class one"
        " name"
    )
    (folder / "Bee").rename(folder / "cat")
    file = save(folder / "0.png", Image.new("RGB", (4, 4)))
    with pytest.raises(ValueError) as error:
        load(folder)
    assert str(error.value) == (
        f"{folder} has 1 pictures outside of the class folders, the first is {file.name}; move"
        " them into the folder of their class"
    )


def test_formats_that_are_not_read_are_said(folder, caplog):
    (folder / "bee/2.gif").write_bytes(b"GIF")
    (folder / "bee/3.HEIC").write_bytes(b"HEIC")
    imagefolder(folder, size=4)
    assert caplog.messages == [
        f"{folder}: 2 pictures are left out, as .gif, .heic is not read; convert them to PNG"
    ]


def test_parts_are_no_classes(folder, caplog):
    for part in ("Train", "Test"):
        (folder / part).mkdir()
        for name in ("ant", "bee"):
            save(folder / part / name / "0.png", Image.new("RGB", (4, 4)))
    with pytest.raises(ValueError) as error:
        imagefolder(folder)
    assert str(error.value) == (
        f"dataset imagefolder: {folder} has the folder Test, which is no class; name the two parts"
        " train and test"
    )
    for part in ("Train", "Test"):
        (folder / part).rename(folder / part.lower())
    imagefolder(folder, size=4)
    assert caplog.messages == [f"dataset imagefolder: {folder} has ant, bee, not read"]


def test_a_class_without_pictures(folder):
    (folder / "cat").mkdir()
    with pytest.raises(FileNotFoundError) as error:
        imagefolder(folder)
    assert str(error.value) == (
        f"dataset imagefolder: the class folders cat in {folder} have no pictures; fill them or"
        " delete them"
    )
