"""Max pooling of a tile, and its gradient.

The gradient of a window goes to its first maximum, or first NaN, in row-major
order.  It is selected by a product of integers, its bits as an integer times 0 or
1: exact, also where it is infinite or NaN, and as fast as one of floats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from graphgpu.backends.numpy.tiles.kernel import BoundKernel, Need
from graphgpu.backends.numpy.tiles.windows import PoolingKernel
from graphgpu.dtypes import Array, DType

__all__ = ["MaxPoolBackward", "MaxPoolForward"]

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


@dataclass(frozen=True)
class MaxPoolBackward(PoolingKernel):
    """The gradient: called with x, y, grad [P,B,Q,C] and out [H,B,W,C].

    y are the maxima; with None for y, they are computed again.
    """

    def needs(self) -> tuple[Need, ...]:
        """Return masks, maxima, and what is selected if windows overlap."""
        shape = (self.P, self.B, self.Q, self.C)
        masks = (Need(shape, _BOOL),) * 3
        selected = () if self.disjoint else (Need(shape, self.dtype),)
        return (*masks, Need(shape, self.dtype), *selected, *self._forward().needs())

    @property
    def disjoint(self) -> bool:
        """Whether no element is in two windows."""
        return self.rows.disjoint and self.columns.disjoint

    def bind(self, *arrays: Array) -> BoundKernel:
        """Return the gradient in these arrays."""
        return _Backward(self, arrays)

    def _forward(self) -> MaxPoolForward:
        return MaxPoolForward(
            self.H,
            self.B,
            self.W,
            self.C,
            self.kernel,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            self.dtype,
        )


@dataclass(frozen=True)
class _Tap:
    """One tap: where it reads, and the parts of the arrays that belong to it."""

    outputs: Any
    inputs: tuple[slice, ...]
    hit: Array
    free: Array
    now: Array
    selected: Array | None


@final
class _Backward(BoundKernel):
    def __init__(self, plan: MaxPoolBackward, arrays: tuple[Array, ...]) -> None:
        hit, self._free, now, self._maxima, *rest = arrays
        self._integers = _INTEGERS[plan.dtype.itemsize]
        selected = None if plan.disjoint else rest.pop(0).view(self._integers)
        self._forward = plan._forward().bind(*rest)
        self._complete = plan.rows.complete and plan.columns.complete
        covering = plan.rows.covering and plan.columns.covering
        self._clear = not (plan.disjoint and covering)
        every = slice(None)
        self._taps = []
        for p, h in plan.rows.taps:
            for q, w in plan.columns.taps:
                outputs = ... if self._complete else (p, every, q)
                masks = hit[outputs], self._free[outputs], now[outputs]
                part = None if selected is None else selected[outputs]
                self._taps.append(_Tap(outputs, (h, every, w), *masks, part))

    def __call__(self, x: Array, y: Array | None, grad: Array, out: Array) -> None:
        if y is None:
            y = self._maxima
            self._forward(x, y)
        nan = bool(np.isnan(np.max(y)))
        if self._clear:
            out.fill(0)
        if not self._complete:
            self._free.fill(True)
        bits = grad.view(self._integers)
        for number, tap in enumerate(self._taps):
            if self._complete and number == len(self._taps) - 1 > 0:
                taken = tap.free  # each window has a maximum
            else:
                first = self._complete and number == 0
                taken = _take(tap, x[tap.inputs], y[tap.outputs], first, nan)
            self._route(bits[tap.outputs], taken, tap, out[tap.inputs])

    def _route(self, bits: Array, taken: Array, tap: _Tap, out: Array) -> None:
        """Write, or add where windows overlap, the gradient of the windows taken."""
        if tap.selected is None:
            np.multiply(bits, taken, out=out.view(self._integers))
        else:
            np.multiply(bits, taken, out=tap.selected)
            np.add(out, tap.selected.view(out.dtype), out=out)


def _take(tap: _Tap, x: Array, y: Array, first: bool, nan: bool) -> Array:
    """Return where a tap is the first that is the maximum, and mark it."""
    np.equal(x, y, out=tap.hit)
    if nan:  # a window with a NaN has no other maximum than its NaNs
        np.isnan(x, out=tap.now)
        np.logical_or(tap.hit, tap.now, out=tap.hit)
    if first:
        np.logical_not(tap.hit, out=tap.free)
        return tap.hit
    np.logical_and(tap.hit, tap.free, out=tap.now)
    np.logical_xor(tap.free, tap.now, out=tap.free)
    return tap.now
