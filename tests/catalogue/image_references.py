"""Convolution, pooling and resampling by plain loops, of NumPy arrays alone."""

from itertools import product
from math import floor

import numpy as np


def each(value, axes):
    return value if isinstance(value, tuple) else (value,) * axes


def pairs_of(padding, kernel, dilation):
    """Return the padding of each axis, at stride 1."""
    spans = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    if padding == "full":
        return [(s, s) for s in spans]
    if padding == "same":
        return [(s // 2, s - s // 2) for s in spans]
    return [each(p, 2) for p in each(padding, len(kernel))]


def windows(x, kernel, stride=1, padding=0, dilation=1):
    """Yield each place and the patch there, of the axes n, c, k...."""
    axes = x.ndim - 2
    stride, dilation = each(stride, axes), each(dilation, axes)
    pairs = pairs_of(padding, kernel, dilation)
    x = np.pad(x, [(0, 0), (0, 0), *pairs])
    counts = [
        (n - d * (k - 1) - 1) // s + 1
        for n, k, s, d in zip(x.shape[2:], kernel, stride, dilation, strict=True)
    ]
    for place in product(*map(range, counts)):
        taps = [
            slice(p * s, p * s + d * (k - 1) + 1, d)
            for p, s, d, k in zip(place, stride, dilation, kernel, strict=True)
        ]
        yield place, x[(slice(None), slice(None), *taps)]


def correlated(x, w, b=None, stride=1, padding=0, dilation=1, groups=1):
    """Return the convolution as deep learning has it."""
    parts = []
    size = len(w) // groups
    for g in range(groups):
        channels = w.shape[1]
        part = x[:, g * channels : (g + 1) * channels]
        kernels = w[g * size : (g + 1) * size].reshape(size, -1)
        found = {
            place: patch.reshape(len(x), -1) @ kernels.T
            for place, patch in windows(part, w.shape[2:], stride, padding, dilation)
        }
        counts = [max(p[a] for p in found) + 1 for a in range(x.ndim - 2)]
        y = np.zeros((len(x), size, *counts))
        for place, values in found.items():
            y[(slice(None), slice(None), *place)] = values
        parts.append(y)
    y = np.concatenate(parts, 1)
    return y if b is None else y + b.reshape(1, -1, *[1] * (x.ndim - 2))


def flipped(x, w, b=None, **options):
    return correlated(x, np.flip(w, tuple(range(2, w.ndim))), b, **options)


def transposed(x, w, b=None, stride=1, padding=0, output_padding=0, groups=1):
    """Return the transposed convolution: each element puts down its kernel."""
    axes = x.ndim - 2
    stride, padding = each(stride, axes), each(padding, axes)
    kernel, extra = w.shape[2:], each(output_padding, axes)
    sizes = [
        (n - 1) * s + k + e
        for n, s, k, e in zip(x.shape[2:], stride, kernel, extra, strict=True)
    ]
    ins, outs = w.shape[0] // groups, w.shape[1]
    y = np.zeros((len(x), outs * groups, *sizes))
    for c, o, *place in np.ndindex(x.shape[1], outs, *x.shape[2:]):
        taps = [
            slice(p * s, p * s + k)
            for p, s, k in zip(place, stride, kernel, strict=True)
        ]
        channel = c // ins * outs + o
        values = x[(slice(None), c, *place)].reshape(-1, *[1] * axes)
        y[(slice(None), channel, *taps)] += values * w[c, o]
    cut = [slice(p, n - p) for p, n in zip(padding, y.shape[2:], strict=True)]
    y = y[(slice(None), slice(None), *cut)]
    return y if b is None else y + b.reshape(1, -1, *[1] * axes)


def depthwise(x, w, b=None, **options):
    return correlated(x, w, b, groups=x.shape[1], **options)


def separable(x, d, p, b=None, **options):
    return correlated(depthwise(x, d, **options), p, b)


def local(x, w, b=None, **options):
    axes = x.ndim - 2
    kernel = w.shape[axes + 2 :]
    y = np.zeros((len(x), w.shape[axes], *w.shape[:axes]))
    for place, patch in windows(x, kernel, **options):
        for o in range(w.shape[axes]):
            products = patch * w[place][o]
            y[(slice(None), o, *place)] = products.reshape(len(x), -1).sum(1)
    return y if b is None else y + b


def gained(x, g, b=None):
    shape = (1, -1, *[1] * (x.ndim - 2))
    return x * g.reshape(shape) + (0 if b is None else b.reshape(shape))


def motifs(x, w, b=None, **options):
    fits = correlated(x, w, b, **options)
    return fits.reshape(*fits.shape[:2], -1).max(-1)


def pooled(function, x, kernel, stride=None, padding=0, dilation=1):
    """Apply a function to the elements of each window; NaN stands for padding."""
    axes = x.ndim - 2
    kernel = each(kernel, axes)
    stride = kernel if stride is None else stride
    found = {}
    spread = np.pad(
        x,
        [(0, 0), (0, 0), *(each(p, 2) for p in each(padding, axes))],
        constant_values=np.nan,
    )
    for place, patch in windows(spread, kernel, stride, 0, dilation):
        found[place] = function(patch.reshape(*x.shape[:2], -1), axis=-1)
    counts = [max(p[a] for p in found) + 1 for a in range(axes)]
    y = np.zeros((*x.shape[:2], *counts))
    for place, values in found.items():
        y[(slice(None), slice(None), *place)] = values
    return y


def mean_of_all(values, axis):
    return np.nan_to_num(values).mean(axis)


def parts(size, count):
    return [slice(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def adaptive(function, x, counts):
    axes = [parts(n, c) for n, c in zip(x.shape[2:], counts, strict=True)]
    y = np.zeros((*x.shape[:2], *counts))
    for place in np.ndindex(*counts):
        covered = [a[i] for a, i in zip(axes, place, strict=True)]
        patch = x[(slice(None), slice(None), *covered)]
        y[(slice(None), slice(None), *place)] = function(
            patch.reshape(*x.shape[:2], -1), axis=-1
        )
    return y


def unpooled(x, kernel, shape):
    """Return the maxima of windows side by side, where they are."""
    y = np.zeros(shape)
    kernel = each(kernel, x.ndim - 2)
    for n, c, *place in np.ndindex(*pooled(np.max, x, kernel).shape):
        taps = [slice(p * k, p * k + k) for p, k in zip(place, kernel, strict=True)]
        patch = x[(n, c, *taps)]
        y[(n, c, *taps)] = np.where(patch == patch.max(), patch, 0)
    return y


def cubic(t):
    """Keys's kernel, a = -3/4."""
    t, a = abs(t), -0.75
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * (t**3 - 5 * t**2 + 8 * t - 4) if t < 2 else 0.0


def row(mode, i, size, step, corners):
    """Return the weight of each of ``size`` elements in output i."""
    weights = np.zeros(size)
    s = i * step if corners else (i + 0.5) * step - 0.5

    def give(place, weight):
        weights[min(max(place, 0), size - 1)] += weight

    if mode == "nearest":
        give(floor(i * step + 1e-9), 1)
    elif mode == "nearest-exact":
        give(floor((i + 0.5) * step + 1e-9), 1)
    elif mode == "bicubic":
        for k in range(-1, 3):
            give(floor(s) + k, cubic(s - floor(s) - k))
    else:
        s = max(s, 0)
        give(floor(s), 1 - (s - floor(s)))
        give(floor(s) + 1, s - floor(s))
    return weights


def resampled(x, counts, mode, corners=False, steps=None):
    """Return x times a matrix along each axis."""
    for axis, count in enumerate(counts, start=2):
        size = x.shape[axis]
        step = size / count if steps is None else steps[axis - 2]
        if corners:
            step = (size - 1) / max(count - 1, 1)
        matrix = [row(mode, i, size, step, corners) for i in range(count)]
        x = np.moveaxis(np.tensordot(x, np.array(matrix), (axis, 1)), -1, axis)
    return x


def shuffled(x, r):
    n, c, h, w = x.shape
    y = np.zeros((n, c // r**2, h * r, w * r))
    for k, i, j in np.ndindex(c // r**2, r, r):
        y[:, k, i::r, j::r] = x[:, (k * r + i) * r + j]
    return y


def unshuffled(x, r):
    n, c, h, w = x.shape
    y = np.zeros((n, c * r**2, h // r, w // r))
    for k, i, j in np.ndindex(c, r, r):
        y[:, (k * r + i) * r + j] = x[:, k, i::r, j::r]
    return y


def in_turns(x, groups):
    each = x.shape[1] // groups
    order = [k * each + c for c in range(each) for k in range(groups)]
    return x[:, order]


def put(x, places, sizes):
    """Return x at places that differ, amid zeros."""
    y = np.zeros((*x.shape[:2], int(np.prod(sizes))))
    flat = (*x.shape[:2], -1)
    np.put_along_axis(y, places.reshape(flat).astype(int), x.reshape(flat), 2)
    return y.reshape(*x.shape[:2], *sizes)
