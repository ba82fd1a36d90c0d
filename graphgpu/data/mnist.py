"""MNIST: 70,000 hand-written digits of 28x28 pixels, in idx files."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphgpu.data.dataset import (
    Dataset,
    describe,
    hold_out_a_fifth,
    to_unit_interval,
)
from graphgpu.data.download import RemoteFile, download
from graphgpu.data.files import StrPath
from graphgpu.data.idx import read_idx
from graphgpu.errors import DataError

__all__ = ["mnist"]

_BASE = "https://ossci-datasets.s3.amazonaws.com/mnist/"

# The MD5s are those of the original files, as torchvision publishes them.
FILES = (
    RemoteFile(
        _BASE + "train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"
    ),
    RemoteFile(
        _BASE + "train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"
    ),
    RemoteFile(_BASE + "t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
    RemoteFile(_BASE + "t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
)
CLASSES = tuple("0123456789")


def mnist(path: StrPath | None = None) -> Dataset:
    """Load MNIST (Y. LeCun, C. Cortes and C. Burges).

    Any data set in the same files, such as Fashion-MNIST, is read as well.

    Parameters
    ----------
    path
        A folder that holds ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``,
        ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``, each plain or
        ``.gz``; ``.idx`` may stand for ``-idx``.  From a folder with the t10k pair
        alone, every image whose index is divisible by 5 is held out for testing, and
        the data set's `note` says so.  Without a path, the files are downloaded
        once, checked, and kept in the user's cache.

    Returns
    -------
    Dataset
        60,000 training and 10,000 test images, float32[N,1,28,28], values / 255.

    Raises
    ------
    DataError
        If a file is absent or damaged, images and labels do not pair up, or the
        files cannot be downloaded.
    MissingDependencyError
        If a download is needed and pooch is not installed.

    Examples
    --------
    >>> mnist("no-such-folder")
    Traceback (most recent call last):
        ...
    graphgpu.errors.DataError: mnist: no such folder: no-such-folder; check the path
    """
    if path is None:
        advice = "the folder that holds the four"
        folder = download("mnist", FILES, advice)[0].parent
    else:
        folder = Path(path).expanduser()
    found = _find_files(folder)
    test_images, test_labels = _read_part(found["t10k-images"], found["t10k-labels"])
    if "train-images" not in found:
        return hold_out_a_fifth(
            "mnist",
            test_images,
            test_labels,
            CLASSES,
            note="only the t10k files were there: of their images, every one with "
            "index % 5 == 0 is held out and the rest is for training; "
            "results do not compare with published ones",
        )
    train_images, train_labels = _read_part(
        found["train-images"], found["train-labels"]
    )
    return Dataset(
        "mnist", train_images, train_labels, test_images, test_labels, CLASSES
    )


def _find_files(folder: Path) -> dict[str, Path]:
    """Find the four files, or the t10k pair where no training file is there."""
    if not folder.exists():
        raise DataError(f"mnist: no such folder: {folder}; check the path")
    if not folder.is_dir():
        raise DataError(
            f"mnist: a folder was expected; {folder} is a file; "
            "pass the folder that it lies in"
        )
    found: dict[str, Path] = {}
    for part in ("train", "t10k"):
        for kind, axes in (("images", 3), ("labels", 1)):
            for mark in ("-idx", ".idx"):
                plain = folder / f"{part}-{kind}{mark}{axes}-ubyte"
                for file in (plain, plain.with_name(plain.name + ".gz")):
                    if file.is_file():
                        found.setdefault(f"{part}-{kind}", file)
    if found.keys() != {"t10k-images", "t10k-labels"}:
        _check_complete(folder, found)
    return found


def _check_complete(folder: Path, found: dict[str, Path]) -> None:
    missing = []
    for file in FILES:
        stem = file.name.removesuffix(".gz")
        if stem.rpartition("-idx")[0] not in found:
            missing.append(stem)
    if missing:
        raise DataError(
            f"mnist: {folder} has no {', '.join(missing)} (plain or .gz); "
            f"fetch them from {_BASE}"
        )


def _read_part(
    images_path: Path, labels_path: Path
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    images = _read_bytes(images_path, "images uint8[N,H,W]", axes=3)
    labels = _read_bytes(labels_path, "labels uint8[N]", axes=1)
    if len(images) != len(labels):
        raise DataError(
            f"mnist: one label an image was expected; {images_path} has {len(images)} "
            f"images and {labels_path} has {len(labels)} labels"
        )
    return to_unit_interval(images[:, np.newaxis], 255), labels.astype(np.int64)


def _read_bytes(path: Path, expected: str, *, axes: int) -> NDArray[Any]:
    values = read_idx(path)
    if values.dtype != np.uint8 or values.ndim != axes:
        raise DataError(
            f"mnist: {path} must hold {expected}, magic number 00 00 08 0{axes}; "
            f"it holds {describe(values)}"
        )
    return values
