"""What generated code calls beside NumPy."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from graphgpu.backends.numpy.special import erf, erfc, normcdf
from graphgpu.dtypes import Array, DType
from graphgpu.ops.expression import PRIMITIVES

__all__ = [
    "FUNCTIONS",
    "add_parts",
    "checked_classes",
    "combine_moments",
    "copy_classes",
    "moment_parts",
    "store",
]


def store(out: Array, result: object) -> None:
    """Copy what an operation computed to its place.

    Raises
    ------
    TypeError
        It does not have the type that the operation inferred.
    """
    array = np.asarray(result)
    if array.shape != out.shape or array.dtype != out.dtype:
        raise TypeError(
            f"expected {out.dtype.name}{list(out.shape)} as the operation inferred; "
            f"it computed {array.dtype.name}{list(array.shape)}"
        )
    np.copyto(out, array)


def moment_parts(x: Array, axes: tuple[int, ...], parts: Array) -> None:
    """Write the mean over axes (0 if it is not finite), Σ (x - it) and Σ (x - it)²."""
    mean = np.mean(x, axis=axes, keepdims=True)
    mean[~np.isfinite(mean)] = 0
    rest = x - mean
    parts[0] = mean.reshape(-1)
    parts[1] = np.sum(rest, axis=axes).reshape(-1)
    parts[2] = np.sum(rest * rest, axis=axes).reshape(-1)


@cache
def _ones(count: int, dtype: DType) -> Array:
    return np.ones(count, dtype)


def over_columns(parts: Array, channels: int) -> Array:
    """Add up [..., columns · channels] over the columns: a product is quickest."""
    columns = parts.shape[-1] // channels
    shaped = parts.reshape(*parts.shape[:-1], columns, channels)
    sums: Array = _ones(columns, parts.dtype) @ shaped
    return sums


def add_parts(parts: Array, out: Array) -> None:
    """Add up partial sums [blocks, columns · channels] over blocks and columns."""
    wide = _ones(len(parts), parts.dtype) @ parts.reshape(len(parts), -1)
    if out.size == wide.size:
        out[...] = wide.reshape(out.shape)
    else:
        out[...] = over_columns(wide, out.size).reshape(out.shape)


def combine_moments(parts: Array, counts: Array, mean: Array, variance: Array) -> None:
    """Combine parts [blocks, 3, columns · channels] into mean and variance.

    A part's rows are a shift s, Σ (x - s) and Σ (x - s)² of ``counts`` numbers for
    each column of each channel.  With s the same for all columns, and d = s minus
    the first block's, Σ (x - s₀) = Σ (x - s) + n d and Σ (x - s₀)² = Σ (x - s)² +
    2 d Σ (x - s) + n d².  Across blocks in float64.
    """
    channels = mean.size
    shaped = parts.reshape(len(parts), 3, -1, channels)
    columns = shaped.shape[2]
    sums = over_columns(parts[:, 1:], channels).astype(np.float64)
    shift = shaped[:, 0, 0].astype(np.float64)
    n = (counts * columns)[:, np.newaxis]
    moved = shift - shift[0]
    weighted = n * moved
    first = (sums[:, 0] + weighted).sum(0) / n.sum()
    second = (sums[:, 1] + moved * (2 * sums[:, 0] + weighted)).sum(0) / n.sum()
    mean[...] = (shift[0] + first).reshape(mean.shape)
    variance[...] = np.maximum(second - first * first, 0).reshape(variance.shape)


def copy_classes(
    target: Array,
    unsigned: Array,
    out: Array,
    batch: Array,
    classes: int,
    slow: Callable[[Array], Array],
) -> None:
    """Copy classes that are all from 0 to ``classes``; else leave them to ``slow``.

    ``unsigned`` are the bits of the target, by which a negative number is large.
    Where ``slow`` raises, it is given all classes of the ``batch`` in place of a
    block's, so that its error names a place in the batch.
    """
    if np.maximum.reduce(unsigned, axis=None, initial=0) < classes:
        np.copyto(out, target)
        return
    try:
        store(out, slow(target))
    except IndexError:
        slow(batch)
        raise


def checked_classes(
    target: Array, classes: int, slow: Callable[[Array], Array]
) -> None:
    """Let ``slow`` raise its error if a class does not exist."""
    if target.size and not 0 <= target.min() <= target.max() < classes:
        slow(target)


FUNCTIONS: dict[str, Any] = {
    **PRIMITIVES,
    "erf": erf,
    "erfc": erfc,
    "normcdf": normcdf,
    "copyto": np.copyto,
    "matmul": np.matmul,
    "float64": np.float64,
    "add_parts": add_parts,
    "combine_moments": combine_moments,
    "moment_parts": moment_parts,
    "store": store,
}
"""What generated code calls by these names."""
