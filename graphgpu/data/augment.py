"""Random shifts and mirror images of minibatches, a function of seed and step."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["augment"]


def augment(
    images: NDArray[Any], *, seed: int, step: int, shift: int = 0, flip: bool = False
) -> NDArray[Any]:
    """Return the images, each moved by up to ``shift`` pixels and maybe mirrored.

    The images are of the axes N, C, H and W; each moves by as many rows and columns,
    from -shift to shift, as are drawn for it, and is mirrored, left for right, with
    the probability 1/2.  What moves in from outside is zero.  The same seed and step
    give the same result.

    >>> import numpy as np
    >>> image = np.arange(9.0).reshape(1, 1, 3, 3)
    >>> augment(image, seed=0, step=0, shift=1).shape
    (1, 1, 3, 3)
    """
    if not shift and not flip:
        return images
    random = np.random.Generator(np.random.PCG64([seed, step]))
    count, _, height, width = images.shape
    edge = ((0, 0), (0, 0), (shift, shift), (shift, shift))
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(images, edge), (height, width), axis=(2, 3)
    )
    rows, columns = random.integers(0, 2 * shift + 1, (2, count))
    moved: NDArray[Any] = windows[np.arange(count), :, rows, columns]
    if flip:
        mirrored = random.random(count) < 0.5
        moved[mirrored] = moved[mirrored, :, :, ::-1]
    return moved
