import gzip
import hashlib
import importlib
import struct

import numpy as np
import pytest

from graphgpu.data import mnist, read_idx
from graphgpu.errors import DataError

# The package's attribute of this name is the function.
MODULE = importlib.import_module("graphgpu.data.mnist")

PARTS = {"train": 12, "t10k": 7}


def pixels(part):
    count = PARTS[part]
    return (np.arange(count * 6 * 5) % 256).astype(np.uint8).reshape(count, 6, 5)


def labels(part):
    return (np.arange(PARTS[part]) * 3 % 10).astype(np.uint8)


@pytest.fixture
def folder(tmp_path, write_idx):
    def make(parts=("train", "t10k"), mark="-idx", packed=False):
        for part in parts:
            for kind, array in (("images", pixels(part)), ("labels", labels(part))):
                path = tmp_path / f"{part}-{kind}{mark}{array.ndim}-ubyte"
                write_idx(path, array)
                if packed:
                    content = gzip.compress(path.read_bytes())
                    path.with_name(path.name + ".gz").write_bytes(content)
                    path.unlink()
        return tmp_path

    return make


@pytest.mark.parametrize("mark", ["-idx", ".idx"])
@pytest.mark.parametrize("packed", [False, True])
def test_reads_the_four_files_in_each_spelling(folder, mark, packed):
    loaded = mnist(folder(mark=mark, packed=packed))
    assert repr(loaded) == (
        "Dataset('mnist', train=float32[12,1,6,5], test=float32[7,1,6,5], classes=10)"
    )
    np.testing.assert_array_equal(
        loaded.train_images[:, 0], pixels("train").astype(np.float32) / np.float32(255)
    )
    np.testing.assert_array_equal(loaded.train_labels, labels("train"))
    np.testing.assert_array_equal(
        loaded.test_images[:, 0], pixels("t10k").astype(np.float32) / np.float32(255)
    )
    np.testing.assert_array_equal(loaded.test_labels, labels("t10k"))
    assert loaded.train_labels.dtype == np.int64
    assert loaded.note == ""


def test_splits_the_t10k_pair_and_says_so(folder):
    loaded = mnist(str(folder(parts=("t10k",))))
    held_out = np.array([0, 5])
    kept = np.array([1, 2, 3, 4, 6])
    scaled = pixels("t10k").astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(loaded.test_images[:, 0], scaled[held_out])
    np.testing.assert_array_equal(loaded.train_images[:, 0], scaled[kept])
    np.testing.assert_array_equal(loaded.train_labels, labels("t10k")[kept])
    assert loaded.note.startswith("only the t10k files were there: ")
    assert "index % 5 == 0 is held out" in loaded.note


def test_refuses_an_absent_folder(tmp_path):
    with pytest.raises(DataError) as caught:
        mnist(tmp_path / "absent")
    assert str(caught.value) == (
        f"mnist: no such folder: {tmp_path / 'absent'}; check the path"
    )


def test_refuses_a_file_for_a_folder(folder):
    file = folder() / "t10k-labels-idx1-ubyte"
    with pytest.raises(DataError) as caught:
        mnist(file)
    assert str(caught.value) == (
        f"mnist: a folder was expected; {file} is a file; pass the folder that it "
        "lies in"
    )


@pytest.mark.parametrize(
    ("parts", "removed", "missing"),
    [
        (
            (),
            (),
            "train-images-idx3-ubyte, train-labels-idx1-ubyte, "
            "t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte",
        ),
        (("train",), (), "t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte"),
        # A half-copied training pair is no reason to train on the test files.
        (
            ("train", "t10k"),
            ("train-labels-idx1-ubyte",),
            "train-labels-idx1-ubyte",
        ),
        (
            ("t10k",),
            ("t10k-images-idx3-ubyte",),
            "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte",
        ),
    ],
)
def test_names_the_missing_files(folder, parts, removed, missing):
    path = folder(parts)
    for name in removed:
        (path / name).unlink()
    with pytest.raises(DataError) as caught:
        mnist(path)
    assert str(caught.value) == (
        f"mnist: {path} has no {missing} (plain or .gz); "
        "fetch them from https://ossci-datasets.s3.amazonaws.com/mnist/"
    )


def test_refuses_images_and_labels_that_do_not_pair_up(folder, write_idx):
    path = folder()
    file = write_idx(path / "train-labels-idx1-ubyte", labels("train")[:11])
    with pytest.raises(DataError) as caught:
        mnist(path)
    assert str(caught.value) == (
        "mnist: one label an image was expected; "
        f"{path / 'train-images-idx3-ubyte'} has 12 images and {file} has 11 labels"
    )


def test_refuses_labels_in_the_place_of_images(folder, write_idx):
    path = folder()
    file = write_idx(path / "t10k-images-idx3-ubyte", labels("t10k"))
    with pytest.raises(DataError) as caught:
        mnist(path)
    assert str(caught.value) == (
        f"mnist: {file} must hold images uint8[N,H,W], magic number 00 00 08 03; "
        "it holds uint8[7]"
    )


def test_refuses_labels_that_are_no_digits(folder, write_idx):
    path = folder()
    write_idx(path / "train-labels-idx1-ubyte", labels("train") + np.uint8(4))
    with pytest.raises(DataError, match=r"train_labels must lie in 0\.\.9 for 10"):
        mnist(path)


def test_refuses_a_truncated_file(folder):
    path = folder() / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError) as caught:
        mnist(path.parent)
    assert str(caught.value) == (
        f"{path}: truncated: 376 bytes were expected for uint8[12,6,5]; there are "
        "375; fetch the file again"
    )


def test_without_a_path_takes_the_downloaded_files(folder, monkeypatch):
    path = folder(packed=True)

    def downloaded(dataset, files, destination):
        assert (dataset, files) == ("mnist", MODULE.FILES)
        return [path / file.name for file in files]

    monkeypatch.setattr(MODULE, "download", downloaded)
    assert mnist().train_images.shape == (12, 1, 6, 5)


def test_the_real_test_digits(real_file):
    images = read_idx(real_file("t10k-images-idx3-ubyte.gz"))
    labels = read_idx(real_file("t10k-labels-idx1-ubyte.gz"))
    assert images.shape == (10_000, 28, 28)
    assert labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert np.bincount(labels).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    loaded = mnist(real_file("t10k-images-idx3-ubyte.gz").parent)
    assert loaded.train_images.shape == (8000, 1, 28, 28)
    assert loaded.test_images.shape == (2000, 1, 28, 28)
    assert loaded.train_images.max() == 1


@pytest.mark.parametrize(
    ("name", "original_name", "modified"),
    [
        ("t10k-images-idx3-ubyte.gz", b"t10k-images.idx3-ubyte", 885827245),
        ("t10k-labels-idx1-ubyte.gz", b"t10k-labels.idx1-ubyte", 885827268),
    ],
)
def test_the_checksums_are_of_the_original_files(
    real_file, name, original_name, modified
):
    # Ours were packed again: gzip's header has another name and time (RFC 1952:
    # MTIME is bytes 4 to 7).  With the originals of 26 January 1998, the published
    # MD5 comes out.
    content = real_file(name).read_bytes()
    stored = name.removesuffix(".gz").encode()
    assert content[10:].startswith(stored)
    original = (
        content[:4]
        + struct.pack("<I", modified)
        + content[8:10]
        + original_name
        + content[10 + len(stored) :]
    )
    (file,) = (file for file in MODULE.FILES if file.name == name)
    assert hashlib.md5(original).hexdigest() == file.md5
