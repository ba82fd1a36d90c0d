"""The rows of a tile, expanded for products with a kernel's rows.

A convolution with K kernel rows is the sum of K products: with the T taps of a
kernel row laid side by side, E[r, b, q, (t, c)] = x[r, b, q step + left + t
spacing, c] is a matrix of T C columns, and the rows of x that kernel row i reads
for all outputs and images are consecutive rows of it.  E is K times smaller
than the patches of K T C elements.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from numpy.lib.stride_tricks import as_strided

from graphgpu.backends.numpy.tiles.kernel import Need
from graphgpu.dtypes import Array, DType

__all__ = ["ExpandedRows", "RowExpansion"]


@dataclass(frozen=True)
class RowExpansion:
    """How a tile [H, B, W, C] is expanded. What lies outside of it counts as 0.

    Output row p reads, for kernel row i, the tile's row ``firsts[i] + p step``,
    p below ``count``; output column q reads the T columns ``left + q
    column_step + t spacing``, q below Q.
    """

    H: int
    B: int
    W: int
    C: int
    dtype: DType
    firsts: tuple[int, ...]
    count: int
    step: int
    left: int
    Q: int
    column_step: int
    T: int
    spacing: int
    patches: bool = False
    """Whether all kernel rows, evenly spaced, are laid side by side.

    For few channels: the matrix, of short rows, is stored by columns and the
    padded tile as [C, H, B, W], so that whole rows of images are copied.
    """

    @property
    def M(self) -> int:  # noqa: N802
        """The rows of each matrix."""
        return self.count * self.B * self.Q

    @property
    def L(self) -> int:  # noqa: N802
        """The columns of each matrix."""
        return self.T * self.C * (len(self.firsts) if self.patches else 1)

    @cached_property
    def as_is(self) -> bool:
        """Whether the tile itself has the rows: one tap that reads every column."""
        unmoved = (self.left, self.Q, self.column_step, self.T, self.step)
        one = len(self.firsts) == 1 or not self.patches
        return self.inside and one and unmoved == (0, self.W, 1, 1, 1)

    @cached_property
    def span(self) -> tuple[int, int, int, int]:
        """The rows and columns that are read, and the tile's: first, stop twice."""
        bottom = max(self.firsts) + (self.count - 1) * self.step + 1
        right = (self.Q - 1) * self.column_step + (self.T - 1) * self.spacing + 1
        rows = min(*self.firsts, 0), max(bottom, self.H)
        return *rows, min(self.left, 0), max(self.left + right, self.W)

    @cached_property
    def inside(self) -> bool:
        """Whether nothing outside of the tile is read."""
        return self.span == (0, self.H, 0, self.W)

    @cached_property
    def _classes(self) -> dict[int, tuple[int, int]]:
        """The rows to store, by their residue modulo the step: first and number.

        So the rows of a kernel row stay consecutive.
        """
        found = {}
        for residue in sorted({first % self.step for first in self.firsts}):
            same = [f for f in self.firsts if f % self.step == residue]
            more = (max(same) - min(same)) // self.step
            found[residue] = (min(same), more + self.count)
        return found

    @property
    def _shapes(self) -> list[tuple[int, ...]]:
        """The shapes of the buffers."""
        if self.patches:
            taps = (len(self.firsts), self.T, self.C)
            return [(*taps, self.count, self.B, self.Q)]
        tail = (self.B, self.Q, self.T, self.C)
        return [(rows, *tail) for _, rows in self._classes.values()]

    def needs(self) -> tuple[Need, ...]:
        """Return the padded tile, if any, and the buffers."""
        if self.as_is:
            return ()
        buffers = tuple(Need(shape, self.dtype) for shape in self._shapes)
        if self.inside:
            return buffers
        top, bottom, left, right = self.span
        padded: tuple[int, ...] = (bottom - top, self.B, right - left)
        padded = (self.C, *padded) if self.patches else (*padded, self.C)
        return (Need(padded, self.dtype, zero=True), *buffers)

    def bind(self, *arrays: Array) -> ExpandedRows:
        """Return the expansion into these arrays."""
        return ExpandedRows(self, arrays)

    def windows(self, tile: Array, row: int = 0, column: int = 0) -> list[Array]:
        """Return overlapping views of a tile, one for each buffer.

        ``row`` and ``column`` are where the tile has element 0.
        """
        down, images, across, item = tile.strides
        step, q, tap = (
            self.step * down,
            self.column_step * across,
            self.spacing * across,
        )
        strides: tuple[int, ...]
        if self.patches:
            starts = [self.firsts[0]]
            apart = (self.firsts[-1] - self.firsts[0]) // (len(self.firsts) - 1) * down
            strides = (apart, tap, item, step, images, q)
        else:
            starts = [first for first, _ in self._classes.values()]
            strides = (step, images, q, tap, item)
        corners = [tile[row + start :, :, column + self.left :] for start in starts]
        return [
            as_strided(corner, shape, strides, writeable=False)
            for corner, shape in zip(corners, self._shapes, strict=True)
        ]

    def matrices(self, buffers: list[Array]) -> list[Array]:
        """Return the matrix of each kernel row, or the one of patches."""
        if self.patches:
            return [buffers[0].reshape(self.L, self.M).T]
        found = []
        places = list(self._classes)
        for first in self.firsts:
            place = places.index(first % self.step)
            start = (first - self._classes[places[place]][0]) // self.step
            part = buffers[place][start : start + self.count]
            found.append(part.reshape(self.M, self.L))
        return found


@final
class ExpandedRows:
    """An expansion with its arrays."""

    def __init__(self, plan: RowExpansion, arrays: tuple[Array, ...]) -> None:
        self.plan = plan
        self.interior: Array | None = None
        self._windows: list[Array] | None = None
        if plan.as_is:
            return
        self._buffers = list(arrays)
        if not plan.inside:
            padded = self._buffers.pop(0)
            if plan.patches:
                padded = padded.transpose(1, 2, 3, 0)
            top, _, left, _ = plan.span
            self.interior = padded[-top : plan.H - top, :, -left : plan.W - left]
            self._windows = plan.windows(padded, -top, -left)
        self._matrices = plan.matrices(self._buffers)

    def load(self, x: Array | None) -> list[Array]:
        """Expand a tile, and return the matrices; None if it has been expanded."""
        plan = self.plan
        if x is None:
            return self._matrices
        if plan.as_is:
            rows = (x[first : first + plan.count] for first in plan.firsts)
            return [part.reshape(plan.M, plan.C) for part in rows]
        windows = self._windows
        if windows is None:
            windows = plan.windows(x)
        elif x is not self.interior:
            assert self.interior is not None
            np.copyto(self.interior, x)
        for buffer, window in zip(self._buffers, windows, strict=True):
            np.copyto(buffer, window)
        return self._matrices
