"""The form that every data set takes, and the checks that it holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from graphgpu.errors import DataError

__all__ = ["Dataset", "describe", "hold_out_a_fifth", "to_unit_interval"]

HOLD_OUT_EVERY = 5


@final
@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Dataset:
    """Labelled images in a training part and a held-out test part.

    Two data sets compare by identity, since arrays have no single truth value.

    Parameters
    ----------
    name
        The name that messages and logs use.
    train_images, test_images
        float32[N, C, H, W] with every value in [0, 1]; the two parts have the
        same C, H and W, and each has at least one image.
    train_labels, test_labels
        int64[N], each an index into `classes`.
    classes
        The name of each class, all different.
    note
        What a reader of results must know about how the data were made, for
        example a split that is not the official one; empty where there is nothing.

    Raises
    ------
    DataError
        If a shape, a dtype, a count or a value is not as above.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.zeros((2, 1, 4, 4), np.float32)
    >>> labels = np.array([0, 1])
    >>> Dataset("tiny", images, labels, images, labels, ("circle", "square"))
    Dataset('tiny', train=float32[2,1,4,4], test=float32[2,1,4,4], classes=2)
    """

    name: str
    train_images: NDArray[np.float32]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.float32]
    test_labels: NDArray[np.int64]
    classes: tuple[str, ...]
    note: str = ""

    def __post_init__(self) -> None:
        where = f"Dataset({self.name!r})"
        _check_classes(where, self.classes)
        for part, images, labels in (
            ("train", self.train_images, self.train_labels),
            ("test", self.test_images, self.test_labels),
        ):
            _check_images(f"{where}: {part}_images", images)
            _check_labels(f"{where}: {part}_labels", labels, len(self.classes))
            if len(images) != len(labels):
                raise DataError(
                    f"{where}: one label an image was expected; {part}_images has "
                    f"{len(images)} and {part}_labels has {len(labels)}"
                )
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise DataError(
                f"{where}: train_images and test_images must agree in C, H and W; "
                f"got {describe(self.train_images)} and {describe(self.test_images)}"
            )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W): channels, height and width in pixels of every image."""
        channels, height, width = self.train_images.shape[1:]
        return channels, height, width

    def __repr__(self) -> str:
        return (
            f"Dataset({self.name!r}, train={describe(self.train_images)}, "
            f"test={describe(self.test_images)}, classes={len(self.classes)})"
        )


def describe(value: object) -> str:
    """Print an array as its type, ``uint8[2,3]``, and anything else as its class."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype}[{','.join(str(size) for size in value.shape)}]"
    return type(value).__name__


def to_unit_interval(pixels: NDArray[Any], highest: int) -> NDArray[np.float32]:
    """Compute pixels / highest in float32, C-ordered whatever the input's strides.

    Division, not multiplication by a rounded reciprocal: the highest pixel is
    exactly 1.
    """
    scaled = pixels.astype(np.float32, order="C")
    scaled /= np.float32(highest)
    return scaled


def hold_out_a_fifth(
    name: str,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: tuple[str, ...],
    note: str,
) -> Dataset:
    """Split one set of samples: every fifth, index % 5 == 0, is the test part."""
    held_out = np.arange(len(images)) % HOLD_OUT_EVERY == 0
    return Dataset(
        name=name,
        train_images=images[~held_out],
        train_labels=labels[~held_out],
        test_images=images[held_out],
        test_labels=labels[held_out],
        classes=classes,
        note=note,
    )


def _check_classes(where: str, classes: Sequence[object]) -> None:
    if (
        not isinstance(classes, tuple)
        or not classes
        or not all(isinstance(name, str) for name in classes)
    ):
        raise DataError(
            f"{where}: classes must be a tuple of at least one name; got {classes!r}"
        )
    if len(set(classes)) != len(classes):
        raise DataError(f"{where}: classes must all be different; got {classes!r}")


def _check_images(where: str, images: object) -> None:
    if (
        not isinstance(images, np.ndarray)
        or images.dtype != np.float32
        or images.ndim != 4
    ):
        raise DataError(
            f"{where} must be float32[N,C,H,W]; got {describe(images)}; "
            "convert with .astype(numpy.float32) and .reshape"
        )
    if images.size == 0:
        raise DataError(f"{where} has no pixels: {describe(images)}")
    lowest, highest = images.min(), images.max()
    if not (lowest >= 0 and highest <= 1):  # written so that NaN fails
        raise DataError(
            f"{where} must lie in [0, 1]; its values run from {lowest} to {highest}; "
            "divide bytes by 255"
        )


def _check_labels(where: str, labels: object, classes: int) -> None:
    if (
        not isinstance(labels, np.ndarray)
        or labels.dtype != np.int64
        or labels.ndim != 1
    ):
        raise DataError(f"{where} must be int64[N]; got {describe(labels)}")
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    if outside.size:
        first = int(outside[0])
        raise DataError(
            f"{where} must lie in 0..{classes - 1} for {classes} classes; "
            f"label {first} is {labels[first]}"
        )
