"""What is trained on which data, and how: the bundled recipes.

The settings for the digits were chosen by cross-validation within the training
set; the held-out digits were never used to choose anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

from graphgpu import nn
from graphgpu.data import Dataset, cifar10, digits, mnist
from graphgpu.errors import DataError
from graphgpu.ops import relu

ImageShape: TypeAlias = tuple[int, int, int]
"""Channels, height, width."""

__all__ = ["RECIPES", "Recipe", "convolutional_net"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """A data set, a model for its images, and the settings that train it.

    ``image_shape`` is what the data usually has.  ``peak_lr`` is the largest
    learning rate of the one-cycle schedule of SGD with Nesterov momentum 0.9;
    ``shift`` is by how many pixels at most each training image is moved, at
    random, each time it is shown; ``flip`` tells whether it may be mirrored.
    """

    name: str
    load: Callable[[Path | None], Dataset]
    model: Callable[[ImageShape, int], nn.Sequential]
    image_shape: ImageShape
    epochs: int
    batch_size: int
    peak_lr: float
    weight_decay: float
    shift: int = 0
    flip: bool = False


def convolutional_net(
    image_shape: ImageShape, classes: int, widths: tuple[int, ...]
) -> nn.Sequential:
    """Return a small net of 3x3 convolutions with batch normalisation.

    A stage for each width: two convolutions, then, but for the last stage, max
    pooling by 2; at the end the mean over the image, dropout, and a dense layer
    to one score a class.
    """
    channels = image_shape[0]
    layers: list[tuple[str, nn.Layer]] = []
    for stage, width in enumerate(widths, 1):
        for place in "ab":
            name = f"{stage}{place}"
            layers += [
                (
                    f"conv{name}",
                    nn.Conv2d(channels, width, 3, padding=1, bias=False),
                ),
                (f"norm{name}", nn.BatchNorm(width)),
                (f"relu{name}", nn.Function(relu)),
            ]
            channels = width
        if stage < len(widths):
            layers.append((f"pool{stage}", nn.MaxPool2d(2)))
    layers += [
        ("mean", nn.GlobalAvgPool()),
        ("flatten", nn.Flatten()),
        ("dropout", nn.Dropout(0.2)),
        ("classes", nn.Dense(channels, classes)),
    ]
    return nn.Sequential(*layers)


def _bundled_digits(path: Path | None) -> Dataset:
    if path is not None:
        raise DataError(
            f"the digits come with scikit-learn and are not read from {path}; leave "
            "out --data"
        )
    return digits()


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "digits",
            load=_bundled_digits,
            model=partial(convolutional_net, widths=(32, 64)),
            image_shape=(1, 8, 8),
            epochs=12,
            batch_size=64,
            peak_lr=0.1,
            weight_decay=5e-4,
        ),
        Recipe(
            "mnist",
            load=mnist,
            model=partial(convolutional_net, widths=(16, 32, 64)),
            image_shape=(1, 28, 28),
            epochs=6,
            batch_size=128,
            peak_lr=0.1,
            weight_decay=5e-4,
            shift=2,
        ),
        Recipe(
            "cifar10",
            load=cifar10,
            model=partial(convolutional_net, widths=(32, 64, 128)),
            image_shape=(3, 32, 32),
            epochs=20,
            batch_size=128,
            peak_lr=0.1,
            weight_decay=5e-4,
            shift=4,
            flip=True,
        ),
    )
}
