"""Convolution and its two gradients: three operations.

As everywhere in deep learning, what is called convolution is the
cross-correlation (*Deep Learning*, equation 9.6).  It is linear in the input
and in the kernel, so the three operations here are each other's gradients
(section 9.5), and derivatives of any order are made of them.

With X the patches of the input under the kernel, one column for each output,
and W the kernels, one in each row, they are the products W X, Wᵀ G put back
where the patches came from, and G Xᵀ.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from graphgpu.dims import Size, product
from graphgpu.dtypes import Array, accumulator, is_floating
from graphgpu.errors import DTypeError, ShapeError
from graphgpu.graph import Operation, Variable, apply
from graphgpu.ops.windows import (
    AXES,
    Pairs,
    known,
    output_sizes,
    require_at_least,
    require_axes,
    require_fit,
    settings,
    taps,
)
from graphgpu.types import Guards, Shape, TensorType, Type, Window

__all__: list[str] = []

_BLOCK = 2**18
"""Elements of the patches that are made at a time: 1 MiB, which stays in cache."""


@dataclass(frozen=True, slots=True)
class ConvolutionFamily(Operation):
    """What the three operations share: how the kernel slides. Abstract.

    ``groups`` parts of the channels are convolved apart from each other.
    """

    call: ClassVar[str]
    """The function that a user would have called, the axes left open."""

    stride: tuple[int, ...]
    padding: Pairs
    dilation: tuple[int, ...]
    groups: int

    def __str__(self) -> str:
        """Print as the user's call."""
        groups = {"groups": self.groups} if self.groups != 1 else {}
        shown = settings(self.stride, self.padding, self.dilation, **groups)
        return f"{self.call.format(len(self.stride))}({shown})"

    def over(self, weight: Shape) -> Window:
        """Return the window, given the kernels' shape."""
        return Window(weight[2:], self.stride, self.dilation, self.padding)

    def check_kernels(self, guards: Guards, letter: str, weight: TensorType) -> None:
        """Require kernels that are not empty and split into the groups."""
        for axis, extent in zip(AXES[len(self.stride)], weight.shape[2:], strict=True):
            require_at_least(guards, extent, 1, f"axis {axis} of weight")
        size = weight.shape[0]
        if isinstance(size, int) and size % self.groups:
            raise ShapeError(
                f"axis {letter} is {size} in weight, which is not a multiple of "
                f"groups={self.groups}"
            )
        guards.divisible(size, self.groups, f"axis {letter} of weight")

    def convolve(self, x: Variable, weight: Variable) -> Variable:
        """Return the convolution with this geometry."""
        operation = Convolution(self.stride, self.padding, self.dilation, self.groups)
        return apply(operation, x, weight)

    def input_gradient(
        self, grad: Variable, weight: Variable, shape: Shape
    ) -> Variable:
        """Return the gradient with respect to an input of the shape given."""
        operation = ConvolutionInputGradient(
            self.stride, self.padding, self.dilation, self.groups, shape
        )
        return apply(operation, grad, weight)

    def weight_gradient(self, x: Variable, grad: Variable, shape: Shape) -> Variable:
        """Return the gradient with respect to kernels of the shape given."""
        operation = ConvolutionWeightGradient(
            self.stride, self.padding, self.dilation, self.groups, shape
        )
        return apply(operation, x, grad)

    def patches(self, x: Array, window: Window, counts: tuple[int, ...]) -> Array:
        """Return X[g, (c, k...), (n, p...)], the input under tap k of output p."""
        count = prod(known(window.kernel))
        shape = (x.shape[1], count, len(x), *counts)
        channels = x.astype(accumulator(x.dtype), copy=False).swapaxes(0, 1)
        columns = np.zeros(shape, channels.dtype)
        for tap, outputs, inputs in taps(window, x.shape[2:], counts):
            columns[:, tap][:, :, *outputs] = channels[:, :, *inputs]
        rows = x.shape[1] // self.groups * count
        return columns.reshape(self.groups, rows, len(x) * prod(counts))

    def channel_rows(self, grad: Array) -> Array:
        """Return G[g, o, (n, p...)], the channels of each group as rows."""
        wide = grad.astype(accumulator(grad.dtype), copy=False).swapaxes(0, 1)
        rows = grad.shape[1] // self.groups
        return wide.reshape(self.groups, rows, len(grad) * prod(grad.shape[2:]))

    def kernel_rows(self, weight: Array) -> Array:
        """Return W[g, o, (c, k...)], the kernels of each group as rows."""
        wide = weight.astype(accumulator(weight.dtype), copy=False)
        rows = len(weight) // self.groups
        return wide.reshape(self.groups, rows, prod(weight.shape[1:]))


