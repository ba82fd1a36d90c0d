"""Windows that slide over a tile, taken apart into slices along one axis.

Tap k of all windows is one strided slice of the tile, so a window's elements
are combined tap by tap, first down the rows, where slices are whole rows.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from graphgpu.backends.numpy.tiles.kernel import TileKernel
from graphgpu.dtypes import Array, DType
from graphgpu.ops.windows import axis_taps, known, output_sizes
from graphgpu.types import Window

__all__ = ["AxisTaps", "PoolingKernel"]


@dataclass(frozen=True)
class AxisTaps:
    """The taps of windows along one axis: (outputs, inputs) for each.

    The outputs are those for which the tap lies inside of the tile.
    """

    size: int
    count: int
    taps: tuple[tuple[slice, slice], ...]

    @cached_property
    def complete(self) -> bool:
        """Whether no tap of any window is padding."""
        return all(self._whole(outputs) for outputs, _ in self.taps)

    @cached_property
    def disjoint(self) -> bool:
        """Whether no element is in two windows."""
        return len(self._reached) == len(set(self._reached))

    @cached_property
    def covering(self) -> bool:
        """Whether each element is in a window."""
        return len(set(self._reached)) == self.size

    @property
    def trivial(self) -> bool:
        """Whether each window is the element of the same place."""
        return self.size == self.count == len(self._reached) and len(self.taps) == 1

    def combine(self, ufunc: np.ufunc, x: Array, start: float, out: Array) -> None:
        """Combine the taps of x along its first axis; ``start`` where there is none."""
        whole = [inputs for outputs, inputs in self.taps if self._whole(outputs)]
        rest = [pair for pair in self.taps if not self._whole(pair[0])]
        if not whole:
            out.fill(start)
        elif len(whole) == 1:
            np.copyto(out, x[whole[0]])
        else:
            ufunc(x[whole[0]], x[whole[1]], out=out)
        for inputs in whole[2:]:
            ufunc(out, x[inputs], out=out)
        for outputs, inputs in rest:
            part = out[outputs]
            ufunc(part, x[inputs], out=part)

    def spread(self, y: Array, out: Array) -> None:
        """Write into out the sums, along its first axis, of the y of its windows."""
        if not (self.disjoint and self.covering):
            out.fill(0)
        for outputs, inputs in self.taps:
            part = out[inputs]
            if self.disjoint:
                np.copyto(part, y[outputs])
            else:
                np.add(part, y[outputs], out=part)

    def _whole(self, outputs: slice) -> bool:
        return outputs == slice(0, self.count)

    @cached_property
    def _reached(self) -> list[int]:
        return [i for _, s in self.taps for i in range(self.size)[s]]


@dataclass(frozen=True)
class PoolingKernel(TileKernel, ABC):
    """Pooling of B images under windows. Abstract.

    The image has H rows, W columns and C channels, the output P rows and Q
    columns.  Pooling over one axis is one with H = 1 and a window of one row.
    """

    H: int
    B: int
    W: int
    C: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    dilation: tuple[int, int]
    ceil_mode: bool
    dtype: DType

    @classmethod
    def fits(cls, sizes: Sequence[int], axes: int, dtype: DType) -> bool:
        """Whether the kernel can compute this: no size 0, float32 or float64."""
        floats = np.dtype(np.float32), np.dtype(np.float64)
        return axes in (1, 2) and min(sizes) > 0 and dtype in floats

    @property
    def P(self) -> int:  # noqa: N802
        """The rows of the output."""
        return self.rows.count

    @property
    def Q(self) -> int:  # noqa: N802
        """The columns of the output."""
        return self.columns.count

    @cached_property
    def rows(self) -> AxisTaps:
        """The taps down the rows."""
        return self._axis(0, self.H)

    @cached_property
    def columns(self) -> AxisTaps:
        """The taps across the columns."""
        return self._axis(1, self.W)

    def _axis(self, axis: int, size: int) -> AxisTaps:
        window = Window(self.kernel, self.stride, self.dilation, self.padding)
        counts = known(output_sizes(window, (self.H, self.W), self.ceil_mode))
        taps = axis_taps(window, axis, size, counts[axis])
        return AxisTaps(size, counts[axis], tuple((o, i) for _, o, i in taps))
