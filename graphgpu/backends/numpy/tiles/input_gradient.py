"""The gradient of a convolution with respect to a tile of its input.

x[h] = Σ y[p] w[i] over p stride - before + i dilation = h, along each axis.
Let h = n stride + a.  For each residue a the sum is a convolution of y at stride
1, with the taps i for which a + before - i dilation is a multiple of the stride:
tap i reads y[n + shift], shift = (a + before - i dilation) / stride.  No zeros are
put between the rows of y, and no two products write the same element.

Down the rows the residues are products apart.  Across the columns they are the
columns of one product, whose weights are 0 where a residue has no tap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np

from graphgpu.backends.numpy.tiles.convolution import ConvolutionKernel
from graphgpu.backends.numpy.tiles.kernel import BoundKernel, Need
from graphgpu.backends.numpy.tiles.products import Products
from graphgpu.backends.numpy.tiles.rows import RowExpansion
from graphgpu.dtypes import Array

__all__ = ["BoundInput", "ConvolutionInput"]


@dataclass(frozen=True)
class ConvolutionInput(ConvolutionKernel):
    """The adjoint in the input: called with grad [P,B,Q,O], wt and out [H,B,W,C].

    wt has ``input_shape``; ``input_order`` writes it.  With None for grad, the
    rows expanded by the last call are taken.
    """

    @cached_property
    def row_taps(self) -> tuple[tuple[int, int], ...]:
        """The residue and the shift of each kernel row."""
        return tuple(self._tap(0, i) for i in range(self.kernel[0]))

    @cached_property
    def column_taps(self) -> tuple[tuple[int, int], ...]:
        """The residue and the shift of each kernel column."""
        return tuple(self._tap(1, j) for j in range(self.kernel[1]))

    @cached_property
    def shifts(self) -> range:
        """The shifts for which columns of y are laid side by side."""
        shifts = [shift for _, shift in self.column_taps]
        spacing = self.dilation[1] if self.stride[1] == 1 else 1
        return range(min(shifts), max(shifts) + 1, spacing)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """The weights' shape in the order of this product, [kh, T O, s C]."""
        return self.kernel[0], len(self.shifts) * self.O, self.stride[1] * self.C

    def gradient_expansion(self) -> RowExpansion:
        """Return the expansion of the output's gradient that the products read."""
        return RowExpansion(
            self.P,
            self.B,
            self.Q,
            self.O,
            self.dtype,
            firsts=tuple(shift for _, shift in self.row_taps),
            count=-(-self.H // self.stride[0]),
            step=1,
            left=self.shifts.start,
            Q=-(-self.W // self.stride[1]),
            column_step=1,
            T=len(self.shifts),
            spacing=self.shifts.step,
        )

    def input_order(self, weight: Array, out: Array) -> None:
        """Write weights [O, C, kh, kw] into wt, whose other elements stay 0."""
        for column, part in self._columns(out):
            np.copyto(part, weight[..., column].transpose(2, 0, 1))

    def from_input_order(self, product: Array, out: Array) -> None:
        """Write [kh, T O, s C] as weights [O, C, kh, kw]."""
        for column, part in self._columns(product):
            np.copyto(out[..., column], part.transpose(1, 2, 0))

    def needs(self) -> tuple[Need, ...]:
        """Return the expansion's arrays, and scratch for the sums."""
        rows = self.gradient_expansion()
        return (*rows.needs(), *self.sums())

    def sums(self) -> tuple[Need, ...]:
        """Return scratch for a term of the sums, and for a sum to be cropped."""
        rows = self.gradient_expansion()
        return (Need((rows.M, self.input_shape[2]), self.dtype),) * (1 + self.cropped)

    @property
    def across(self) -> int:
        """The rows of the products for one row of all images."""
        return self.B * -(-self.W // self.stride[1])

    @property
    def cropped(self) -> bool:
        """Whether the products have more columns than the image."""
        return self.W % self.stride[1] > 0

    def residue_taps(self, residue: int) -> list[int]:
        """Return the kernel rows that reach a residue."""
        return [i for i, (a, _) in enumerate(self.row_taps) if a == residue]

    def residue_products(self, residue: int) -> Products:
        """Return how the rows of a residue are computed."""
        rows = len(range(residue, self.H, self.stride[0]))
        # Where there are several residues, the rows of one are apart.
        piece = self.across if self.stride[0] > 1 else None
        return Products(rows * self.across, *self.input_shape[1:], piece)

    def bind(self, *arrays: Array) -> BoundKernel:
        """Return the adjoint in these arrays."""
        return BoundInput(self, arrays)

    def _tap(self, axis: int, index: int) -> tuple[int, int]:
        offset = self.padding[axis][0] - index * self.dilation[axis]
        residue = -offset % self.stride[axis]
        return residue, (residue + offset) // self.stride[axis]

    def _columns(self, product: Array) -> Iterator[tuple[int, Array]]:
        """Yield each kernel column and its part [kh, O, C] of a product's weights."""
        kh, s = self.kernel[0], self.stride[1]
        parts = product.reshape(kh, len(self.shifts), self.O, s, self.C)
        for column, (residue, shift) in enumerate(self.column_taps):
            yield column, parts[:, self.shifts.index(shift), :, residue]


@final
class BoundInput(BoundKernel):
    """The adjoint in the input, with its arrays."""

    def __init__(self, plan: ConvolutionInput, arrays: tuple[Array, ...]) -> None:
        self.plan = plan
        own = len(arrays) - len(plan.sums())
        self.rows = plan.gradient_expansion().bind(*arrays[:own])
        self.interior = self.rows.interior
        self._term, *self._whole = arrays[own:]
        self._residues = [
            (a, plan.residue_products(a), plan.residue_taps(a))
            for a in range(min(plan.stride[0], plan.H))
        ]

    def __call__(self, grad: Array | None, wt: Array, out: Array) -> None:
        """Compute out from grad and wt."""
        self.multiply(self.rows.load(grad), wt, out)

    def multiply(self, matrices: Sequence[Array], wt: Array, out: Array) -> None:
        """Compute out from the matrices of an expanded gradient."""
        assert out.flags.c_contiguous  # else the views of it are copies
        stride = self.plan.stride[0]
        for a, products, taps in self._residues:
            part = out[a::stride] if stride > 1 else out
            if not taps:
                part.fill(0)
                continue
            size = len(part) * self.plan.across
            terms = [matrices[i][:size] for i in taps]
            weights = [wt[i] for i in taps]
            sums = self._whole[0][:size] if self._whole else part
            products.compute(terms, weights, sums, self._term[:size])
            if self._whole:
                self._crop(sums, part)

    def _crop(self, sums: Array, part: Array) -> None:
        """Copy all columns but the last ones, which the image lacks."""
        plan = self.plan
        wide = sums.reshape(len(part), plan.B, -1, plan.C)
        np.copyto(part, wide[:, :, : plan.W])