@dataclass(frozen=True, slots=True)
class Convolution(ConvolutionFamily):
    """y[n, o, p] = Σ_c Σ_k x[n, c, p stride - before + k dilation] w[o, c, k]."""

    call = "conv{}d"

    def infer(self, guards: Guards, x: TensorType, weight: TensorType) -> TensorType:
        """Require equal channels, and room for the kernel."""
        _check_operands(len(self.stride), x, weight)
        channels = weight.shape[1] * self.groups
        _check_channels(guards, x.shape[1], channels)
        self.check_kernels(guards, "O", weight)
        window = self.over(weight.shape)
        require_fit(guards, window, x.shape[2:])
        counts = output_sizes(window, x.shape[2:])
        return TensorType(x.dtype, (x.shape[0], weight.shape[0], *counts))

    def numpy(self, x: Array, weight: Array) -> Array:
        """Multiply kernels and patches, a block of images at a time."""
        window = self.over(weight.shape)
        counts = known(output_sizes(window, x.shape[2:]))
        kernels = self.kernel_rows(weight)
        result = np.empty((len(x), len(weight), *counts), x.dtype)
        for images in _blocks(len(x), kernels.shape[2] * self.groups * prod(counts)):
            block = result[images].swapaxes(0, 1)
            rows = np.matmul(kernels, self.patches(x[images], window, counts))
            block[...] = rows.reshape(block.shape)
        return result

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Apply the two gradient operations."""
        x, weight = inputs
        return [
            self.input_gradient(grad, weight, x.shape) if wanted[0] else None,
            self.weight_gradient(x, grad, weight.shape) if wanted[1] else None,
        ]

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """One multiplication and one addition a term."""
        assert isinstance(output, TensorType)
        return 2 * output.size * product(inputs[1].shape[1:])

    def window(self, inputs: Sequence[TensorType]) -> Window:
        """Return how the kernel slides."""
        return self.over(inputs[1].shape)


@dataclass(frozen=True, slots=True)
class ConvolutionInputGradient(ConvolutionFamily):
    """x[n, c, i] = Σ_o Σ_(p, k) g[n, o, p] w[o, c, k].

    The inner sum is over p stride - before + k dilation = i.  The adjoint of
    the convolution in its input, also called the transposed convolution;
    ``shape`` is that of x.
    """

    call = "conv_transpose{}d"

    shape: Shape

    def infer(self, guards: Guards, grad: TensorType, weight: TensorType) -> TensorType:
        """Require equal channels, and a gradient of the size of the output."""
        _check_operands(len(self.stride), grad, weight)
        _check_channels(guards, grad.shape[1], weight.shape[0])
        self.check_kernels(guards, "C", weight)
        window, sizes = self.over(weight.shape), self.shape[2:]
        channels = weight.shape[1] * self.groups
        guards.equal(self.shape[0], grad.shape[0], "axis N of result, axis N of input")
        guards.equal(self.shape[1], channels, "axis C of result, axis C of weight")
        counts = output_sizes(window, sizes)
        for axis, letter in enumerate(AXES[len(self.stride)]):
            require_at_least(guards, sizes[axis], 0, f"axis {letter} of the result")
            what = f"axis {letter}, that of the convolution's output"
            guards.equal(grad.shape[axis + 2], counts[axis], what)
        return TensorType(grad.dtype, self.shape)

    def numpy(self, grad: Array, weight: Array) -> Array:
        """Multiply kernels and gradient; add each tap where it was read from."""
        window = self.over(weight.shape)
        _, channels, *sizes = known(self.shape)
        kernels = self.kernel_rows(weight).swapaxes(1, 2)
        counts = grad.shape[2:]
        result = np.empty((len(grad), channels, *sizes), grad.dtype)
        for images in _blocks(len(grad), kernels.shape[1] * self.groups * prod(counts)):
            block = grad[images]
            columns = np.matmul(kernels, self.channel_rows(block)).reshape(
                channels, prod(known(window.kernel)), len(block), *counts
            )
            total = np.zeros((channels, len(block), *sizes), columns.dtype)
            for tap, outputs, inputs in taps(window, sizes, counts):
                total[:, :, *inputs] += columns[:, tap][:, :, *outputs]
            result[images] = total.swapaxes(0, 1)
        return result

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Convolve the gradient; pair it with what this operation was given."""
        given, weight = inputs
        return [
            self.convolve(grad, weight) if wanted[0] else None,
            self.weight_gradient(grad, given, weight.shape) if wanted[1] else None,
        ]

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """One multiplication and one addition a term."""
        return 2 * inputs[0].size * product(inputs[1].shape[1:])


