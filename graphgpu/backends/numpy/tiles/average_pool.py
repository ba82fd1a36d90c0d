"""Average pooling of a tile, its adjoint, and means over whole images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np

from graphgpu.backends.numpy.tiles.kernel import BoundKernel, Need, TileKernel
from graphgpu.backends.numpy.tiles.windows import PoolingKernel
from graphgpu.dtypes import Array, DType

__all__ = [
    "AveragePoolBackward",
    "AveragePoolForward",
    "GlobalAverageBackward",
    "GlobalAverageForward",
]


@dataclass(frozen=True)
class AveragePoolingKernel(PoolingKernel):
    """What average pooling and its adjoint share. Abstract."""

    count_include_pad: bool = True

    @cached_property
    def divisors(self) -> Array:
        """The number of elements that count in each window.

        Of shape [P, 1, Q C]; a single number if all are the same.
        """
        down, across = self._lengths(0, self.H), self._lengths(1, self.W)
        counts = np.multiply.outer(down, across).astype(self.dtype)
        if (counts == counts[0, 0]).all():
            number: Array = counts[:1, :1].reshape(())
            return number
        return np.repeat(counts, self.C, axis=1)[:, np.newaxis]

    def _lengths(self, axis: int, size: int) -> Array:
        before, after = self.padding[axis]
        count = (self.P, self.Q)[axis]
        start = np.arange(count) * self.stride[axis] - before
        stop = start + self.kernel[axis]
        if self.count_include_pad:
            stop = np.minimum(stop, size + after)
        else:
            start, stop = np.maximum(start, 0), np.minimum(stop, size)
        lengths: Array = np.maximum(stop - start, 1)
        return lengths


@dataclass(frozen=True)
class AveragePoolForward(AveragePoolingKernel):
    """y[p] = Σ_k x[p stride - before + k] / N_p: called with x and out."""

    def needs(self) -> tuple[Need, ...]:
        """Return an array for the sums down the rows."""
        return (Need((self.P, self.B, self.W, self.C), self.dtype),)

    def bind(self, *arrays: Array) -> BoundKernel:
        """Return the pooling in these arrays."""
        return _Forward(self, *arrays)


@final
class _Forward(BoundKernel):
    def __init__(self, plan: AveragePoolForward, half: Array) -> None:
        self._plan, self._half = plan, half

    def __call__(self, x: Array, out: Array) -> None:
        assert out.flags.c_contiguous  # else the views of it are copies
        plan, half = self._plan, self._half
        plan.rows.combine(np.add, x, 0, half)
        across, target = half.transpose(2, 0, 1, 3), out.transpose(2, 0, 1, 3)
        plan.columns.combine(np.add, across, 0, target)
        whole = out.reshape(plan.P, plan.B, -1)
        np.divide(whole, plan.divisors, out=whole)


@dataclass(frozen=True)
class AveragePoolBackward(AveragePoolingKernel):
    """x[i] = Σ y[p] / N_p over the windows of i: called with grad and out."""

    def needs(self) -> tuple[Need, ...]:
        """Return arrays for the quotients, and for their sums across the columns."""
        quotients = Need((self.P, self.B, self.Q, self.C), self.dtype)
        half = Need((self.P, self.B, self.W, self.C), self.dtype)
        return quotients, half

    def bind(self, *arrays: Array) -> BoundKernel:
        """Return the adjoint in these arrays."""
        return _Backward(self, *arrays)


@final
class _Backward(BoundKernel):
    def __init__(
        self, plan: AveragePoolBackward, quotients: Array, half: Array
    ) -> None:
        self._plan, self._quotients, self._half = plan, quotients, half

    def __call__(self, grad: Array, out: Array) -> None:
        plan, half = self._plan, self._half
        wide = plan.P, plan.B, plan.Q * plan.C
        np.divide(grad.reshape(wide), plan.divisors, out=self._quotients.reshape(wide))
        across, target = (
            self._quotients.transpose(2, 0, 1, 3),
            half.transpose(2, 0, 1, 3),
        )
        plan.columns.spread(across, target)
        plan.rows.spread(half, out)


@dataclass(frozen=True)
class GlobalAverageForward(TileKernel):
    """y[b, c] = Σ_(h, w) x[h, b, w, c] / (H W): called with x and out [B, C].

    Without ``mean``, it is the sum.
    """

    H: int
    B: int
    W: int
    C: int
    dtype: DType
    mean: bool = True

    def needs(self) -> tuple[Need, ...]:
        """Return an array for the sums down the rows."""
        return (Need((self.B, self.W, self.C), self.dtype),)

    def bind(self, *arrays: Array) -> BoundKernel:
        """Return the mean in these arrays."""
        return _GlobalForward(self, *arrays)


@final
class _GlobalForward(BoundKernel):
    def __init__(self, plan: GlobalAverageForward, half: Array) -> None:
        self._down = np.ones(plan.H, plan.dtype)
        self._across = np.ones(plan.W, plan.dtype)
        self._down.flags.writeable = self._across.flags.writeable = False
        self._half, self._mean = half, plan.mean
        self._count = plan.dtype.type(plan.H * plan.W)

    def __call__(self, x: Array, out: Array) -> None:
        assert out.flags.c_contiguous  # else the views of it are copies
        # A product with ones is the fastest sum over the first of two axes.
        np.matmul(self._down, x.reshape(len(x), -1), out=self._half.reshape(-1))
        means = out.reshape(len(self._half), -1)
        np.matmul(self._across, self._half, out=means)
        if self._mean:
            np.divide(means, self._count, out=means)


@dataclass(frozen=True)
class GlobalAverageBackward(TileKernel):
    """x[h, b, w, c] = y[b, c] / (H W): called with grad [B, C] and out."""

    H: int
    B: int
    W: int
    C: int
    dtype: DType

    def needs(self) -> tuple[Need, ...]:
        """Return arrays for the quotients, and for a row of all images."""
        images = Need((self.B, 1, self.C), self.dtype)
        return images, Need((self.B, self.W, self.C), self.dtype)

    def bind(self, *arrays: Array) -> BoundKernel:
        """Return the adjoint in these arrays."""
        return _GlobalBackward(self, *arrays)


@final
class _GlobalBackward(BoundKernel):
    def __init__(self, plan: GlobalAverageBackward, images: Array, row: Array) -> None:
        self._images, self._row = images, row
        self._count = plan.dtype.type(plan.H * plan.W)

    def __call__(self, grad: Array, out: Array) -> None:
        quotients = self._images
        np.divide(grad.reshape(quotients.shape), self._count, out=quotients)
        np.copyto(self._row, quotients)
        np.copyto(out, self._row)
