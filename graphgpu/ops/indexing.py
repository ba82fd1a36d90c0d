"""Functions that read or write elements at places given by integer arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphgpu.dims import Size
from graphgpu.dtypes import Array, DType, dtype, is_integer
from graphgpu.errors import DTypeError, GraphError, ShapeError
from graphgpu.graph import Operand, Operation, Variable, apply, as_variable, located
from graphgpu.ops.elementwise import operands_of
from graphgpu.ops.gather import (
    Gather,
    PutAlongAxis,
    ScatterAdd,
    TakeAlongAxis,
    gathered_shape,
    require_in_range,
)
from graphgpu.types import (
    Guards,
    TensorType,
    Type,
    broadcast,
    make_shape,
    normalize_axis,
)

__all__ = ["one_hot", "put_along_axis", "scatter_add", "take", "take_along_axis"]


@dataclass(frozen=True, slots=True)
class OneHot(Operation):
    """y[..., c] = 1 if c is the element of x, else 0, for 0 ≤ c < classes."""

    classes: Size
    dtype: DType

    def infer(self, guards: Guards, x: TensorType) -> TensorType:
        """Require integers; add an axis."""
        if not is_integer(x.dtype):
            raise DTypeError(f"expected integer classes, got {x.dtype.name}")
        return TensorType(self.dtype, (*x.shape, self.classes))

    def numpy(self, x: Array) -> Array:
        """Compare with every class."""
        assert isinstance(self.classes, int)
        if x.size:
            for extreme in (int(x.min()), int(x.max())):
                if not 0 <= extreme < self.classes:
                    raise IndexError(
                        f"class {extreme} is out of range for {self.classes} classes"
                    )
        return np.equal(x[..., None], np.arange(self.classes)).astype(self.dtype)

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """None."""
        return 0


def take(x: Operand, indices: Operand, axis: int | None = None) -> Variable:
    """Return the elements of x at the indices along an axis; flattened if None.

    The axes of the indices stand where the axis stood.  A negative index counts
    from the end.  The gradient adds up where an element is taken twice.

    >>> import graphgpu as gg
    >>> table = gg.placeholder("table", ("words", 8))
    >>> gg.take(table, gg.placeholder("ids", ("batch", 5), "int64"), axis=0).type
    float32[batch,5,8]

    Raises
    ------
    ShapeError
        The axis, or an index that is known now, is out of range.
    DTypeError
        The indices are no integers.
    ComputeError
        While running: an index is out of range.
    """
    variable, index = as_variable(x), _indices(indices)
    name = f"take(axis={axis})"
    try:
        if axis is None:
            variable, axis = variable.reshape(-1), 0
        axis = normalize_axis(axis, variable.ndim)
        require_in_range(index, variable.shape[axis], axis)
    except GraphError as error:
        raise located(error, name, (variable, index)) from None
    return apply(Gather((axis,)), variable, index)


def scatter_add(
    x: Operand, indices: Operand, updates: Operand, axis: int = 0
) -> Variable:
    """Return x with updates added at the indices along an axis.

    y = x, then y[..., indices[b], ...] += updates[..., b, ...] for every b, in
    order: where an index comes twice, both updates are added.  The updates
    have the shape of ``take(x, indices, axis)``, or one that broadcasts to it.
    The gradients are those of a sum: that of y, and ``take`` of it.

    >>> import graphgpu as gg
    >>> x = gg.zeros((3,))
    >>> gg.evaluate(gg.scatter_add(x, [0, 2, 2], [1.0, 2.0, 3.0]))
    array([1., 0., 5.], dtype=float32)

    Raises
    ------
    ShapeError
        The axis, or an index that is known now, is out of range, or the
        updates do not fit.
    DTypeError
        The indices are no integers, or there is nothing but bools to add.
    ComputeError
        While running: an index is out of range.
    """
    variable, update = operands_of("scatter_add", x, updates)
    index = _indices(indices)
    name = f"scatter_add(axis={axis})"
    try:
        axis = normalize_axis(axis, variable.ndim)
        require_in_range(index, variable.shape[axis], axis)
        shape = gathered_shape(variable.shape, index.shape, (axis,))
        update = update.broadcast_to(shape)
        return variable + apply(ScatterAdd(variable.shape, (axis,)), update, index)
    except GraphError as error:
        raise located(error, name, (variable, index, update)) from None


def take_along_axis(x: Operand, indices: Operand, axis: int = -1) -> Variable:
    """Return y[..., j, ...] = x[..., indices[..., j, ...], ...], j along ``axis``.

    The arrays have as many axes; all but ``axis`` broadcast.  A negative index
    counts from the end.  The gradient adds up where an element is taken twice.

    >>> import graphgpu as gg
    >>> x = gg.constant([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    >>> gg.evaluate(gg.take_along_axis(x, gg.constant([[2], [0]]), axis=1))
    array([[3.],
           [4.]], dtype=float32)

    Raises
    ------
    ShapeError
        The numbers of axes differ, or sizes do not broadcast.
    DTypeError
        The indices are no integers.
    ComputeError
        While running: an index is out of range.
    """
    variable, index = as_variable(x), _indices(indices)
    axis, left, right = _aligned("take_along_axis", variable, index, axis)
    return apply(
        TakeAlongAxis(axis), variable.broadcast_to(left), index.broadcast_to(right)
    )


def put_along_axis(
    x: Operand, indices: Operand, values: Operand, axis: int = -1
) -> Variable:
    """Return x with y[..., indices[..., j, ...], ...] = values[..., j, ...].

    The counterpart of :func:`take_along_axis`: the indices have as many axes as
    x, all but ``axis`` of its sizes, and the values broadcast to them.  Where an
    index comes twice, the last value counts, also for the gradient.

    >>> import graphgpu as gg
    >>> x = gg.constant([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    >>> gg.evaluate(gg.put_along_axis(x, [[2], [0]], 0, axis=1))
    array([[1., 2., 0.],
           [0., 5., 6.]], dtype=float32)

    Raises
    ------
    ShapeError
        The numbers of axes differ, or sizes do not broadcast.
    DTypeError
        The indices are no integers.
    ComputeError
        While running: an index is out of range.
    """
    variable, value = operands_of("put_along_axis", x, values)
    index = _indices(indices)
    axis, _, right = _aligned("put_along_axis", variable, index, axis)
    return apply(
        PutAlongAxis(axis),
        variable,
        index.broadcast_to(right),
        value.broadcast_to(right),
    )


def one_hot(
    indices: Operand, num_classes: Size | str, dtype: object = "float32"
) -> Variable:
    """Return 1 at the place of each index along a new last axis, 0 elsewhere.

    >>> import graphgpu as gg
    >>> gg.evaluate(gg.one_hot(gg.constant([0, 2]), 3))
    array([[1., 0., 0.],
           [0., 0., 1.]], dtype=float32)

    Raises
    ------
    ShapeError
        The number of classes is no size.
    DTypeError
        The indices are no integers.
    ComputeError
        While running: an index is negative or not below ``num_classes``.
    """
    try:
        (classes,) = make_shape((num_classes,))
        target = _dtype(dtype)
    except GraphError as error:
        name = f"one_hot(num_classes={num_classes}, dtype={dtype})"
        raise located(error, name) from None
    return apply(OneHot(classes, target), _indices(indices))


def _indices(indices: Operand) -> Variable:
    """Return indices as a variable; an empty list holds integers."""
    if isinstance(indices, list | tuple) and np.size(indices) == 0:
        indices = np.asarray(indices, np.int64)
    return as_variable(indices)


def _aligned(
    name: str, x: Variable, index: Variable, axis: int
) -> tuple[int, list[Size], list[Size]]:
    """Return the axis, and both shapes with all but that axis broadcast."""
    name = f"{name}(axis={axis})"
    try:
        axis = normalize_axis(axis, x.ndim)
        if x.ndim != index.ndim:
            raise ShapeError("expected as many axes in the indices as in the array")
        require_in_range(index, x.shape[axis], axis)
        left, right = list(x.shape), list(index.shape)
        left[axis] = right[axis] = 1
        common = list(broadcast(Guards(), tuple(left), tuple(right)))
    except GraphError as error:
        raise located(error, name, (x, index)) from None
    left, right = common.copy(), common.copy()
    left[axis], right[axis] = x.shape[axis], index.shape[axis]
    return axis, left, right


def _dtype(name: object) -> DType:
    return dtype(name)
