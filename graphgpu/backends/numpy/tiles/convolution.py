"""Convolution of a tile, by products with expanded rows.

y[p, b, q, o] = Σ_i Σ_(j, c) x[p stride - before + i dilation, b, q stride -
before + j dilation, c] w[i, (j, c), o]: one product for each kernel row i.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, final

import numpy as np

from graphgpu.backends.numpy.tiles.kernel import BoundKernel, Need, TileKernel
from graphgpu.backends.numpy.tiles.products import Products
from graphgpu.backends.numpy.tiles.rows import RowExpansion
from graphgpu.dtypes import Array, DType

__all__ = [
    "ConvolutionForward",
    "ConvolutionKernel",
    "forward_order",
    "from_forward_order",
]

_FEW_COLUMNS = 16
"""A product with fewer columns is slow: kernel rows are laid side by side."""


@dataclass(frozen=True)
class ConvolutionKernel(TileKernel, ABC):
    """A convolution of B images, or an adjoint of it. Abstract.

    The image has H rows, W columns and C channels, the output P, Q and O.
    A convolution over one axis is one with H = 1 and a kernel of one row.
    """

    H: int
    B: int
    W: int
    C: int
    O: int  # noqa: E741
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    dilation: tuple[int, int]
    dtype: DType

    dtypes: ClassVar = (np.dtype(np.float32), np.dtype(np.float64))

    @classmethod
    def fits(cls, sizes: Sequence[int], axes: int, groups: int, dtype: DType) -> bool:
        """Whether the kernel can compute this: one group, no size 0, BLAS's floats."""
        return groups == 1 and axes in (1, 2) and min(sizes) > 0 and dtype in cls.dtypes

    @cached_property
    def P(self) -> int:  # noqa: N802
        """The rows of the output."""
        return self._outputs(0, self.H)

    @cached_property
    def Q(self) -> int:  # noqa: N802
        """The columns of the output."""
        return self._outputs(1, self.W)

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """The weights' shape as users have it, [O, C, kh, kw]."""
        return self.O, self.C, *self.kernel

    @property
    def product_shape(self) -> tuple[int, int, int]:
        """The weights' shape in the order of the forward product."""
        return self.kernel[0], self.kernel[1] * self.C, self.O

    def expansion(self) -> RowExpansion:
        """Return the expansion of x that the forward product reads."""
        kh, kw = self.kernel
        few = kw * self.C < _FEW_COLUMNS
        (top, _), (left, _) = self.padding
        return RowExpansion(
            self.H,
            self.B,
            self.W,
            self.C,
            self.dtype,
            firsts=tuple(i * self.dilation[0] - top for i in range(kh)),
            count=self.P,
            step=self.stride[0],
            left=-left,
            Q=self.Q,
            column_step=self.stride[1],
            T=kw,
            spacing=self.dilation[1],
            patches=few and kh > 1,
        )

    def _outputs(self, axis: int, size: int) -> int:
        extent = (self.kernel[axis] - 1) * self.dilation[axis] + 1
        return (size + sum(self.padding[axis]) - extent) // self.stride[axis] + 1


@dataclass(frozen=True)
class ConvolutionForward(ConvolutionKernel):
    """The convolution: called with x [H,B,W,C], w [kh, kw C, O] and out [P,B,Q,O].

    With None for x, the rows expanded by the last call are taken.
    """

    def needs(self) -> tuple[Need, ...]:
        """Return the expansion's arrays, and a term of the sum."""
        rows = self.expansion()
        if len(rows.firsts) == 1 or rows.patches:
            return rows.needs()
        return (*rows.needs(), Need((rows.M, self.O), self.dtype))

    def bind(self, *arrays: Array) -> BoundKernel:
        """Return the convolution in these arrays."""
        return _Forward(self, arrays)


@final
class _Forward(BoundKernel):
    def __init__(self, plan: ConvolutionForward, arrays: tuple[Array, ...]) -> None:
        rows = plan.expansion()
        own = len(rows.needs())
        self._rows = rows.bind(*arrays[:own])
        self.interior = self._rows.interior
        self._term = arrays[own] if arrays[own:] else None
        self._products = Products(rows.M, rows.L, plan.O)
        self._weights = (-1, rows.L, plan.O)

    def __call__(self, x: Array | None, w: Array, out: Array) -> None:
        assert out.flags.c_contiguous  # else the views of it are copies
        matrices = self._rows.load(x)
        self._products.compute(matrices, w.reshape(self._weights), out, self._term)


def forward_order(weight: Array, out: Array) -> None:
    """Write weights [O, C, kh, kw] as w [kh, kw C, O]."""
    ordered = weight.transpose(2, 3, 1, 0)
    np.copyto(out.reshape(ordered.shape), ordered)


def from_forward_order(product: Array, out: Array) -> None:
    """Write [kh, kw C, O] as weights [O, C, kh, kw]."""
    ordered = out.transpose(2, 3, 1, 0)
    np.copyto(ordered, product.reshape(ordered.shape))
