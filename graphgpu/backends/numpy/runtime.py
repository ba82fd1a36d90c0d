"""What generated code calls beside NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from graphgpu.dtypes import Array

__all__ = [
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
    """Write the mean over axes, Σ (x - mean) and Σ (x - mean)²."""
    mean = np.mean(x, axis=axes, keepdims=True)
    rest = x - mean
    parts[0] = mean.reshape(-1)
    parts[1] = np.sum(rest, axis=axes).reshape(-1)
    parts[2] = np.sum(rest * rest, axis=axes).reshape(-1)


def combine_moments(parts: Array, counts: Array, mean: Array, variance: Array) -> None:
    """Combine parts [blocks, 3, columns · channels] into mean and variance.

    A part's rows are a shift m, Σ (x - m) and Σ (x - m)² of ``counts`` numbers
    for each column of each channel.  In float64 (Chan, Golub and LeVeque, 1983).
    """
    channels = mean.size
    wide = parts.astype(np.float64).reshape(len(parts), 3, -1, channels)
    n = counts[:, np.newaxis, np.newaxis]
    shift = wide[:, 1] / n
    means = wide[:, 0] + shift
    columns = wide.shape[2]
    total = counts.sum() * columns
    weights = np.repeat(counts, columns) / total
    flat = means.reshape(-1, channels)
    overall = weights @ flat
    squares = (wide[:, 2] - n * shift * shift).reshape(-1, channels).sum(0)
    spread = flat - overall
    squares += (weights * total) @ (spread * spread)
    mean[...] = overall.reshape(mean.shape)
    variance[...] = np.maximum(squares / total, 0).reshape(variance.shape)


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
