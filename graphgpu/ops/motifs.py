"""Motifs: whether a pattern is anywhere in the input, and where."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphgpu.dims import Dim, Size, product
from graphgpu.errors import ShapeError
from graphgpu.graph import Operand, Variable, apply, located
from graphgpu.ops.convolution import convolved
from graphgpu.ops.creation import Extent, size
from graphgpu.ops.elementwise import operands_of
from graphgpu.ops.joining import stack
from graphgpu.ops.reduction import max as largest
from graphgpu.ops.requirements import Naming
from graphgpu.ops.sorting import argmax
from graphgpu.ops.windows import AXES, Padding, padding_pairs, per_axis

__all__ = ["detect_motifs"]

Ints = int | Sequence[int]


def detect_motifs(
    x: Operand,
    weight: Operand,
    bias: Operand | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
) -> tuple[Variable, Variable]:
    """Return how well each motif fits where it fits best, and where that is.

    The motifs are slid over x, with the same weights everywhere:

        z[n, m] = b[m] + max_p Σ_c Σ_k w[m, c, k]
                                      x[n, c, p stride - before + k dilation],

    the largest over all places of :func:`conv2d`, or of that along one or three
    axes.  A motif that is moved, as a whole and inside x, has the same score
    (stride 1), at the place that moved with it.  The gradient flows through the
    best place alone; equally good ones share it.

    Parameters
    ----------
    x
        Of the axes N, C and one, two or three more.
    weight
        Of the axes M, C and as many more: M motifs.
    bias
        An element for each motif.
    stride, padding, dilation
        As those of :func:`conv2d`.

    Returns
    -------
    tuple
        z, of the axes N, M; and the place in x at which the motif then begins,
        the first of equally good ones, an int64 for each spatial axis: of the
        axes N, M and a last one.  In the padding, it may be negative.

    Raises
    ------
    ShapeError
        The operands have other axes; or as :func:`conv2d`.
    DTypeError
        The operands are integers.

    Examples
    --------
    >>> import graphgpu as gg
    >>> x = gg.constant([[[0.0, 0.0, 1.0, 2.0, 0.0]]])
    >>> scores, places = gg.detect_motifs(x, [[[1.0, 2.0]]])
    >>> gg.evaluate(scores), gg.evaluate(places)
    (array([[5.]], dtype=float32), array([[[2]]]))
    """
    call = f"detect_motifs(stride={stride!r}, padding={padding!r}, {dilation=})"
    given = operands_of(call, x, weight, *([] if bias is None else [bias]))
    axes = given[1].ndim - 2
    if axes not in AXES:
        error = ShapeError(
            "expected a weight with axes M, C and one, two or three more"
        )
        raise located(error, call, given)
    image, kernels, *rest = given
    shift = rest[0] if rest else None
    geometry = (stride, padding, dilation)
    with Naming(call, given):
        fits = convolved(axes, image, kernels, shift, *geometry, 1)
    flat = fits.reshape((*fits.shape[:2], product(fits.shape[2:])))
    best = argmax(flat, axis=-1)
    steps = per_axis("stride", stride, axes, 1)
    dilations = per_axis("dilation", dilation, axes, 1)
    sizes, kernel = image.shape[2:], kernels.shape[2:]
    pairs = padding_pairs(padding, sizes, kernel, steps, dilations)
    places: list[Variable] = []
    for axis in reversed(range(axes)):
        count = size(fits, axis + 2)
        index = best % count if axis else best
        best = best // count if axis else best
        places.append(index * steps[axis] - _number(pairs[axis][0]))
    return largest(flat, axis=-1), stack(places[::-1], axis=-1)


def _number(value: Size) -> Variable | int:
    """Return a size as a number, or a variable that will have it."""
    return apply(Extent(value, np.dtype("int64"))) if isinstance(value, Dim) else value
