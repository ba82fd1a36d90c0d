"""Operations that read elements at places given by integer arrays.

A negative index counts from the end.  A kernel cannot raise an error: where an
index is out of range it reads nothing, and the element is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from graphgpu.backends.cuda.kernels.kernel import Kernel, Operand
from graphgpu.backends.cuda.kernels.text import stored_type
from graphgpu.backends.cuda.rules.coordinates import (
    affine,
    per_word,
    repeated,
    strides_of,
    word_type,
    written,
)
from graphgpu.backends.cuda.rules.registry import Rules
from graphgpu.dtypes import DType
from graphgpu.nodes import Node
from graphgpu.ops.gather import Gather, TakeAlongAxis, adjacent
from graphgpu.ops.indexing import OneHot
from graphgpu.ops.losses.classes import ClassIndex

__all__ = ["RULES", "broadcast_strides", "place_at"]

RULES = Rules()


def place_at(name: str, element: str, dtype: DType, size: int) -> str:
    """Return statements that set a place counted from the front.

    And ``inside`` to false, where there is no such place.
    """
    text = f"long long {name} = (long long){element};\n    "
    if dtype.kind != "u":
        text += f"if ({name} < 0) {name} += {size};\n    "
    return text + f"inside = inside && {name} >= 0 && {name} < {size};\n    "


def broadcast_strides(shape: Sequence[int], ndim: int) -> list[int]:
    """Return an array's strides when it is broadcast to so many axes.

    >>> broadcast_strides((3, 1, 2), 4)
    [0, 2, 0, 1]
    """
    strides = [
        0 if size == 1 else stride
        for size, stride in zip(shape, strides_of(shape), strict=True)
    ]
    return [0] * (ndim - len(shape)) + strides


@RULES.of(Gather)
def gather(node: Node) -> list[Kernel]:
    """Read at the places, a run of the last axes in long words."""
    operation = node.operation
    assert isinstance(operation, Gather)
    x, *indices = node.inputs
    axes, shape = operation.axes, x.shape
    if 0 in node.shape:
        return []
    tail = prod(shape[axes[-1] + 1 :])
    itemsize = node.tensor.dtype.itemsize
    count = per_word(itemsize, tail)
    shape = (*shape[: axes[-1] + 1], tail // count)
    ndim = max(len(i.shape) for i in indices)
    rest = [a for a in range(len(shape)) if a not in axes]
    first = axes[0] if adjacent(axes) else 0
    common = [f"c{first + k}" for k in range(ndim)]
    sizes = [*node.shape[: len(rest) - 1 + ndim], shape[-1]]
    text = "bool inside = true;\n    "
    for k, (index, axis) in enumerate(zip(indices, axes, strict=True)):
        element = affine(0, broadcast_strides(index.shape, ndim), common)
        text += place_at(
            f"i{k}", f"x{k + 1}[{element}]", index.tensor.dtype, shape[axis]
        )
    names = {axis: f"i{k}" for k, axis in enumerate(axes)}
    for k, axis in enumerate(rest):
        names[axis] = f"c{k if k < first else k + ndim}"
    place = affine(0, strides_of(shape), [names[a] for a in range(len(shape))])
    return _read(node, sizes, text, place, count, indices)


@RULES.of(TakeAlongAxis)
def take_along_axis(node: Node) -> list[Kernel]:
    """Read at the places along the axis."""
    operation = node.operation
    assert isinstance(operation, TakeAlongAxis)
    x, index = node.inputs
    axis = operation.axis
    before, after = prod(node.shape[:axis]), prod(node.shape[axis + 1 :])
    size = x.shape[axis]
    text = "bool inside = true;\n    "
    text += place_at("i0", "x1[o]", index.tensor.dtype, size)
    place = affine(0, (size * after, after, 1), ("c0", "i0", "c2"))
    return _read(node, [before, node.shape[axis], after], text, place, 1, [index])


def _read(
    node: Node,
    sizes: Sequence[int],
    text: str,
    place: str,
    count: int,
    indices: Sequence[Node],
) -> list[Kernel]:
    """Return the kernels of y[c] = x[place] where that is inside, else 0."""
    assert node.operation is not None
    dtype = node.tensor.dtype
    word = word_type(dtype.itemsize * count)
    fill = repeated(0, dtype, count)
    reads = [(Operand(i), stored_type(i.tensor.dtype)) for i in indices]
    return written(
        node.operation.kind(),
        node,
        sizes,
        f"{text}if (inside) value = x0[{place}];\n    else value = {fill};",
        [(Operand(node.inputs[0]), word), *reads],
        word=word,
        largest=prod(node.inputs[0].shape),
    )


@RULES.of(OneHot)
def one_hot(node: Node) -> list[Kernel]:
    """Compare with the class of the column."""
    operation = node.operation
    assert isinstance(operation, OneHot)
    (x,) = node.inputs
    dtype = node.tensor.dtype
    kept = stored_type(x.tensor.dtype)
    sizes = [prod(x.shape), node.shape[-1]]
    one, zero = repeated(1, dtype), repeated(0, dtype)
    text = f"value = (long long)x0[c0] == c1 ? {one} : {zero};"
    word = word_type(dtype.itemsize)
    return written("one_hot", node, sizes, text, [(Operand(x), kept)], word=word)


@RULES.of(ClassIndex)
def class_index(node: Node) -> list[Kernel]:
    """Class 0 where there is none; whether the others exist is checked apart."""
    operation = node.operation
    assert isinstance(operation, ClassIndex)
    (x,) = node.inputs
    kept = stored_type(x.tensor.dtype)
    text = "value = x0[o];"
    if operation.ignore_index is not None:
        text = f"value = (long long)x0[o] == {operation.ignore_index} ? 0 : x0[o];"
    size = prod(node.shape)
    return written("class_index", node, [size], text, [(Operand(x), kept)], word=kept)
