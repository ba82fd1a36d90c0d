"""Pooling to a size that is given.

Along an axis of size H, the window i of P covers the elements from ⌊i H / P⌋
up to, and without, ⌈(i + 1) H / P⌉.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, ClassVar

import numpy as np

from graphgpu.dims import Size
from graphgpu.dtypes import Array, accumulator, is_floating
from graphgpu.errors import DTypeError, GraphError
from graphgpu.graph import Operand, Operation, Variable, apply, as_variable, located
from graphgpu.ops.elementwise import cast
from graphgpu.ops.window_picks import WindowScatter, require_shape
from graphgpu.ops.windows import (
    AXES,
    compact,
    known,
    per_axis,
    require_at_least,
    require_axes,
)
from graphgpu.types import Guards, Shape, TensorType, Type, Window

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
]

OutputSize = int | Sequence[int | None] | None


def parts(size: int, count: int) -> list[slice]:
    """Return what each of ``count`` adaptive windows covers of an axis.

    >>> parts(5, 2)
    [slice(0, 3, None), slice(2, 5, None)]
    """
    return [slice(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


class AdaptivePooling(Operation):
    """An operation on as many windows along each axis as are asked for. Abstract."""

    call: ClassVar[str]
    """The function that a user would have called, the axes left open."""

    output_size: Shape

    def __str__(self) -> str:
        """Print as the user's call."""
        name = self.call.format(len(self.output_size))
        return f"{name}(output_size={compact(self.output_size)})"

    def infer(self, guards: Guards, x: TensorType) -> TensorType:
        """Require an image that is not empty."""
        axes = len(self.output_size)
        require_axes(x, axes, "an input")
        for letter, size in zip(AXES[axes], x.shape[2:], strict=True):
            require_at_least(guards, size, 1, f"axis {letter} of input")
        return TensorType(x.dtype, (*x.shape[:2], *self.output_size))

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """One operation an element."""
        return inputs[0].size

    def window(self, inputs: Sequence[TensorType]) -> Window | None:
        """Return how the window slides, where that is even; else None."""
        axes, sizes = len(self.output_size), inputs[0].shape[2:]
        kernel: list[int] = []
        for size, count in zip(sizes, self.output_size, strict=True):
            if not (isinstance(size, int) and isinstance(count, int)) or size % count:
                return None
            kernel.append(size // count)
        return Window(tuple(kernel), tuple(kernel), (1,) * axes, ((0, 0),) * axes)


@dataclass(frozen=True, slots=True)
class AdaptiveMaxPool(AdaptivePooling):
    """y[p] = max x[i] over the elements i of window p; NaN if one is."""

    call = "adaptive_max_pool{}d"

    output_size: Shape

    def numpy(self, x: Array) -> Array:
        """Take the largest along one axis after the other."""
        for axis, count in enumerate(known(self.output_size)):
            x = _reduce(partial(np.max, keepdims=True), x, axis + 2, count)
        return x

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Each window's gradient goes to the element that was picked."""
        picks = apply(AdaptiveMaxPoolIndices(self.output_size), inputs[0])
        return [apply(WindowScatter(inputs[0].shape, None), grad, picks)]


@dataclass(frozen=True, slots=True)
class AdaptiveMaxPoolIndices(AdaptivePooling):
    """The place of each window's first maximum, or NaN, in its image and channel."""

    call = "adaptive_max_pool{}d_indices"

    output_size: Shape

    def infer(self, guards: Guards, x: TensorType) -> TensorType:
        """Return the shape of the maxima, in int32."""
        shape = AdaptivePooling.infer(self, guards, x).shape
        return TensorType(np.dtype("int32"), shape)

    def numpy(self, x: Array) -> Array:
        """Search one window after the other; NaN counts as the largest."""
        sizes, counts = x.shape[2:], known(self.output_size)
        places = np.arange(prod(sizes), dtype=np.int32).reshape(sizes)
        picks = np.empty((*x.shape[:2], *counts), np.int32)
        wide = x.astype(accumulator(x.dtype), copy=False)
        axes = [parts(s, c) for s, c in zip(sizes, counts, strict=True)]
        for index in np.ndindex(counts):
            inside = [axis[i] for axis, i in zip(axes, index, strict=True)]
            here = places[tuple(inside)].ravel()
            window = wide[:, :, *inside].reshape(*x.shape[:2], here.size)
            picks[(..., *index)] = here[window.argmax(axis=-1)]
        return picks


@dataclass(frozen=True, slots=True)
class AdaptiveAveragePool(AdaptivePooling):
    """y[p] = the mean of x[i] over the elements i of window p."""

    call = "adaptive_avg_pool{}d"

    output_size: Shape

    def infer(self, guards: Guards, x: TensorType) -> TensorType:
        """Require floating-point numbers, and an image that is not empty."""
        if not is_floating(x.dtype):
            raise DTypeError("expected a floating-point dtype; use gg.cast")
        return AdaptivePooling.infer(self, guards, x)

    def numpy(self, x: Array) -> Array:
        """Average along one axis after the other: windows are rectangles."""
        mean = x.astype(accumulator(x.dtype), copy=False)
        for axis, count in enumerate(known(self.output_size)):
            mean = _reduce(partial(np.mean, keepdims=True), mean, axis + 2, count)
        return mean.astype(x.dtype, copy=False)

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Apply the adjoint."""
        adjoint = AdaptiveAveragePoolGradient(self.output_size, inputs[0].shape)
        return [apply(adjoint, grad)]


@dataclass(frozen=True, slots=True)
class AdaptiveAveragePoolGradient(AdaptivePooling):
    """x[i] = Σ y[p] / N_p over the windows p, of N_p elements, that i lies in."""

    call = "adaptive_avg_pool{}d_gradient"

    output_size: Shape
    shape: Shape

    def infer(self, guards: Guards, y: TensorType) -> TensorType:
        """Require an element for each window."""
        require_shape(guards, y.shape, (*self.shape[:2], *self.output_size))
        return TensorType(y.dtype, self.shape)

    def numpy(self, y: Array) -> Array:
        """Spread each element over its window, along one axis after the other."""
        share = y.astype(accumulator(y.dtype), copy=False)
        for axis, size in enumerate(known(self.shape[2:]), start=2):
            shape = (*share.shape[:axis], size, *share.shape[axis + 1 :])
            total = np.zeros(shape, share.dtype)
            before = (slice(None),) * axis
            for i, covered in enumerate(parts(size, share.shape[axis])):
                given = share[(*before, slice(i, i + 1))]
                total[(*before, covered)] += given / (covered.stop - covered.start)
            share = total
        return share.astype(y.dtype, copy=False)

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Pool the gradient."""
        return [apply(AdaptiveAveragePool(self.output_size), grad)]

    def window(self, inputs: Sequence[TensorType]) -> None:
        """Return None: windows slide over the result, not over the input."""
        return


def adaptive_avg_pool1d(x: Operand, output_size: OutputSize) -> Variable:
    """Return averages of x: N, C, W, as many as asked for.

    As :func:`adaptive_avg_pool2d`.
    """
    return _average(1, x, output_size)


def adaptive_avg_pool2d(x: Operand, output_size: OutputSize) -> Variable:
    """Return averages of images x: N, C, H, W, as many along each axis as asked for.

    The window i of P along an axis of size H covers the elements from ⌊i H / P⌋
    up to, and without, ⌈(i + 1) H / P⌉.

    Parameters
    ----------
    x
        Floating-point numbers; integers become float32.
    output_size
        An int, or one for each spatial axis; None keeps the axis.

    Raises
    ------
    ShapeError
        An argument is none of the above; an axis is empty.

    Examples
    --------
    >>> import graphgpu as gg
    >>> x = gg.placeholder("x", ("batch", 16, "h", "w"))
    >>> gg.adaptive_avg_pool2d(x, (7, None)).type
    float32[batch,16,7,w]
    """
    return _average(2, x, output_size)


def adaptive_avg_pool3d(x: Operand, output_size: OutputSize) -> Variable:
    """Return averages of x: N, C, D, H, W, as many along each axis as asked for.

    As :func:`adaptive_avg_pool2d`.
    """
    return _average(3, x, output_size)


def adaptive_max_pool1d(x: Operand, output_size: OutputSize) -> Variable:
    """Return maxima of x: N, C, W, as many as asked for.

    As :func:`adaptive_max_pool2d`.
    """
    return _maximum(1, x, output_size)


def adaptive_max_pool2d(x: Operand, output_size: OutputSize) -> Variable:
    """Return maxima of images x: N, C, H, W, as many along each axis as asked for.

    The windows are those of :func:`adaptive_avg_pool2d`; the gradient goes to a
    window's first maximum, and NaN is larger than any number.
    """
    return _maximum(2, x, output_size)


def adaptive_max_pool3d(x: Operand, output_size: OutputSize) -> Variable:
    """Return maxima of x: N, C, D, H, W, as many along each axis as asked for.

    As :func:`adaptive_max_pool2d`.
    """
    return _maximum(3, x, output_size)


def _average(axes: int, x: Operand, output_size: OutputSize) -> Variable:
    variable = as_variable(x)
    if not is_floating(variable.dtype):
        variable = cast(variable, "float32")
    counts = _counts(f"adaptive_avg_pool{axes}d", axes, variable, output_size)
    return apply(AdaptiveAveragePool(counts), variable)


def _maximum(axes: int, x: Operand, output_size: OutputSize) -> Variable:
    variable = as_variable(x)
    counts = _counts(f"adaptive_max_pool{axes}d", axes, variable, output_size)
    return apply(AdaptiveMaxPool(counts), variable)


def _counts(name: str, axes: int, x: Variable, output_size: OutputSize) -> Shape:
    """Return how many windows there are along each axis, or an error."""
    listed: Any = output_size
    if not isinstance(output_size, tuple | list):
        listed = (output_size,) * axes
    try:
        require_axes(x.tensor, axes, "an input")
        given = per_axis(
            "output_size", tuple(1 if c is None else c for c in listed), axes, 1
        )
    except GraphError as error:
        call = f"{name}(output_size={output_size!r})"
        raise located(error, call, (x,)) from None
    sizes = zip(listed, given, x.shape[2:], strict=True)
    return tuple(size if c is None else g for c, g, size in sizes)


def _reduce(function: Any, x: Array, axis: int, count: int) -> Array:
    """Reduce what each window covers along an axis."""
    before = (slice(None),) * axis
    pieces = [
        function(x[(*before, covered)], axis=axis)
        for covered in parts(x.shape[axis], count)
    ]
    return np.concatenate(pieces, axis)
