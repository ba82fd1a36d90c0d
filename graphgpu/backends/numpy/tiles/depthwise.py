"""Depthwise convolutions of tiles: a kernel for each channel, at stride 1.

With the tile padded, tap (i, j) of all kernels reads rows that are contiguous over
columns and channels; they are multiplied by the tap's weights, repeated for every
column.  A few rows at a time, so that the sum stays in cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from graphgpu.dtypes import Array

__all__ = ["Depthwise"]

_CHUNK = 2**15
"""Elements of the output that are summed at a time."""


@dataclass(frozen=True)
class Depthwise:
    """y[p, b, q, c] = Σ_ij x[p + i di, b, q + j dj, c] w[i, j, c], x being padded."""

    kernel: tuple[int, int]
    dilation: tuple[int, int]
    columns: int
    """Of y: Q."""
    channels: int
    flipped: bool = False
    """Whether the kernels are turned round, as the adjoint's are."""

    @property
    def acc_shape(self) -> tuple[int, int]:
        """The shape of the sums that make the gradient of the kernels."""
        return prod(self.kernel), self.columns * self.channels

    def repeat(self, weight: Array, rows: Array) -> None:
        """Write kernels [C, 1, kh, kw] as rows [kh kw, Q C]."""
        ordered = weight[:, 0, ::-1, ::-1] if self.flipped else weight[:, 0]
        taps = ordered.transpose(1, 2, 0).reshape(-1, 1, self.channels)
        np.copyto(rows.reshape(-1, self.columns, self.channels), taps)

    def to_logical(self, total: Array, out: Array) -> None:
        """Write the gradient of the kernels."""
        sums = total.reshape(*self.kernel, self.columns, self.channels).sum(2)
        np.copyto(out[:, 0], sums.transpose(2, 0, 1))

    def forward(self, padded: Array, rows: Array, out: Array, term: Array) -> None:
        """Add up the taps, in their order."""
        for first, target in self._chunks(out):
            part = term[: target.size].reshape(target.shape)
            for tap, source in self._taps(padded, first, target.shape[0]):
                if tap == 0:
                    np.multiply(source, rows[tap], out=target)
                else:
                    np.multiply(source, rows[tap], out=part)
                    np.add(target, part, out=target)

    def weights(self, padded: Array, grad: Array, acc: Array, term: Array) -> None:
        """Add the products with a gradient, summed over rows and images."""
        for first, given in self._chunks(grad):
            part = term[: given.size].reshape(given.shape)
            lines = part.reshape(-1, part.shape[-1])
            ones = np.ones(len(lines), lines.dtype)
            for tap, source in self._taps(padded, first, given.shape[0]):
                np.multiply(source, given, out=part)
                acc[tap] += ones @ lines

    def _chunks(self, tile: Array) -> Iterator[tuple[int, Array]]:
        """Yield the rows of a tile [P, B, Q, C], a few at a time, as [n, B, Q C]."""
        height, images = tile.shape[:2]
        lines = tile.reshape(height, images, -1)
        step = max(1, _CHUNK // max(1, prod(lines.shape[1:])))
        for first in range(0, height, step):
            yield first, lines[first : first + step]

    def _taps(
        self, padded: Array, first: int, count: int
    ) -> Iterator[tuple[int, Array]]:
        """Yield what each tap reads for rows of the output, as [n, B, Q C]."""
        _, images, width, channels = padded.shape
        lines = padded.reshape(-1, images, width * channels)
        length = self.columns * channels
        for i in range(self.kernel[0]):
            start = first + i * self.dilation[0]
            rows = lines[start : start + count]
            for j in range(self.kernel[1]):
                at = j * self.dilation[1] * channels
                yield i * self.kernel[1] + j, rows[..., at : at + length]
