"""CIFAR-10: 60,000 colour images of 32x32 pixels in ten classes."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from graphgpu.data.dataset import Dataset, to_unit_interval
from graphgpu.data.download import RemoteFile, download
from graphgpu.data.files import StrPath, read_file, read_tar
from graphgpu.data.images_by_class import images_by_class
from graphgpu.errors import DataError

__all__ = ["cifar10"]

# The MD5 is the one that the data set's own page publishes.
ARCHIVE = RemoteFile(
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    "c32a1d4ab5d03f1284b67883e8d87530",
)
CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
TRAIN_FILES = tuple(f"data_batch_{index}.bin" for index in range(1, 6))
TEST_FILES = ("test_batch.bin",)
RECORDS_A_FILE = 10_000
PIXELS = (3, 32, 32)
RECORD_BYTES = 1 + 3 * 32 * 32

# What is read of a folder: the two layouts, and nothing else that lies there.
_FOLDER_PATTERNS = (
    "*_batch*.bin",
    "cifar-10-batches-bin/*_batch*.bin",
    "train/*/*",
    "test/*/*",
)


def cifar10(path: StrPath | None = None) -> Dataset:
    """Load CIFAR-10 (A. Krizhevsky, "Learning multiple layers of features", 2009).

    Parameters
    ----------
    path
        The official binary version, as its archive ``cifar-10-binary.tar.gz`` or
        as the folder ``cifar-10-batches-bin`` (or the one it lies in); or images by
        class, ``train/<class>/*.jpg`` (or png) and ``test/<class>/*``, as a folder
        or a .tar, .tar.gz or .tar.xz archive.  Without a path, the official archive
        is downloaded once, checked, and kept in the user's cache.

    Returns
    -------
    Dataset
        50,000 training and 10,000 test images, float32[N,3,32,32], channels red,
        green and blue, values / 255; of images by class, as many as there are.

    Raises
    ------
    DataError
        If files are absent or damaged, or the archive cannot be downloaded.
    MissingDependencyError
        If pooch is needed for a download, or Pillow for images, and not installed.

    Examples
    --------
    >>> cifar10("no-such-file")
    Traceback (most recent call last):
        ...
    graphgpu.errors.DataError: no-such-file: no such file; check the path
    """
    if path is None:
        source = download("cifar10", [ARCHIVE], "the archive itself")[0]
    else:
        source = Path(path).expanduser()
    contents = _read_folder(source) if source.is_dir() else read_tar(source)
    binary = {
        PurePosixPath(name).name: content
        for name, content in contents.items()
        if PurePosixPath(name).name in TRAIN_FILES + TEST_FILES
    }
    if binary:
        return _read_binary(binary, source)
    if not contents:
        raise DataError(_nothing_found(source))
    return images_by_class("cifar10", contents, source)


def _read_folder(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): read_file(file)
        for pattern in _FOLDER_PATTERNS
        for file in folder.glob(pattern)
        if file.is_file()
    }


def _nothing_found(source: Path) -> str:
    names = sorted(file.name for file in source.iterdir()) if source.is_dir() else []
    there = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return (
        f"cifar10: {source} must hold {TRAIN_FILES[0]} and its like, or train/<class>/ "
        f"and test/<class>/ with images; it holds {there or 'nothing'}; "
        "pass an archive by its own path"
    )


def _read_binary(contents: Mapping[str, bytes], source: Path) -> Dataset:
    missing = [name for name in TRAIN_FILES + TEST_FILES if name not in contents]
    if missing:
        raise DataError(
            f"cifar10: {source} has no {', '.join(missing)}; fetch {ARCHIVE.url}"
        )
    train_images, train_labels = _read_records(contents, TRAIN_FILES, source)
    test_images, test_labels = _read_records(contents, TEST_FILES, source)
    return Dataset(
        "cifar10", train_images, train_labels, test_images, test_labels, CLASSES
    )


def _read_records(
    contents: Mapping[str, bytes], names: Sequence[str], source: Path
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Read records of one label byte and 3,072 pixels: red, green, blue, by rows."""
    images = np.empty((len(names) * RECORDS_A_FILE, *PIXELS), np.float32)
    labels = np.empty(len(images), np.int64)
    for index, name in enumerate(names):
        expected = RECORDS_A_FILE * RECORD_BYTES
        if len(contents[name]) != expected:
            raise DataError(
                f"cifar10: {name} in {source} must have {RECORDS_A_FILE} records of "
                f"{RECORD_BYTES} bytes, {expected} in all; it has "
                f"{len(contents[name])}; fetch it again"
            )
        records = np.frombuffer(contents[name], np.uint8).reshape(-1, RECORD_BYTES)
        if records[:, 0].max() >= len(CLASSES):
            raise DataError(
                f"cifar10: {name} in {source} must have labels 0..9; record "
                f"{records[:, 0].argmax()} has {records[:, 0].max()}; fetch it again"
            )
        rows = slice(index * RECORDS_A_FILE, (index + 1) * RECORDS_A_FILE)
        labels[rows] = records[:, 0]
        images[rows] = to_unit_interval(records[:, 1:], 255).reshape(-1, *PIXELS)
    return images, labels
