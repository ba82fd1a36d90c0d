"""Attention: sums of values, weighted by how well their keys answer to a query."""

from __future__ import annotations

import numpy as np

from graphgpu.dtypes import DType, is_floating, kind
from graphgpu.errors import DTypeError, ShapeError
from graphgpu.graph import Operand, Variable, as_variable, located
from graphgpu.ops.activations.normalized import softmax
from graphgpu.ops.arithmetic import sqrt
from graphgpu.ops.comparison import greater_equal, logical_and, not_equal, where
from graphgpu.ops.creation import arange, size_of
from graphgpu.ops.elementwise import cast, operands_of
from graphgpu.ops.matrix_product import matmul
from graphgpu.ops.noise import dropout
from graphgpu.ops.requirements import Naming, floating, shape_text, widened
from graphgpu.ops.shape import axis_of, expand_dims, matrix_transpose
from graphgpu.types import Guards, TensorType, broadcast

__all__ = [
    "attention_weights",
    "masked_softmax",
    "scaled_dot_product_attention",
    "soft_attention",
]


def soft_attention(weights: Operand, values: Operand) -> Variable:
    """Return Σ_i w_i v_i: what a soft dictionary has under the weights of its keys.

    One-hot weights look up one value; others mix them, and the weights have a
    gradient, where an index has none (*Deep Learning*, section 12.4.5.1).  The last
    axis of the weights is that of the sum; the axes before it are the same in the
    values, or broadcast, and those that the values have beyond are kept: of
    weights (..., n) and values (..., n, d1, ...), the result is (..., d1, ...).

    >>> import graphgpu as gg
    >>> y = gg.soft_attention(gg.constant([0.7, 0.0, 0.2, 0.1]), [1.0, 2.0, 3.0, 4.0])
    >>> round(float(gg.evaluate(y)), 6)
    1.7

    Raises
    ------
    ShapeError
        The weights are a scalar or have more axes than the values; the sizes differ.
    DTypeError
        They are no floating-point numbers.
    """
    name = "soft_attention"
    left, right = operands_of(name, weights, values)
    floating(name, left)
    axis = left.ndim - 1
    if not 0 <= axis < right.ndim:
        message = (
            "expected weights of at least one axis and of no more than the values have"
        )
        raise located(ShapeError(message), name, (left, right))
    with Naming(name, (left, right)):
        what = f"weights, axis {axis} of the values"
        Guards().equal(left.shape[axis], right.shape[axis], what)
        spread = widened(left).reshape((*left.shape, *(1,) * (right.ndim - left.ndim)))
        return cast((spread * widened(right)).sum(axis), right.dtype)


def masked_softmax(x: Operand, mask: Operand, axis: int = -1) -> Variable:
    """Return the softmax over those elements of an axis that the mask lets take part.

    p_i = e^(x_i) / Σ_j m_j e^(x_j) where m_i holds, and 0 elsewhere, whatever x_i
    is; a row in which none takes part is 0 throughout, and its gradient is 0.  Mask
    and x broadcast.

    >>> import graphgpu as gg
    >>> x = gg.constant([[1.0, 1.0, 5.0], [1.0, 2.0, 3.0]])
    >>> gg.evaluate(gg.masked_softmax(x, [[True, True, False], [False] * 3]))
    array([[0.5, 0.5, 0. ],
           [0. , 0. , 0. ]], dtype=float32)

    Raises
    ------
    DTypeError
        x is not floating-point, or the mask is not bool.
    ShapeError
        The axis is out of range, or mask and x do not broadcast.
    """
    name = "masked_softmax"
    scores, taking_part = floating(name, x), as_variable(mask)
    if not _is_bool(taking_part.dtype):
        error = DTypeError("expected a bool mask; write gg.not_equal(mask, 0)")
        raise located(error, name, (scores, taking_part))
    with Naming(name, (scores, taking_part)):
        shape = broadcast(Guards(), scores.shape, taking_part.shape)
    scores = scores.broadcast_to(shape)
    axis = axis_of(name, scores, axis)
    # In place of -inf, at which a row of nothing else would be NaN.
    lowest = float(np.finfo(widened(scores).dtype).min)
    kept = where(taking_part, widened(scores), lowest)
    return cast(where(taking_part, softmax(kept, axis), 0), scores.dtype)


