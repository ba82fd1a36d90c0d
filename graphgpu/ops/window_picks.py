"""One element of each window, picked by its place: gathering and scattering.

Given the picks, both are linear, and they are each other's gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

import numpy as np

from graphgpu.dims import Size
from graphgpu.dtypes import Array, accumulator
from graphgpu.graph import Operation, Variable, apply
from graphgpu.ops.windows import Pairs, known
from graphgpu.types import Guards, Shape, TensorType, Type

__all__: list[str] = []

Geometry: TypeAlias = tuple[tuple[int, ...], tuple[int, ...], Pairs, tuple[int, ...]]
"""Kernel, stride, padding and dilation."""


class Selection(Operation):
    """An operation on one element of each window. Abstract.

    ``shape`` is that of what the windows slide over.  ``geometry`` is how they
    slide, None for adaptive windows: it bounds which windows can have picked an
    element, so that a device may add up in a fixed order, without atomics.
    """

    shape: Shape
    geometry: Geometry | None

    def slots(self, picks: Array) -> tuple[Array, tuple[int, int]]:
        """Return picks as columns of a matrix with a row for each image and channel.

        Its last column is spare: it is what a window without a pick points to.
        """
        shape = known(self.shape)
        planes, columns = prod(shape[:2]), prod(shape[2:]) + 1
        flat = picks.reshape(planes, prod(picks.shape[2:])).astype(np.intp)
        return np.where(flat < 0, columns - 1, flat), (planes, columns)

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """At most one addition for each window."""
        return inputs[1].size


@dataclass(frozen=True, slots=True)
class WindowGather(Selection):
    """y[n, c, p] = x[n, c, i[n, c, p]]; 0 where i is -1."""

    shape: Shape
    geometry: Geometry | None

    def infer(self, guards: Guards, x: TensorType, picks: TensorType) -> TensorType:
        """Require an input of the shape that the picks were made from."""
        require_shape(guards, x.shape, self.shape)
        return TensorType(x.dtype, picks.shape)

    def numpy(self, x: Array, picks: Array) -> Array:
        """Take the elements; the spare one is 0."""
        slots, (planes, columns) = self.slots(picks)
        padded = np.zeros((planes, columns), x.dtype)
        padded[:, :-1] = x.reshape(planes, columns - 1)
        return np.take_along_axis(padded, slots, 1).reshape(picks.shape)

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Scatter the gradient."""
        return [apply(WindowScatter(self.shape, self.geometry), grad, inputs[1]), None]


@dataclass(frozen=True, slots=True)
class WindowScatter(Selection):
    """x[n, c, j] = Σ y[n, c, p] over the windows p with i[n, c, p] = j."""

    shape: Shape
    geometry: Geometry | None

    def infer(self, guards: Guards, y: TensorType, picks: TensorType) -> TensorType:
        """Require a pick for each value."""
        require_shape(guards, y.shape, picks.shape)
        return TensorType(y.dtype, self.shape)

    def numpy(self, y: Array, picks: Array) -> Array:
        """Add window after window; what has no pick goes to the spare element."""
        slots, (planes, columns) = self.slots(picks)
        total = np.zeros(planes * columns, accumulator(y.dtype))
        slots += np.arange(planes)[:, np.newaxis] * columns
        np.add.at(total, slots.ravel(), y.ravel().astype(total.dtype))
        kept = total.reshape(planes, columns)[:, :-1]
        return kept.reshape(known(self.shape)).astype(y.dtype, copy=False)

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Variable,
        wanted: tuple[bool, ...],
    ) -> list[Variable | None]:
        """Gather the gradient."""
        return [apply(WindowGather(self.shape, self.geometry), grad, inputs[1]), None]


def require_shape(guards: Guards, given: Shape, shape: Shape) -> None:
    """Require an operand to have a shape."""
    for axis, (left, right) in enumerate(zip(given, shape, strict=True)):
        guards.equal(left, right, f"axis {axis} of input and of windows")
