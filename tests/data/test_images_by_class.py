import struct
import sys
import zlib

import numpy as np
import pytest

from graphgpu.data import cifar10
from graphgpu.errors import DataError, MissingDependencyError


@pytest.fixture
def tree(encode_image):
    """Two classes with two images in train and one in test, losslessly packed."""
    rng = np.random.default_rng(0)
    pixels = {
        name: rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
        for name in (
            "test/dog/1.png",
            "train/dog/2.png",
            "train/cat/2.png",
            "train/dog/1.PNG",
            "train/cat/1.png",
            "test/cat/1.png",
        )
    }
    return pixels, {name: encode_image(image) for name, image in pixels.items()}


def scaled(*images):
    return np.stack(images).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)


def check(loaded, pixels):
    np.testing.assert_array_equal(
        loaded.train_images,
        scaled(
            pixels["train/cat/1.png"],
            pixels["train/cat/2.png"],
            pixels["train/dog/1.PNG"],
            pixels["train/dog/2.png"],
        ),
    )
    assert loaded.train_labels.tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(
        loaded.test_images, scaled(pixels["test/cat/1.png"], pixels["test/dog/1.png"])
    )
    assert loaded.test_labels.tolist() == [0, 1]
    assert loaded.classes == ("cat", "dog")
    assert loaded.train_images.flags.c_contiguous


def test_reads_a_folder_in_order_of_names(tmp_path, tree, write_folder):
    pixels, contents = tree
    loaded = cifar10(write_folder(tmp_path, contents))
    check(loaded, pixels)
    assert loaded.note == ""


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
@pytest.mark.parametrize("root", ["", "./", "images/v1/"])
def test_reads_an_archive_whatever_the_order(tmp_path, tree, write_tar, mode, root):
    pixels, contents = tree
    members = {root + name: content for name, content in contents.items()}
    loaded = cifar10(write_tar(tmp_path / "images", members, mode))
    check(loaded, pixels)
    assert loaded.note == ""


def test_counts_the_files_that_are_no_image(tmp_path, tree, write_folder):
    pixels, contents = tree
    more = {
        "train/cat/3.webp": b"RIFF",
        "test/cat/list.txt": b"1.png",
        "test/cat/.hidden.png": b"",
    }
    loaded = cifar10(write_folder(tmp_path, contents | more))
    check(loaded, pixels)
    assert loaded.note == ("2 files that are no JPEG or PNG of a class were left out")


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "L"), ("PNG", "P"), ("JPEG", "L")])
def test_grey_and_palette_images_become_rgb(
    tmp_path, write_folder, encode_image, kind, mode
):
    grey = np.full((4, 4, 3), 51)
    image = encode_image(grey, kind, mode)
    suffix = {"PNG": "png", "JPEG": "jpeg"}[kind]
    names = (f"train/a/1.{suffix}", f"test/a/1.{suffix}")
    loaded = cifar10(write_folder(tmp_path, dict.fromkeys(names, image)))
    np.testing.assert_array_equal(
        loaded.train_images, np.full((1, 3, 4, 4), 51 / 255, np.float32)
    )


def test_names_the_damaged_image(tmp_path, tree, write_folder):
    _, contents = tree
    contents["train/dog/2.png"] = contents["train/dog/2.png"][:-40]
    with pytest.raises(DataError) as caught:
        cifar10(write_folder(tmp_path, contents))
    assert str(caught.value).startswith(f"{tmp_path}/train/dog/2.png: damaged image (")
    assert str(caught.value).endswith("); fetch the file again")


def test_names_the_truncated_jpeg_in_an_archive(tmp_path, encode_image, write_tar):
    rng = np.random.default_rng(1)
    image = encode_image(rng.integers(0, 256, (32, 32, 3)), "JPEG")
    contents = {"train/a/1.jpg": image, "test/a/1.jpg": image[: len(image) // 2]}
    path = write_tar(tmp_path / "images.tar", contents)
    with pytest.raises(DataError) as caught:
        cifar10(path)
    assert str(caught.value).startswith(f"{path}/test/a/1.jpg: damaged image (")


def test_names_the_file_that_is_no_image(tmp_path, tree, write_folder):
    _, contents = tree
    contents["test/cat/1.png"] = b"GIF89a nothing"
    with pytest.raises(DataError, match=r"test/cat/1\.png: damaged image \(cannot"):
        cifar10(write_folder(tmp_path, contents))


def test_refuses_sizes_that_differ(tmp_path, tree, write_folder, encode_image):
    _, contents = tree
    contents["test/dog/1.png"] = encode_image(np.zeros((4, 5, 3)))
    with pytest.raises(DataError) as caught:
        cifar10(write_folder(tmp_path, contents))
    assert str(caught.value) == (
        f"cifar10: all images must have one size; {tmp_path}/train/cat/1.png is 4x6 "
        f"and {tmp_path}/test/dog/1.png is 4x5"
    )


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGBA", {}),
        ("LA", {}),
        ("RGB", {"transparency": (0, 0, 0)}),
    ],
)
def test_refuses_transparency(request, tree, encode_image, mode, options):
    tmp_path, write_folder = map(request.getfixturevalue, ("tmp_path", "write_folder"))
    _, contents = tree
    image = encode_image(np.zeros((4, 6, 3)), "PNG", mode, **options)
    contents["train/cat/1.png"] = image
    with pytest.raises(DataError) as caught:
        cifar10(write_folder(tmp_path, contents))
    assert str(caught.value) == (
        f"{tmp_path}/train/cat/1.png: an opaque RGB, grey or palette image of 8 bits "
        f"was expected; its mode is {mode}; convert it to RGB"
    )


def test_refuses_classes_that_differ(tmp_path, tree, write_folder):
    _, contents = tree
    del contents["test/dog/1.png"]
    with pytest.raises(DataError) as caught:
        cifar10(write_folder(tmp_path, contents))
    assert str(caught.value) == (
        "cifar10: train and test must have the same classes; in "
        f"{tmp_path}, dog is in one of them alone"
    )


def test_refuses_a_missing_part(tmp_path, tree, write_tar):
    _, contents = tree
    train = {name: image for name, image in contents.items() if "train" in name}
    path = write_tar(tmp_path / "images.tar", train)
    with pytest.raises(DataError) as caught:
        cifar10(path)
    assert str(caught.value) == (
        f"cifar10: {path} must hold images train/<class>/*.jpg or *.png and "
        "test/<class>/*; it has 2 classes in train and 0 in test"
    )


def test_refuses_an_absurd_size_without_making_it(tmp_path, tree, write_folder):
    # A PNG header of 60,000 x 60,000 pixels, its CRC right: 10 GB if believed.
    head = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    crc = zlib.crc32(head)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", crc)
    _, contents = tree
    contents["train/cat/1.png"] = png
    with pytest.raises(DataError, match=r"train/cat/1\.png: damaged image"):
        cifar10(write_folder(tmp_path, contents))


def test_without_pillow_says_how_to_install(tmp_path, tree, write_folder, monkeypatch):
    folder = write_folder(tmp_path, tree[1])
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingDependencyError) as caught:
        cifar10(folder)
    assert str(caught.value) == (
        "cifar10: images by class: the package Pillow is needed and cannot be imported "
        "(import of PIL.Image halted; None in sys.modules); "
        'install it with: pip install "graphgpu[data]"'
    )