def scaled_dot_product_attention(
    query: Operand,
    key: Operand,
    value: Operand,
    attn_mask: Operand | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    training: bool = False,
) -> Variable:
    """Return softmax(s Q Kᵀ + M) V: for each query a mixture of the values.

    Vaswani et al., "Attention is all you need", 2017, equation 1: with s = 1 / √E,
    the scores of independent queries and keys have the variance of one product.

    Parameters
    ----------
    query, key, value
        Of shapes (..., L, E), (..., S, E) and (..., S, V); the result is
        (..., L, V).  Leading axes broadcast.  Scores and sums of halves are taken in
        float32.
    attn_mask
        Which key each query may look at: (L, S), or all axes (..., L, S), those of
        size 1 being broadcast; bool, True where the key takes part; or numbers M,
        which are added to the scores (-inf: it takes no part).  A query that may
        look at nothing gives 0, and its gradient is 0; the same holds for what a
        masked key and value get.  They must be finite all the same, as they are
        multiplied by 0: put :func:`where` before.
    dropout_p
        The probability with which a weight is dropped, in training.
    is_causal
        Whether query i may look at the keys j ≤ i alone; together with a mask, both
        count.
    scale
        The factor s; 1 / √E by default.
    training
        Whether there is dropout.

    Raises
    ------
    ShapeError
        An operand is no matrix, or sizes differ.
    DTypeError
        The operands are not floating-point, or the mask is of integers.
    GraphError
        The probability is not from 0 to 1.

    Examples
    --------
    >>> import graphgpu as gg
    >>> q = gg.placeholder("q", ("batch", 8, "length", 64))
    >>> gg.scaled_dot_product_attention(q, q, q, is_causal=True).type
    float32[batch,8,length,64]
    """
    name = "scaled_dot_product_attention"
    q, k, v = operands_of(name, query, key, value)
    if v.ndim < 2:
        raise located(ShapeError("expected values (..., S, V)"), name, (q, k, v))
    weights = _weights(name, widened(q), widened(k), attn_mask, is_causal, scale)
    with Naming(f"{name}({dropout_p=})", (weights,)):
        weights = dropout(weights, dropout_p, training)
    with Naming(name, (q, k, v)):
        Guards().equal(k.shape[-2], v.shape[-2], "axis S of keys, of values")
        return cast(matmul(weights, widened(v)), q.dtype)


def attention_weights(
    query: Operand,
    key: Operand,
    attn_mask: Operand | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> Variable:
    """Return softmax(s Q Kᵀ + M), of shape (..., L, S): who looks at what.

    The weights of :func:`scaled_dot_product_attention`, whose parameters and errors
    these are.  A row is of sum 1, or 0 where the query may look at nothing.

    >>> import graphgpu as gg
    >>> q = gg.zeros((3, 2))
    >>> gg.evaluate(gg.attention_weights(q, q, is_causal=True)).round(2)
    array([[1.  , 0.  , 0.  ],
           [0.5 , 0.5 , 0.  ],
           [0.33, 0.33, 0.33]], dtype=float32)
    """
    name = "attention_weights"
    q, k = operands_of(name, query, key)
    weights = _weights(name, widened(q), widened(k), attn_mask, is_causal, scale)
    return cast(weights, q.dtype)


def _weights(
    name: str,
    query: Variable,
    key: Variable,
    mask: Operand | None,
    is_causal: bool,
    scale: float | None,
) -> Variable:
    """Return the weights that the queries give to the keys."""
    floating(name, query)
    if query.ndim < 2 or key.ndim < 2:
        message = "expected queries (..., L, E) and keys (..., S, E)"
        raise located(ShapeError(message), name, (query, key))
    with Naming(name, (query, key)):
        Guards().equal(query.shape[-1], key.shape[-1], "axis E of queries, of keys")
        # Scaled after the product: the softmax's kernel does it, and its gradient's.
        scores = matmul(query, matrix_transpose(key))
        if scale is None:
            scores = scores / sqrt(size_of(query, (query.ndim - 1,), query.dtype))
        else:
            scores = scores * scale
    allowed = _causal(scores) if is_causal else None
    if mask is None:
        return softmax(scores) if allowed is None else masked_softmax(scores, allowed)
    given = mask_of(name, mask, scores.dtype)
    _require_axes(name, given, scores)
    with Naming(f"{name}, scores and mask", (scores, given)):
        if not _is_bool(given.dtype):
            scores = scores + given
            given = not_equal(given, -np.inf)
        allowed = given if allowed is None else logical_and(allowed, given)
        return masked_softmax(scores, allowed)


def mask_of(name: str, mask: Operand, dtype: DType) -> Variable:
    """Return a mask of bools as it is, one of numbers in a dtype."""
    given = as_variable(mask)
    if is_floating(given.dtype):
        wide = TensorType(dtype, ())
        return cast(as_variable(mask, wide), dtype)
    if not _is_bool(given.dtype):
        error = DTypeError("expected a bool or floating-point mask")
        raise located(error, name, (given,))
    return given


def _require_axes(name: str, mask: Variable, scores: Variable) -> None:
    """Require a mask (L, S) or of all axes, that no (batch, S) is taken for it."""
    if mask.ndim in (0, scores.ndim):
        return
    queries, samples = scores.shape[-2], scores.shape[0]
    if mask.ndim == 2:
        rows = mask.shape[0]
        if rows in (1, queries) or rows != samples:
            return
    expected = (
        f"expected an attn_mask of shape {shape_text(scores.shape[-2:])}, or of "
        f"{scores.ndim} axes that broadcasts to {shape_text(scores.shape)}; give it "
        "axes of size 1 with gg.expand_dims"
    )
    raise located(ShapeError(expected), name, (mask,))


def _causal(scores: Variable) -> Variable:
    """Return, of shape (L, S), whether key j is no later than query i."""
    queries, keys = arange(scores.shape[-2]), arange(scores.shape[-1])
    return greater_equal(expand_dims(queries, 1), keys)


def _is_bool(dtype: DType) -> bool:
    return kind(dtype) == 0
