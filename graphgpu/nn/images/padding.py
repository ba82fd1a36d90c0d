"""Padding layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, final

import numpy as np

from graphgpu.errors import ShapeError
from graphgpu.graph import Variable
from graphgpu.nn.layer import Layer
from graphgpu.ops.padding import pad
from graphgpu.ops.windows import AXES

__all__ = [
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ZeroPad1d",
    "ZeroPad2d",
]


class Pad(Layer):
    """Elements added around signals or images; see :class:`ZeroPad2d`. Abstract."""

    spatial_axes: ClassVar[int]
    mode: ClassVar[str]

    shown = ("padding",)

    def __init__(
        self, padding: int | Sequence[int], *, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        count = 2 * self.spatial_axes
        one = isinstance(padding, int | np.integer)
        widths: list[Any] = [padding] * count if one else list(padding)  # type: ignore[arg-type]
        if len(widths) != count or not all(
            isinstance(w, int | np.integer) and not isinstance(w, bool) and w >= 0
            for w in widths
        ):
            order = "left, right, top, bottom" if count == 4 else "left, right"
            self.reject(
                f"expected padding to be an int >= 0, or {count} ints ({order}); got "
                f"{padding!r}"
            )
        self.padding = tuple(int(w) for w in widths)

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return x padded."""
        if x.ndim != self.spatial_axes + 2:
            letters = ", ".join(("N", "C", *AXES[self.spatial_axes]))
            raise ShapeError(f"expected an input with axes {letters}")
        pairs = list(zip(self.padding[::2], self.padding[1::2], strict=True))
        return pad(x, [(0, 0), (0, 0), *pairs[::-1]], self.mode)


@final
class ZeroPad1d(Pad):
    """Zeros before and after signals (N, C, W); see :class:`ZeroPad2d`.

    >>> import graphgpu as gg
    >>> gg.nn.ZeroPad1d((1, 2))(gg.placeholder("x", ("batch", 3, 8))).type
    float32[batch,3,11]
    """

    spatial_axes = 1
    mode = "constant"


@final
class ZeroPad2d(Pad):
    """Zeros around images (N, C, H, W).

    The padding is an int, or four, (left, right, top, bottom): the last axis first,
    as in PyTorch.  As :func:`graphgpu.pad`, where the first axis is first.

    >>> import graphgpu as gg
    >>> gg.nn.ZeroPad2d((1, 2, 0, 0))(gg.placeholder("x", ("batch", 3, 8, 8))).type
    float32[batch,3,8,11]
    """

    spatial_axes = 2
    mode = "constant"


@final
class ReflectionPad1d(Pad):
    """Signals reflected at their ends, which are not repeated; as ``ZeroPad1d``.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.nn.ReflectionPad1d(2)(gg.constant([[[1.0, 2.0, 3.0]]])))
    array([[[3., 2., 1., 2., 3., 2., 1.]]], dtype=float32)
    """

    spatial_axes = 1
    mode = "reflect"


@final
class ReflectionPad2d(Pad):
    """Images reflected at their borders, which are not repeated; as ``ZeroPad2d``.

    >>> import graphgpu as gg
    >>> layer = gg.nn.ReflectionPad2d((1, 0, 0, 1))
    >>> gg.evaluate(layer(gg.constant([[[[1, 2], [3, 4]]]])))
    array([[[[2, 1, 2],
             [4, 3, 4],
             [2, 1, 2]]]])
    """

    spatial_axes = 2
    mode = "reflect"


@final
class ReplicationPad1d(Pad):
    """Signals whose end elements are repeated; as :class:`ZeroPad1d`.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.nn.ReplicationPad1d(2)(gg.constant([[[1, 2]]])))
    array([[[1, 1, 1, 2, 2, 2]]])
    """

    spatial_axes = 1
    mode = "edge"


@final
class ReplicationPad2d(Pad):
    """Images whose border elements are repeated; as :class:`ZeroPad2d`.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.nn.ReplicationPad2d(1)(gg.constant([[[[1, 2]]]])))
    array([[[[1, 1, 2, 2],
             [1, 1, 2, 2],
             [1, 1, 2, 2]]]])
    """

    spatial_axes = 2
    mode = "edge"
