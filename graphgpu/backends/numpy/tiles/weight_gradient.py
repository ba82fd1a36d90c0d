"""The gradient of a convolution with respect to its weights, tile by tile.

w[i, (j, c), o] = Σ_(p, b, q) E_i[(p, b, q), (j, c)] y[p, b, q, o] with E_i the
expanded rows of x that kernel row i reads.  Where the input's gradient is wanted
too, the expanded rows of y's gradient, made for that, serve as well.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import final

from graphgpu.backends.numpy.tiles.convolution import (
    ConvolutionKernel,
    from_forward_order,
)
from graphgpu.backends.numpy.tiles.input_gradient import BoundInput, ConvolutionInput
from graphgpu.backends.numpy.tiles.kernel import BoundKernel, Need
from graphgpu.backends.numpy.tiles.products import OuterProducts
from graphgpu.backends.numpy.tiles.rows import RowExpansion
from graphgpu.dtypes import Array

__all__ = ["ConvolutionBackward", "ConvolutionWeight"]


@dataclass(frozen=True)
class ConvolutionWeight(ConvolutionKernel):
    """The adjoint in the weights: called with x, grad, acc and first.

    acc [kh, kw C, O] is overwritten if first, else added to.  With None for x,
    the rows expanded by the last call, or by the forward convolution bound to
    the same arrays, are taken.
    """

    @property
    def acc_shape(self) -> tuple[int, int, int]:
        """The shape of the accumulator."""
        return self.product_shape

    def to_logical(self, acc: Array, out: Array) -> None:
        """Write the accumulator as weights [O, C, kh, kw]."""
        from_forward_order(acc, out)

    def needs(self) -> tuple[Need, ...]:
        """Return the expansion's arrays, and scratch for the products."""
        rows = self.expansion()
        return (*rows.needs(), *outer_needs(rows, self.O))

    def bind(self, *arrays: Array) -> BoundKernel:
        """Return the adjoint in these arrays."""
        return _Weight(self, arrays)


def outer_needs(rows: RowExpansion, depth: int) -> tuple[Need, ...]:
    """Return scratch for the outer products of expanded rows."""
    parts = OuterProducts(rows.M, rows.L, depth).parts
    product = Need((rows.L, depth), rows.dtype)
    several = Need((parts, rows.L, depth), rows.dtype)
    return (product, several) if parts > 1 else (product,)


@final
class _Weight(BoundKernel):
    def __init__(self, plan: ConvolutionWeight, arrays: tuple[Array, ...]) -> None:
        rows = plan.expansion()
        own = len(rows.needs())
        self._rows = rows.bind(*arrays[:own])
        self.interior = self._rows.interior
        self._products = OuterProducts(rows.M, rows.L, plan.O)
        self._scratch = arrays[own:]
        self._acc = (-1, rows.L, plan.O)

    def __call__(self, x: Array | None, grad: Array, acc: Array, first: bool) -> None:
        matrices = self._rows.load(x)
        for matrix, part in zip(matrices, acc.reshape(self._acc), strict=True):
            self._products.add(matrix, grad, part, first, *self._scratch)


@dataclass(frozen=True)
class ConvolutionBackward(ConvolutionInput):
    """Both adjoints: called with x, grad, wt, dx, acc and first.

    dx is the gradient in the tile x.  acc, of ``acc_shape``, is overwritten if
    first, else added to.  ``interior`` is for grad.
    """

    @cached_property
    def shared(self) -> bool:
        """Whether the expanded gradient serves both products.

        At larger strides a part of the second would be for residues without a tap.
        """
        return self.stride == (1, 1)

    @property
    def acc_shape(self) -> tuple[int, int, int]:
        """The shape of the accumulator."""
        return self.input_shape if self.shared else self.product_shape

    def to_logical(self, acc: Array, out: Array) -> None:
        """Write the accumulator as weights [O, C, kh, kw]."""
        if self.shared:
            self.from_input_order(acc, out)
        else:
            from_forward_order(acc, out)

    def needs(self) -> tuple[Need, ...]:
        """Return those of the adjoint in the input, then of that in the weights."""
        return (*super().needs(), *self._weight_needs())

    def weight(self) -> ConvolutionWeight:
        """Return the adjoint in the weights that expands x itself."""
        return ConvolutionWeight(*(getattr(self, f.name) for f in fields(self)))

    def bind(self, *arrays: Array) -> BoundKernel:
        """Return both adjoints in these arrays."""
        return BoundBackward(self, arrays)

    def _weight_needs(self) -> tuple[Need, ...]:
        if self.shared:
            return outer_needs(self.gradient_expansion(), self.C)
        return self.weight().needs()


@final
class BoundBackward(BoundKernel):
    """Both adjoints, with their arrays."""

    def __init__(self, plan: ConvolutionBackward, arrays: tuple[Array, ...]) -> None:
        own = len(ConvolutionInput.needs(plan))
        self._input = BoundInput(plan, arrays[:own])
        self.interior = self._input.interior
        self._scratch = arrays[own:]
        self._weight = None if plan.shared else plan.weight().bind(*arrays[own:])
        rows = plan.gradient_expansion()
        self._products = OuterProducts(rows.M, rows.L, plan.C)

    def __call__(
        self, x: Array, grad: Array, wt: Array, dx: Array, acc: Array, first: bool
    ) -> None:
        """Compute dx, and add to acc."""
        matrices = self._input.rows.load(grad)
        self._input.multiply(matrices, wt, dx)
        if self._weight:
            self._weight(x, grad, acc, first)
            return
        for matrix, part in zip(matrices, acc, strict=True):
            self._products.add(matrix, x, part, first, *self._scratch)