@dataclass(frozen=True, slots=True)
class ConvolutionWeightGradient(ConvolutionFamily):
    """w[o, c, k] = Σ_n Σ_p g[n, o, p] x[n, c, p stride - before + k dilation].

    The adjoint of the convolution in its kernels; ``shape`` is theirs.
    """

    call = "conv{}d_weight_gradient"

    shape: Shape

    def infer(self, guards: Guards, x: TensorType, grad: TensorType) -> TensorType:
        """Require a gradient of the shape of the convolution's output."""
        _check_operands(len(self.stride), x, grad)
        counts = output_sizes(self.over(self.shape), x.shape[2:])
        guards.equal(grad.shape[0], x.shape[0], "axis N of gradient, axis N of input")
        expected = (self.shape[0], *counts)
        letters = ("C", *AXES[len(self.stride)])
        for letter, size, want in zip(letters, grad.shape[1:], expected, strict=True):
            guards.equal(size, want, f"axis {letter} of gradient and of output")
        return TensorType(x.dtype, self.shape)

    def numpy(self, x: Array, grad: Array) -> Array:
        """Multiply gradient and patches, and add up the blocks of images."""
        shape = known(self.shape)
        window, counts = self.over(shape), grad.shape[2:]
        rows, columns = shape[0] // self.groups, prod(shape[1:])
        total = np.zeros((self.groups, rows, columns), accumulator(x.dtype))
        for images in _blocks(len(x), columns * self.groups * prod(counts)):
            patches = self.patches(x[images], window, counts)
            total += np.matmul(self.channel_rows(grad[images]), patches.swapaxes(1, 2))
        return total.astype(x.dtype, copy=False).reshape(shape)

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Take the gradient, which has the kernels' shape, as the kernels."""
        x, given = inputs
        return [
            self.input_gradient(given, grad, x.shape) if wanted[0] else None,
            self.convolve(x, grad) if wanted[1] else None,
        ]

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """One multiplication and one addition a term."""
        return 2 * inputs[1].size * product(self.shape[1:])


def _check_operands(axes: int, x: TensorType, other: TensorType) -> None:
    """Require floating-point operands with two axes beside the spatial ones."""
    require_axes(x, axes, "an input")
    if other.ndim != axes + 2:
        raise ShapeError(f"expected a weight with {axes + 2} axes")
    if x.dtype != other.dtype or not is_floating(x.dtype):
        raise DTypeError("expected operands of one floating-point dtype; use gg.cast")


def _check_channels(guards: Guards, given: Size, weight: Size) -> None:
    """Require an input to have the channels that the kernels take."""
    if isinstance(given, int) and isinstance(weight, int) and given != weight:
        raise ShapeError(f"axis C is {given} in input but {weight} in weight")
    guards.equal(given, weight, "axis C of input, axis C of weight")


def _blocks(images: int, elements: int) -> Iterator[slice]:
    """Split a batch so that each block's patches stay in cache."""
    step = max(1, _BLOCK // max(1, elements))
    for start in range(0, images, step):
        yield slice(start, start + step)
