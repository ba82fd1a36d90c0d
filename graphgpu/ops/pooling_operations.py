"""Pooling under sliding windows: the operations and their adjoints.

Average pooling is linear, so it and its adjoint are each other's gradients.
Max pooling picks one element of each window; the picks are integers, which
have no gradient, and given them, it gathers.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import ClassVar

import numpy as np

from graphgpu.dims import Size, product
from graphgpu.dtypes import Array, accumulator, is_floating
from graphgpu.errors import DTypeError
from graphgpu.graph import Operation, Variable, apply
from graphgpu.ops.window_picks import WindowScatter, require_shape
from graphgpu.ops.windows import (
    Pairs,
    axis_taps,
    compact,
    known,
    output_sizes,
    require_axes,
    require_fit,
    settings,
    taps,
)
from graphgpu.types import Guards, Shape, TensorType, Type, Window

__all__: list[str] = []


class Pooling(Operation):
    """An operation on windows, each of one image and channel. Abstract."""

    call: ClassVar[str]
    """The function that a user would have called, the axes left open."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Pairs
    ceil_mode: bool

    @property
    @abstractmethod
    def sliding(self) -> Window:
        """How the window slides."""

    def __str__(self) -> str:
        """Print as the user's call."""
        window = self.sliding
        shown = settings(
            window.stride, window.padding, window.dilation, **self.others()
        )
        name = self.call.format(len(window.stride))
        return f"{name}(kernel_size={compact(window.kernel)}, {shown})"

    def others(self) -> dict[str, bool]:
        """Return the arguments that are not as usual, to be printed."""
        return {"ceil_mode": True} if self.ceil_mode else {}

    def infer(self, guards: Guards, x: TensorType) -> TensorType:
        """Require room for the window; one element stays of each."""
        require_axes(x, len(self.stride), "an input")
        require_fit(guards, self.sliding, x.shape[2:], self.ceil_mode)
        counts = output_sizes(self.sliding, x.shape[2:], self.ceil_mode)
        return TensorType(x.dtype, (*x.shape[:2], *counts))

    def counts(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """Return how many windows there are along each axis."""
        return known(output_sizes(self.sliding, tuple(sizes), self.ceil_mode))

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """One operation for each element of each window."""
        assert isinstance(output, TensorType)
        return output.size * product(self.kernel)


class MaxPooling(Pooling):
    """What max pooling and its picks share. Abstract."""

    dilation: tuple[int, ...]

    @property
    def sliding(self) -> Window:
        """How the window slides."""
        return Window(self.kernel, self.stride, self.dilation, self.padding)

    def largest(self, x: Array) -> Array:
        """Return the largest of the taps along one axis after the other."""
        if is_floating(x.dtype):
            least: float | int = -np.inf
        else:
            least = 0 if x.dtype.kind == "b" else np.iinfo(x.dtype).min
        return _combine(np.maximum, x, self.sliding, self.counts(x.shape[2:]), least)


@dataclass(frozen=True, slots=True)
class MaxPool(MaxPooling):
    """y[p] = max_k x[p stride - before + k dilation]; NaN if one is.

    Padding counts as -∞, or as the least integer.
    """

    call = "max_pool{}d"

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Pairs
    dilation: tuple[int, ...]
    ceil_mode: bool

    def numpy(self, x: Array) -> Array:
        """Compare the taps."""
        return self.largest(x)

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Each window's gradient goes to the element that was picked."""
        geometry = (self.kernel, self.stride, self.padding, self.dilation)
        picks = apply(MaxPoolIndices(*geometry, self.ceil_mode), inputs[0])
        return [apply(WindowScatter(inputs[0].shape, geometry), grad, picks)]

    def window(self, inputs: Sequence[TensorType]) -> Window:
        """Return how the window slides."""
        return self.sliding


@dataclass(frozen=True, slots=True)
class MaxPoolIndices(MaxPooling):
    """The place of each window's first maximum, or NaN, in its image and channel.

    Places count in row-major order over the spatial axes; -1 stands for a
    window that has nothing but padding.
    """

    call = "max_pool{}d_indices"

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Pairs
    dilation: tuple[int, ...]
    ceil_mode: bool

    def infer(self, guards: Guards, x: TensorType) -> TensorType:
        """Return the shape of the maxima, in int32."""
        return TensorType(np.dtype("int32"), Pooling.infer(self, guards, x).shape)

    def numpy(self, x: Array) -> Array:
        """Score a maximum at place i of n with n - i; the highest is the first."""
        largest = self.largest(x)
        sizes, counts = x.shape[2:], largest.shape[2:]
        places = prod(sizes)
        scores = np.arange(places, 0, -1, dtype=np.int32).reshape(sizes)
        best = np.zeros(largest.shape, np.int32)
        for _, outputs, inputs in taps(self.sliding, sizes, counts):
            value, part = x[:, :, *inputs], best[:, :, *outputs]
            # A window with a NaN has no other maximum than its NaNs.
            chosen = (value == largest[:, :, *outputs]) | np.isnan(value)
            np.maximum(part, chosen * scores[inputs], out=part)
        return np.where(best == 0, np.int32(-1), places - best)


class AveragePooling(Pooling):
    """What average pooling and its adjoint share. Abstract."""

    count_include_pad: bool

    @property
    def sliding(self) -> Window:
        """How the window slides."""
        ones = (1,) * len(self.stride)
        return Window(self.kernel, self.stride, ones, self.padding)

    def others(self) -> dict[str, bool]:
        """Return the arguments that are not as usual, to be printed."""
        counted = {} if self.count_include_pad else {"count_include_pad": False}
        return {**Pooling.others(self), **counted}

    def divisors(self, sizes: Sequence[int], counts: Sequence[int]) -> Array:
        """Return the number of elements that count in each window.

        What reaches beyond the padding, in ``ceil_mode``, does not count.
        """
        lengths = []
        for axis, (size, count) in enumerate(zip(sizes, counts, strict=True)):
            before, after = known(self.padding[axis])
            start = np.arange(count) * self.stride[axis] - before
            stop = start + self.kernel[axis]
            if self.count_include_pad:
                stop = np.minimum(stop, size + after)
            else:
                start, stop = np.maximum(start, 0), np.minimum(stop, size)
            lengths.append(np.maximum(stop - start, 1))
        result: Array = reduce(np.multiply.outer, lengths)
        return result


@dataclass(frozen=True, slots=True)
class AveragePool(AveragePooling):
    """y[p] = Σ_k x[p stride - before + k] / N_p, N_p elements being counted."""

    call = "avg_pool{}d"

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Pairs
    ceil_mode: bool
    count_include_pad: bool

    def infer(self, guards: Guards, x: TensorType) -> TensorType:
        """Require floating-point numbers, and room for the window."""
        if not is_floating(x.dtype):
            raise DTypeError("expected a floating-point dtype; use gg.cast")
        return Pooling.infer(self, guards, x)

    def numpy(self, x: Array) -> Array:
        """Add the taps along one axis after the other, then divide."""
        counts = self.counts(x.shape[2:])
        wide = x.astype(accumulator(x.dtype), copy=False)
        total = _combine(np.add, wide, self.sliding, counts, 0)
        mean: Array = total / self.divisors(x.shape[2:], counts).astype(total.dtype)
        return mean.astype(x.dtype, copy=False)

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Apply the adjoint."""
        adjoint = AveragePoolGradient(
            self.kernel,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            inputs[0].shape,
        )
        return [apply(adjoint, grad)]

    def window(self, inputs: Sequence[TensorType]) -> Window:
        """Return how the window slides."""
        return self.sliding


@dataclass(frozen=True, slots=True)
class AveragePoolGradient(AveragePooling):
    """x[i] = Σ y[p] / N_p over the windows p that element i lies in."""

    call = "avg_pool{}d_gradient"

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Pairs
    ceil_mode: bool
    count_include_pad: bool
    shape: Shape

    def infer(self, guards: Guards, y: TensorType) -> TensorType:
        """Require an element for each window."""
        counts = output_sizes(self.sliding, self.shape[2:], self.ceil_mode)
        require_shape(guards, y.shape, (*self.shape[:2], *counts))
        return TensorType(y.dtype, self.shape)

    def numpy(self, y: Array) -> Array:
        """Divide, then add each tap where it came from, axis after axis."""
        sizes = known(self.shape[2:])
        wide = y.astype(accumulator(y.dtype), copy=False)
        share: Array = wide / self.divisors(sizes, y.shape[2:]).astype(wide.dtype)
        for axis, (size, count) in enumerate(zip(sizes, y.shape[2:], strict=True)):
            moves = [
                (inputs, outputs)
                for _, outputs, inputs in axis_taps(self.sliding, axis, size, count)
            ]
            share = _along(axis + 2, np.add, share, size, moves, 0)
        return share.astype(y.dtype, copy=False)

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Pool the gradient."""
        pool = AveragePool(
            self.kernel,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
        )
        return [apply(pool, grad)]


def _combine(
    ufunc: np.ufunc, x: Array, window: Window, counts: Sequence[int], start: float
) -> Array:
    """Combine the taps of each window, along one spatial axis after the other."""
    for axis, count in enumerate(counts):
        size = x.shape[axis + 2]
        moves = [
            (outputs, inputs)
            for _, outputs, inputs in axis_taps(window, axis, size, count)
        ]
        x = _along(axis + 2, ufunc, x, count, moves, start)
    return x


def _along(
    axis: int,
    ufunc: np.ufunc,
    x: Array,
    size: int,
    moves: Sequence[tuple[slice, slice]],
    start: float,
) -> Array:
    """Combine slices of x into slices of a new array, along one axis."""
    result = np.full((*x.shape[:axis], size, *x.shape[axis + 1 :]), start, x.dtype)
    before = (slice(None),) * axis
    for target, source in moves:
        part = result[(*before, target)]
        ufunc(part, x[(*before, source)], out=part)
    return result
