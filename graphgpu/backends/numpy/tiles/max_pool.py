"""Max pooling of a tile, and its gradient.

The gradient of a window goes to its first maximum, or first NaN, in row-major
order.  Which tap that is takes a byte, and is found while the tile is in cache.
The gradient is selected by a product of integers, its bits as an integer times 0
or 1: exact, also where it is infinite or NaN, and as fast as one of floats.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np

from graphgpu.backends.numpy.tiles.kernel import BoundKernel, Need
from graphgpu.backends.numpy.tiles.windows import PoolingKernel
from graphgpu.dtypes import Array, DType

__all__ = ["MaxPoolBackward", "MaxPoolForward", "MaxPoolSearch"]

_BOOL = np.dtype(bool)
_INTEGERS: dict[int, DType] = {4: np.dtype(np.int32), 8: np.dtype(np.int64)}


@dataclass(frozen=True)
class MaxPoolForward(PoolingKernel):
    """y[p] = max_k x[p stride - before + k dilation]: called with x and out.

    It is NaN if one is, -∞ where there is nothing but padding.
    """

    def needs(self) -> tuple[Need, ...]:
        """Return an array for the maxima down the rows."""
        if self.rows.trivial or self.columns.trivial:
            return ()
        return (Need((self.P, self.B, self.W, self.C), self.dtype),)

    def bind(self, *arrays: Array) -> BoundKernel:
        """Return the pooling in these arrays."""
        return _Forward(self, arrays)


@final
class _Forward(BoundKernel):
    def __init__(self, plan: MaxPoolForward, arrays: tuple[Array, ...]) -> None:
        self._rows, self._columns = plan.rows, plan.columns
        self._half = arrays[0] if arrays else None

    def __call__(self, x: Array, out: Array) -> None:
        if not self._rows.trivial:
            half = out if self._half is None else self._half
            self._rows.combine(np.maximum, x, -np.inf, half)
            x = half
        if x is not out:
            across, target = x.transpose(2, 0, 1, 3), out.transpose(2, 0, 1, 3)
            self._columns.combine(np.maximum, across, -np.inf, target)


class MaxPoolingKernel(PoolingKernel):
    """What the search for the maxima and the gradient share. Abstract."""

    @cached_property
    def taps(self) -> tuple[tuple[Any, tuple[slice, ...]], ...]:
        """The outputs and the inputs of each tap, in row-major order."""
        every = slice(None)
        return tuple(
            (... if self.complete else (p, every, q), (h, every, w))
            for p, h in self.rows.taps
            for q, w in self.columns.taps
        )

    @cached_property
    def complete(self) -> bool:
        """Whether no tap of any window is padding: each window has a maximum."""
        return self.rows.complete and self.columns.complete

    @property
    def masks(self) -> Need:
        """A bool for each window."""
        return Need((self.P, self.B, self.Q, self.C), _BOOL)


@dataclass(frozen=True)
class MaxPoolSearch(MaxPoolingKernel):
    """k[p] is the first tap that is y[p] or NaN: called with x, y and out.

    The number of taps stands for none of them.
    """

    def needs(self) -> tuple[Need, ...]:
        """Return which windows are still to be found, and which a tap is not in."""
        return self.masks, self.masks

    def bind(self, *arrays: Array) -> BoundKernel:
        """Return the search in these arrays."""
        return _Search(self, arrays)


@final
class _Search(BoundKernel):
    def __init__(self, plan: MaxPoolSearch, arrays: tuple[Array, ...]) -> None:
        self._left, other = arrays
        taps = plan.taps[:-1] if plan.complete else plan.taps  # one must be
        self._taps = [(p, x, self._left[p], other[p]) for p, x in taps]

    def __call__(self, x: Array, y: Array, out: Array) -> None:
        nan = bool(np.isnan(np.max(y)))
        step = self._left.view(np.uint8)
        self._left.fill(True)
        out.fill(0)
        for outputs, inputs, left, other in self._taps:
            value = x[inputs]
            np.not_equal(value, y[outputs], out=other)
            np.logical_and(left, other, out=left)
            if nan:  # a window with a NaN has no other maximum than its NaNs
                np.equal(value, value, out=other)
                np.logical_and(left, other, out=left)
            np.add(out, step, out=out)


@dataclass(frozen=True)
class MaxPoolBackward(MaxPoolingKernel):
    """The gradient: called with grad, the taps [P,B,Q,C] and out [H,B,W,C]."""

    def needs(self) -> tuple[Need, ...]:
        """Return a mask, and what is selected by it if windows overlap."""
        if self.disjoint:
            return (self.masks,)
        return self.masks, Need(self.masks.shape, self.dtype)

    @property
    def disjoint(self) -> bool:
        """Whether no element is in two windows."""
        return self.rows.disjoint and self.columns.disjoint

    def bind(self, *arrays: Array) -> BoundKernel:
        """Return the gradient in these arrays."""
        return _Backward(self, arrays)


@final
class _Backward(BoundKernel):
    def __init__(self, plan: MaxPoolBackward, arrays: tuple[Array, ...]) -> None:
        hit, *selected = arrays
        self._integers = _INTEGERS[plan.dtype.itemsize]
        self._clear = not (
            plan.disjoint and plan.rows.covering and plan.columns.covering
        )
        self._taps = [(p, x, hit[p], [s[p] for s in selected]) for p, x in plan.taps]

    def __call__(self, grad: Array, taps: Array, out: Array) -> None:
        if self._clear:
            out.fill(0)
        bits, target = grad.view(self._integers), out.view(self._integers)
        for tap, (outputs, inputs, hit, selected) in enumerate(self._taps):
            np.equal(taps[outputs], tap, out=hit)
            if not selected:
                np.multiply(bits[outputs], hit, out=target[inputs])
                continue
            (part,) = selected
            np.multiply(bits[outputs], hit, out=part.view(self._integers))
            np.add(out[inputs], part, out=out[inputs])
