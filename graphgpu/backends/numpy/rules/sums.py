"""Matrix products, and sums: over axes of an image, and over the batch.

A sum over the batch is made in two steps: every block writes its own to its
place among partial results, and the serial part adds them all up.  Blocks are
the same for any number of threads, so bits are too.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from graphgpu.backends.numpy.body import Body
from graphgpu.backends.numpy.rules.axes import ones_of, reduce_axes, row_moments
from graphgpu.backends.numpy.rules.elementwise import row_length
from graphgpu.backends.numpy.rules.expressions import lines
from graphgpu.backends.numpy.rules.registry import FLOATS, Rules, sliced_inputs
from graphgpu.backends.numpy.storage import BLOCK, Block, Buffer, View
from graphgpu.backends.numpy.translation import Value, label_of, sized
from graphgpu.dtypes import Array, DType
from graphgpu.nodes import Node
from graphgpu.ops.matrix_product import Matmul
from graphgpu.ops.moments import Moments
from graphgpu.ops.reduction import Max, Mean, Min, Sum
from graphgpu.ops.shape import Transpose

__all__ = ["FINISH", "RULES"]

RULES = Rules()
FINISH = Rules()
"""What the serial part does with the partial results of a sum over the batch."""

_FEW_ROWS = 64
"""Rows up to which the order of a product with a transposed matrix matters."""
_WIDE = 8
"""Columns from which a product with ones is quicker than adding up."""
_LARGE = 10**6
"""Multiplications from which OpenBLAS reorders its operands."""


@RULES.of(Matmul)
def matmul(body: Body, node: Node) -> bool:
    """Multiply; where the rows are split over the lanes, this lane's."""
    if node.tensor.dtype.name not in FLOATS:
        return False
    cuts = sliced_inputs(body, node)
    x, y = (body.value(n, c).plain() for n, c in zip(node.inputs, cuts, strict=True))
    out = body.output(node).plain()
    if body.kind != "split":
        if _is_better_swapped(body, node):
            _swapped(body, x, y, out)
        else:
            body.call("matmul", x, y, out=out)
        return True
    lanes, rows = body.whole.lanes, node.shape[0]

    def own(array: Array, block: Block) -> Array:
        return array[rows * block.lane // lanes : rows * (block.lane + 1) // lanes]

    left, part = x.view.then("rows", own), out.view.then("rows", own)
    body.call("matmul", left, y, out=part)
    return True


def _is_better_swapped(body: Body, node: Node) -> bool:
    """Whether few rows are multiplied by a large matrix that lies transposed."""
    right = node.inputs[1]
    if not isinstance(right.operation, Transpose) or len(node.shape) != 2:
        return False
    (rows, columns), length = node.shape, node.inputs[0].shape[1]
    if body.in_blocks and body.whole.work.is_batched(node):
        assert body.cut is not None
        rows = body.cut.largest
    few = 0 < rows <= _FEW_ROWS and min(columns, length) >= 2 * _FEW_ROWS
    return few and rows * columns * length > _LARGE


def _swapped(body: Body, x: Value, y: Value, out: Value) -> None:
    """Compute Y X' for X Y', and turn it round.

    OpenBLAS copies the right matrix into an order of its own, which takes it longer
    the other way about: 64 rows by a transposed 512 x 512 take 485 us, 370 swapped
    and 20 to turn the result.
    """
    turned = View(body.scratch((out.shape[1], out.shape[0]), out.dtype))
    left, right = (v.view.then("turned", lambda a, _: a.T) for v in (y, x))
    body.call("matmul", left, right, out=turned)
    body.copy(out, turned.then("turned", lambda a, _: a.T))


# --- sums over axes of each image


@RULES.of(Sum, Mean, Max, Min)
def reduction(body: Body, node: Node) -> bool:
    """Reduce axes; of the batch's, write the block's part."""
    operation: Any = node.operation
    (parent,) = node.inputs
    if node.tensor.dtype != parent.tensor.dtype or node.tensor.dtype.name not in FLOATS:
        return False
    if isinstance(operation, Max | Min) and not _is_not_empty(parent):
        return False
    if body.whole.work.total(node) and body.in_blocks:
        _partial_sum(body, node)
        return True
    value = body.value(parent, sliced_inputs(body, node)[0])
    out = body.output(node).plain()
    name = {Max: "maximum", Min: "minimum"}.get(type(operation), "add")
    source, axes = value.view, operation.axes
    if value.tile:
        axes = tuple(sorted((1, 3, 0, 2)[a] for a in axes))
    kept = f", keepdims={operation.keepdims}" if operation.keepdims else ""
    target = out.view
    if value.tile:
        target, kept = _reduced_tile(out, operation.axes), ""
    elif axes == (len(value.shape) - 1,) and name == "add" and _is_matrix(value):
        ones = ones_of(body, value.shape[-1], value.dtype)
        flat = out.view.then("flat", lambda a, _: a.reshape(-1), True)
        body.call("matmul", source, ones, out=flat)
        _divide(body, node, out.view)
        return True
    elif reduce_axes(body, name, value, axes, out.view):
        _divide(body, node, out.view)
        return True
    read, written = body.text(source), body.text(target)
    body.say(f"{name}.reduce({read}, axis={axes}{kept}, out={written})")
    _divide(body, node, out.view)
    return True


def _is_matrix(value: Value) -> bool:
    return len(value.shape) == 2 and value.view.contiguous and not value.tile


def _is_not_empty(node: Node) -> bool:
    return prod(node.shape) > 0


def _divide(body: Body, node: Node, out: View) -> None:
    """Make a mean of a sum."""
    if isinstance(node.operation, Mean):
        count = prod(node.inputs[0].shape[a] for a in node.operation.axes)
        text = body.text(out)
        number = body.constant(count, node.tensor.dtype)
        body.say(f"divide({text}, {number}, out={text})")


def _reduced_tile(out: Value, axes: tuple[int, ...]) -> View:
    """Return where the sums of a tile over axes go: in the tile's order of axes."""
    order = [a for a in (2, 0, 3, 1) if a not in axes]  # logical axes, as in a tile
    kept = [a for a in range(4) if a not in axes]

    def turn(array: Array, _: Block | None) -> Array:
        shape = list(array.shape)
        if len(shape) == 4:
            array = array.reshape([shape[a] for a in kept])
        return array.transpose([kept.index(a) for a in order])

    return out.view.then("sums", turn)


# --- sums over the batch


def _partials(body: Body, node: Node, shape: tuple[int, ...], dtype: DType) -> Buffer:
    """Return memory for a partial result of each block."""
    buffer = body.whole.buffer(
        f"parts_of_{label_of(node)}",
        shape,
        dtype,
        "block",
        cut=body.cut,
        variable=node.variable,
    )
    body.whole.partials[node] = buffer
    return buffer


def _partial_sum(body: Body, node: Node) -> None:
    """Write the block's part of a sum over the batch."""
    operation: Any = node.operation
    value = body.value(node.inputs[0])
    axes = operation.axes
    if value.tile and value.view.contiguous and axes == (0, 2, 3):
        _, _, w, c = value.shape
        parts = View(_partials(body, node, (w * c,), value.dtype))
        _column_sums(body, value, w * c, parts)
        return
    value = value.plain()
    if axes == (0,) and _is_matrix(value):
        width = value.shape[1]
        parts = View(_partials(body, node, (width,), value.dtype))
        ones = ones_of(body, BLOCK, value.dtype)
        body.call("matmul", ones, value, out=parts)
        return
    shape = tuple(s for a, s in enumerate(value.shape) if a not in axes)
    parts = View(_partials(body, node, shape, value.dtype))
    if not _add_leading(body, value, axes, parts):
        body.say(f"add.reduce({body.text(value)}, axis={axes}, out={body.text(parts)})")


def _add_leading(body: Body, value: Value, axes: tuple[int, ...], out: View) -> bool:
    """Multiply by ones: over trailing axes first, then over leading ones."""
    leading = 0
    while leading < len(axes) and axes[leading] == leading:
        leading += 1
    rest = axes[leading:]
    if not value.view.contiguous or 0 in value.shape:
        return False
    if rest:
        kept = tuple(s for a, s in enumerate(value.shape) if a not in rest)
        sums = View(body.scratch(kept, value.dtype, "sums"))
        if not reduce_axes(body, "add", value, rest, sums):
            return False
        value = Value(sums, kept)
    width = prod(value.shape[leading:])
    if width < _WIDE and not rest:
        return False
    lines_ = value.view.then(f"by{width}", lambda a, _: a.reshape(-1, width), True)

    def ones(block: Block | None) -> Array:
        return np.ones(prod(sized(value.shape[:leading], block)), value.dtype)

    key = ("leading", value.shape[:leading], value.dtype)
    name = body.once(key, lambda: body.given("ones_of_lines", ones))
    flat = out.then("flat", lambda a, _: a.reshape(-1), True)
    body.call("matmul", str(name), lines_, out=flat)
    return True


def _column_sums(body: Body, tile: Value, length: int, out: View) -> None:
    """Add up the lines of a tile."""
    h = tile.shape[0]

    def ones(block: Block | None) -> Array:
        assert block is not None
        return np.ones(h * block.size, tile.dtype)

    name = body.once(
        ("ones", h, tile.dtype), lambda: body.given(f"ones_{h}_lines", ones)
    )
    body.call("matmul", str(name), lines(tile, length), out=out)


@FINISH.of(Sum, Mean)
def finish_sum(body: Body, node: Node) -> bool:
    """Add up the partial results."""
    buffer = body.whole.partials[node]
    out = body.output(node)
    parts = View(buffer).then("all", lambda a, _: a)
    body.say(f"add_parts({body.text(parts)}, {body.text(out)})")
    _divide(body, node, out.view)
    return True


@RULES.of(Moments)
def moments(body: Body, node: Node) -> bool:
    """Write a number near the block's mean, and the sums of x minus that, and squared.

    The first element of each channel will do: it is the mean but for a few standard
    deviations, so that no digits cancel.  The parts are combined exactly, after
    T. F. Chan, G. H. Golub and R. J. LeVeque, "Algorithms for computing the sample
    variance", The American Statistician 37 (1983).
    """
    operation: Any = node.operation
    if not (body.in_blocks and body.whole.work.total(node)):
        (cut,) = sliced_inputs(body, node)
        return row_moments(body, node, body.value(node.inputs[0], cut).plain())
    value = body.value(node.inputs[0])
    tile = value.tile and value.view.contiguous and operation.axes == (0, 2, 3)
    matrix = not value.tile and _is_matrix(value) and operation.axes == (0,)
    if not (tile or matrix):
        _moments_of(body, node, value.plain())
        return True
    channels = value.shape[-1]
    width = value.shape[2] * channels if tile else channels
    parts = View(_partials(body, node, (3, width), value.dtype))
    near, total, squares = (_row(parts, k) for k in range(3))
    memory = body.scratch(value.shape, value.dtype, "rest")
    rest = Value(View(memory), value.shape, value.tile)
    length = row_length(value.shape[0], width) if tile else width
    _first_elements(body, value, near)
    row = near
    if length > width:
        row = View(body.scratch((length,), value.dtype, "row"))
        body.copy(row.then("lines", lambda a, _: a.reshape(-1, width)), near)

    def seen(given: Value) -> View:
        return lines(given, length) if tile else given.view

    def add_up(out: View) -> None:
        if tile:
            _column_sums(body, rest, width, out)
        else:
            body.call("matmul", ones_of(body, BLOCK, rest.dtype), rest, out=out)

    body.call("subtract", seen(value), row, out=seen(rest))
    add_up(total)
    flat = rest.view.then("flat", lambda a, _: a.reshape(-1), True)
    body.call("multiply", flat, flat, out=flat)
    add_up(squares)
    return True


def _first_elements(body: Body, value: Value, out: View) -> None:
    """Write the first element of each channel, repeated; 0 where it is not finite."""
    channels = value.shape[-1]
    integer = np.dtype(f"int{8 * value.dtype.itemsize}")
    finite = View(body.scratch((channels,), np.dtype(bool), "finite"))
    bits = View(body.scratch((channels,), integer, "bits"))
    first = value.view.then("first", lambda a, _: a.reshape(-1)[:channels])
    first_bits = first.then("bits", lambda a, _: a.view(integer))
    body.call("isfinite", first, out=finite)
    body.call("multiply", first_bits, finite, out=bits)
    repeated = out.then("channels", lambda a, _: a.reshape(-1, channels))
    body.copy(repeated, bits.then("numbers", lambda a, _: a.view(value.dtype)))


def _row(view: View, index: int) -> View:
    return view.then(f"row{index}", lambda a, _: a[index])


def _moments_of(body: Body, node: Node, value: Value) -> None:
    """Write the parts by a function that allocates: for shapes that are rare."""
    axes = node.operation.axes  # type: ignore[union-attr]
    channels = tuple(s for a, s in enumerate(value.shape) if a not in axes)
    parts = View(_partials(body, node, (3, prod(channels)), value.dtype))
    body.say(f"moment_parts({body.text(value)}, {axes}, {body.text(parts)})")


@FINISH.of(Moments)
def finish_moments(body: Body, node: Node) -> bool:
    """Combine the parts of the blocks."""
    buffer = body.whole.partials[node]
    mean, variance = body.outputs(node)
    channels = prod(mean.shape)
    cut, count = buffer.cut, node.inputs[0].shape
    assert cut is not None
    axes = node.operation.axes  # type: ignore[union-attr]
    total = prod(count[a] for a in axes)
    columns = buffer.shape[1] // max(1, channels)
    lines_each = total // max(1, cut.count * columns)
    sizes = body.given(
        f"lines_of_{label_of(node)}",
        lambda _: np.array([b.size * lines_each for b in cut.blocks], np.float64),
    )
    parts = View(buffer).then("all", lambda a, _: a)
    body.say(
        f"combine_moments({body.text(parts)}, {sizes}, {body.text(mean)}, "
        f"{body.text(variance)})"
    )
    return True
