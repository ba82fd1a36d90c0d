"""Images in files ``train/<class>/<name>.jpg`` and ``test/<class>/<name>.png``."""

import io
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphgpu.data.dataset import Dataset, to_unit_interval
from graphgpu.errors import DataError
from graphgpu.optional import load_optional

__all__ = ["images_by_class"]

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
# Grey and palette images become RGB without loss; others would lose transparency or
# bits, which is not ours to decide.
_MODES = frozenset({"RGB", "L", "P"})


def images_by_class(name: str, contents: Mapping[str, bytes], source: Path) -> Dataset:
    """Decode the images of a tree of files into a data set.

    Parameters
    ----------
    name
        The data set's name.
    contents
        Each file's bytes by its path, ``.../train/<class>/<file>`` or
        ``.../test/<class>/<file>``; JPEG and PNG files are taken, hidden ones are
        passed over, and the data set's `note` counts any others.
    source
        The folder or archive that they came from, for messages.

    Returns
    -------
    Dataset
        float32[N,3,H,W], values / 255; classes, and the files of a class, are in
        order of their names, whatever the order of `contents`.

    Raises
    ------
    DataError
        If a part or a class is missing, an image is damaged, or sizes differ.
    MissingDependencyError
        If Pillow is not installed.
    """
    parts, others = _sort_files(contents)
    classes = _find_classes(name, parts, source)
    paths = [path for part in ("train", "test") for _, path in parts[part]]
    images = to_unit_interval(_decode_all(name, contents, paths, source), 255)
    train, test = (
        np.array([classes.index(label) for label, _ in parts[part]], np.int64)
        for part in ("train", "test")
    )
    note = f"{others} files that are no JPEG or PNG of a class were left out"
    return Dataset(
        name,
        images[: len(train)],
        train,
        images[len(train) :],
        test,
        classes,
        note=note if others else "",
    )


def _sort_files(
    contents: Mapping[str, bytes],
) -> tuple[dict[str, list[tuple[str, str]]], int]:
    """List each part's (class, path) in order, and count the files of neither."""
    parts: dict[str, list[tuple[str, str]]] = {"train": [], "test": []}
    others = 0
    for path in sorted(contents):
        match PurePosixPath(path).parts:
            case [*_, file] if file.startswith("."):
                continue
            case [*_, ("train" | "test") as part, label, file] if (
                PurePosixPath(file).suffix.lower() in _SUFFIXES
            ):
                parts[part].append((label, path))
            case _:
                others += 1
    # A stable sort by class: "cat/1" follows "cat b/1" as a path, not as a class.
    for files in parts.values():
        files.sort(key=operator.itemgetter(0))
    return parts, others


def _find_classes(
    name: str, parts: Mapping[str, Sequence[tuple[str, str]]], source: Path
) -> tuple[str, ...]:
    train, test = ({label for label, _ in parts[part]} for part in ("train", "test"))
    if not train or not test:
        raise DataError(
            f"{name}: {source} must hold images train/<class>/*.jpg or *.png and "
            f"test/<class>/*; it has {len(train)} classes in train and {len(test)} "
            "in test"
        )
    if train != test:
        raise DataError(
            f"{name}: train and test must have the same classes; in {source}, "
            f"{', '.join(sorted(train ^ test))} is in one of them alone"
        )
    return tuple(sorted(train))


def _decode_all(
    name: str, contents: Mapping[str, bytes], paths: Sequence[str], source: Path
) -> NDArray[np.uint8]:
    """Decode the files at `paths` into one array, uint8[N,3,H,W]."""
    decoder = load_optional("PIL.Image", "Pillow", f"{name}: images by class")
    first = _decode(decoder, contents[paths[0]], f"{source}/{paths[0]}")
    pixels = np.empty((len(paths), *first.shape), np.uint8)
    for index, path in enumerate(paths):
        image = _decode(decoder, contents[path], f"{source}/{path}")
        if image.shape != first.shape:
            raise DataError(
                f"{name}: all images must have one size; {source}/{paths[0]} is "
                f"{_size(first)} and {source}/{path} is {_size(image)}"
            )
        pixels[index] = image
    return pixels


def _decode(decoder: Any, content: bytes, where: str) -> NDArray[np.uint8]:
    """Decode one file into uint8[3,H,W]; `decoder` is the module PIL.Image."""
    try:
        with decoder.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            mode = image.mode
            if mode in _MODES and "transparency" not in image.info:
                decoded: NDArray[np.uint8] = np.asarray(image.convert("RGB"))
                return decoded.transpose(2, 0, 1)
    # What Pillow raised in 40,000 files damaged at random, and its limit on size.
    except (
        OSError,
        SyntaxError,
        ValueError,
        decoder.DecompressionBombError,
    ) as error:
        raise DataError(
            f"{where}: damaged image ({error}); fetch the file again"
        ) from error
    raise DataError(
        f"{where}: an opaque RGB, grey or palette image of 8 bits was expected; "
        f"its mode is {mode}; convert it to RGB"
    )


def _size(image: NDArray[np.uint8]) -> str:
    return f"{image.shape[1]}x{image.shape[2]}"
