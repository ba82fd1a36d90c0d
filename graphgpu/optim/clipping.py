"""Clipping gradients (*Deep Learning*, section 10.11.1)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add

import numpy as np

from graphgpu.dtypes import accumulator
from graphgpu.graph import Variable, as_variable
from graphgpu.ops.arithmetic import clip, maximum, sqrt, square
from graphgpu.ops.comparison import isfinite, where
from graphgpu.optim.hyperparameters import positive

__all__ = ["clip_by_global_norm", "clip_by_norm", "clip_by_value"]


def clip_by_value(gradients: Sequence[Variable], limit: float) -> list[Variable]:
    """Return the gradients with every element brought into [-limit, limit].

    The direction of the step changes (Mikolov, 2012).

    >>> import graphgpu as gg
    >>> (g,) = gg.optim.clip_by_value([gg.constant([-3.0, 0.5])], 1.0)
    >>> gg.evaluate(g)
    array([-1. ,  0.5], dtype=float32)

    Raises
    ------
    GraphError
        The limit is not a positive number.
    """
    bound = positive("limit", limit)
    return [clip(g, -bound, bound) for g in gradients]


def clip_by_global_norm(
    gradients: Sequence[Variable], max_norm: float
) -> list[Variable]:
    """Return the gradients, all shortened alike if their common norm is too large.

    With ‖g‖ the Euclidean norm of all gradients as one vector, g becomes
    g max_norm / ‖g‖ where ‖g‖ > max_norm, and stays as it is, to the bit,
    elsewhere (Pascanu et al., 2013).  No gradient is zero divided by zero,
    and the result can be differentiated there.

    >>> import graphgpu as gg
    >>> g, h = gg.optim.clip_by_global_norm([gg.constant([3.0]), gg.constant(4.0)], 1)
    >>> [float(v.item()) for v in gg.compile([], [g, h])()]  # doctest: +ELLIPSIS
    [0.6..., 0.8...]

    Raises
    ------
    GraphError
        The norm is not a positive number.
    """
    bound = positive("max_norm", max_norm)
    if not gradients:
        return []
    wide = [g.cast(accumulator(g.dtype)) for g in gradients]
    scale = _shortening(wide, bound)
    return [
        (w * scale.cast(w.dtype)).cast(g.dtype)
        for w, g in zip(wide, gradients, strict=True)
    ]


def clip_by_norm(gradients: Sequence[Variable], max_norm: float) -> list[Variable]:
    """Return the gradients, each shortened if its own norm is too large.

    A gradient g becomes g max_norm / ‖g‖ where ‖g‖ > max_norm, and stays as it is,
    to the bit, elsewhere.  The direction of the step as a whole changes, that of each
    parameter's part does not.

    >>> import graphgpu as gg
    >>> g, h = gg.optim.clip_by_norm([gg.constant([3.0, 4.0]), gg.constant(0.5)], 1)
    >>> gg.evaluate(g), float(gg.evaluate(h))
    (array([0.6, 0.8], dtype=float32), 0.5)

    Raises
    ------
    GraphError
        The norm is not a positive number.
    """
    bound = positive("max_norm", max_norm)
    wide = [g.cast(accumulator(g.dtype)) for g in gradients]
    return [
        (w * _shortening([w], bound)).cast(g.dtype)
        for w, g in zip(wide, gradients, strict=True)
    ]


def _shortening(gradients: Sequence[Variable], bound: float) -> Variable:
    """Return the factor that brings the norm of all together to the bound: 1 or less.

    Where the sum of squares overflows, it is taken of numbers that were scaled down.
    """
    total = reduce(add, (square(g).sum() for g in gradients))
    # As a number of that dtype, whose square has it as its square root exactly.
    limit = as_variable(bound, total.tensor)
    near = limit / sqrt(maximum(total, limit * limit))
    down = 2.0 ** -(int(np.finfo(total.dtype).maxexp) // 2)
    scaled = reduce(add, (square(g * down).sum() for g in gradients))
    # 1 or more where it is used; elsewhere it may be 0, where √ has no derivative.
    far = down * limit / sqrt(maximum(scaled, 0.25))
    return where(isfinite(total), near, far)
