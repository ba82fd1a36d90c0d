"""Cases of norms, of normalisation, and of weights that are normalised."""

import math

import numpy as np
from case import Case

import graphgpu as gg
from graphgpu import nn

X = np.array([[0.3, -1.7, 2.6, -0.4], [1.1, -0.45, 0.9, 3.3], [-2.2, 0.7, 1.4, 0.15]])
MAPS = np.random.default_rng(7).standard_normal((2, 4, 3)) * 1.5 + 0.4
IMAGES = np.random.default_rng(8).standard_normal((2, 2, 3, 2))
W, B = np.array([0.5, -2.0, 1.25, 0.8]), np.array([0.1, 0.0, -3.0, 0.7])
MEAN, VAR = np.array([0.2, -1.0, 3.0, 0.1]), np.array([0.5, 2.0, 1.5, 0.9])
PLAIN = ("float64", "float32", "float16", "bfloat16")
SIZES = (1e4, 1e15, 1e30, 1e37, 1e-15, 1e-30)


def scaled(x, *others, sizes=SIZES):
    """Return the same inputs in other sizes, and beside what is very small."""
    mixed = np.where(np.arange(x.shape[-1]) % 2 == 0, 1e30, 1e-30)
    given = [[x * s, *others] for s in sizes]
    return given + ([[x * mixed, *others]] if sizes == SIZES else [])


def along(function, x, axis):
    """Apply a function of a list of numbers along an axis; its results are an array."""
    return np.apply_along_axis(lambda row: function([float(v) for v in row]), axis, x)


def norm(row, p):
    """Return the norm of a list."""
    sizes = [abs(v) for v in row]
    if p == 0:
        return float(sum(v != 0 for v in sizes))
    if math.isinf(p):
        return max(sizes) if p > 0 else min(sizes)
    top = max(sizes) if p > 0 else min(sizes)
    return top * math.fsum((v / top) ** p for v in sizes) ** (1 / p)


def vector_norm_case(p, **options):
    return Case(
        name=f"vector_norm, {p}",
        function=lambda x: gg.vector_norm(x, p, axis=1),
        inputs=[X],
        reference=lambda x: along(lambda row: norm(row, p), x, 1),
        extremes=scaled(X, sizes=SIZES[:-1]),
        **{"dtypes": PLAIN, **options},
    )


def normalize_case(p):
    return Case(
        name=f"normalize, {p}",
        function=lambda x: gg.normalize(x, p),
        inputs=[X],
        reference=lambda x: x / along(lambda row: norm(row, p), x, 1)[:, None],
        dtypes=PLAIN,
        extremes=[*scaled(X), [X * 0]],
    )


def standardized(values, eps=1e-5):
    """Return an array less its mean, by its deviation."""
    flat = [float(v) for v in np.ravel(values)]
    mean = math.fsum(flat) / len(flat)
    variance = math.fsum((v - mean) ** 2 for v in flat) / len(flat)
    return (np.asarray(values) - mean) / math.sqrt(variance + eps)


def standardized_l1(values, eps=1e-5):
    flat = [float(v) for v in np.ravel(values)]
    mean = math.fsum(flat) / len(flat)
    deviation = math.fsum(abs(v - mean) for v in flat) / len(flat)
    return (np.asarray(values) - mean) / math.sqrt(math.pi / 2 * deviation**2 + eps)


def by_channel(vector, x):
    return np.reshape(vector, (1, -1, *[1] * (x.ndim - 2)))


def batch(x, weight, bias, one=standardized):
    result = np.stack([one(x[:, c]) for c in range(x.shape[1])], axis=1)
    return result * by_channel(weight, x) + by_channel(bias, x)


def inferred(x, mean, var, weight, bias):
    centred = (x - by_channel(mean, x)) / np.sqrt(by_channel(var, x) + 1e-5)
    return centred * by_channel(weight, x) + by_channel(bias, x)


def layer(x, weight, bias):
    return np.stack([standardized(row) for row in x]) * weight + bias


def groups(x, weight, bias, count):
    result = np.empty_like(x)
    size = x.shape[1] // count
    for n in range(x.shape[0]):
        for first in range(0, x.shape[1], size):
            part = slice(first, first + size)
            result[n, part] = standardized(x[n, part])
    return result * by_channel(weight, x) + by_channel(bias, x)


def root_mean_square(x, weight, eps=1e-6):
    def one(row):
        return math.sqrt(math.fsum(v * v for v in row) / len(row) + eps)

    return x / along(one, x, -1)[..., None] * weight


def local(x, size, alpha, beta, k):
    result = np.empty_like(x)
    for c in range(x.shape[1]):
        first = c - size // 2
        near = range(max(first, 0), min(first + size, x.shape[1]))
        total = sum(x[:, j] ** 2 for j in near)
        result[:, c] = x[:, c] / (k + alpha / size * total) ** beta
    return result


def both(pair):
    """Return mean and variance as one variable."""
    return gg.concat(pair, axis=1)


def weight_normed(x, v, bias, g):
    return x @ (v / np.sqrt((v**2).sum(0)) * g) + bias


def spectral_normed(x, w, bias):
    return x @ (w / np.linalg.svd(w)[1][0]) + bias


NORMS = [
    vector_norm_case(2),
    vector_norm_case(1),
    vector_norm_case(3),
    vector_norm_case(1.5),
    vector_norm_case(-1),
    vector_norm_case(math.inf),
    vector_norm_case(-math.inf),
    vector_norm_case(0, order=0),
    Case(
        name="vector_norm, of all",
        function=gg.vector_norm,
        inputs=[X],
        reference=lambda x: np.linalg.norm(np.ravel(x)),
        extremes=[*scaled(X), [X * 0]],
    ),
    normalize_case(2),
    normalize_case(1),
    normalize_case(3),
    normalize_case(math.inf),
    Case(
        name="normalize, two axes",
        function=lambda x: gg.normalize(x, axis=(1, 2), eps=0.5),
        inputs=[MAPS * np.array([1.0, 0.01])[:, None, None]],
        reference=lambda x: (
            x / np.maximum(np.sqrt((x**2).sum((1, 2), keepdims=True)), 0.5)
        ),
        extremes=scaled(MAPS),
    ),
]

MOMENTS = [
    Case(
        name="moments",
        function=lambda x: both(gg.moments(x, 1)),
        inputs=[X],
        reference=lambda x: np.stack([x.mean(1), x.var(1)], 1),
        dtypes=PLAIN,
        extremes=scaled(X, sizes=(1e4, 1e15, 1e-15)),
    ),
    Case(
        name="var",
        function=lambda x: gg.var(x, 1, correction=1),
        inputs=[X],
        reference=lambda x: x.var(1, ddof=1),
        dtypes=PLAIN,
        extremes=scaled(X, sizes=(1e4, 1e15, 1e-15)),
    ),
    Case(
        name="std",
        function=lambda x: gg.std(x, 1),
        inputs=[X],
        reference=lambda x: x.std(1),
        dtypes=PLAIN,
        extremes=[*scaled(X), [np.full((2, 3), 1e4)]],
    ),
]

BATCH = [
    Case(
        name="batch_norm",
        function=lambda x, w, b: gg.batch_norm(x, None, None, w, b, training=True),
        inputs=[MAPS, W, B],
        reference=batch,
        dtypes=PLAIN,
        tolerance=3,
        extremes=[*scaled(MAPS, W, B, sizes=(1e4, 1e-15, 1e-30)), [MAPS * 0 + 3, W, B]],
    ),
    Case(
        name="batch_norm, l1",
        function=lambda x, w, b: gg.batch_norm(
            x, None, None, w, b, training=True, norm="l1"
        ),
        inputs=[MAPS, W, B],
        reference=lambda x, w, b: batch(x, w, b, standardized_l1),
        dtypes=PLAIN,
        tolerance=3,
        extremes="as those of BatchNorm, l1",
    ),
    Case(
        name="batch_norm, inference",
        function=gg.batch_norm,
        inputs=[MAPS, MEAN, VAR, W, B],
        reference=inferred,
        dtypes=PLAIN,
        extremes=[
            *scaled(MAPS, MEAN, VAR, W, B),
            [MAPS, MEAN, VAR * 0, W, B],
            [MAPS, MEAN, VAR * 1e30, W, B],
        ],
    ),
    Case(
        name="BatchNorm",
        layer=lambda d: nn.BatchNorm(4, dtype=d),
        training=True,
        inputs=[MAPS],
        reference=batch,
        tolerance=3,
        extremes=scaled(MAPS, sizes=(1e4, 1e-15, 1e-30)),
    ),
    Case(
        name="BatchNorm, l1",
        layer=lambda d: nn.BatchNorm(4, norm="l1", dtype=d),
        training=True,
        inputs=[MAPS],
        reference=lambda x, w, b: batch(x, w, b, standardized_l1),
        tolerance=3,
        extremes=scaled(MAPS, sizes=(1e4, 1e15, 1e30, 1e-15, 1e-30)),
    ),
    Case(
        name="BatchNorm, inference",
        layer=lambda d: nn.BatchNorm(4, dtype=d),
        inputs=[MAPS],
        reference=lambda x, w, b: inferred(x, np.zeros(4), np.ones(4), w, b),
        extremes=scaled(MAPS),
    ),
]

SAMPLES = [
    Case(
        name="layer_norm",
        function=lambda x, w, b: gg.layer_norm(x, 4, w, b),
        inputs=[X, W, B],
        reference=layer,
        dtypes=PLAIN,
        symbolic=False,
        extremes=[*scaled(X, W, B), [X * 0 + 1e4, W, B]],
    ),
    Case(
        name="LayerNorm",
        layer=lambda d: nn.LayerNorm(4, dtype=d),
        inputs=[X],
        reference=layer,
        extremes=scaled(X),
    ),
    Case(
        name="rms_norm",
        function=lambda x, w: gg.rms_norm(x, 4, w, 1e-6),
        inputs=[X, W],
        reference=root_mean_square,
        dtypes=PLAIN,
        symbolic=False,
        extremes=[*scaled(X, W), [X * 0, W]],
    ),
    Case(
        name="rms_norm, two axes and no epsilon",
        function=lambda x: gg.rms_norm(x, (4, 3), eps=0.0),
        inputs=[MAPS],
        reference=lambda x: x / np.sqrt((x**2).mean((1, 2), keepdims=True)),
        symbolic=False,
        extremes=scaled(MAPS),
    ),
    Case(
        name="RMSNorm",
        layer=lambda d: nn.RMSNorm(4, 1e-6, dtype=d),
        inputs=[X],
        reference=root_mean_square,
        extremes=scaled(X),
    ),
    Case(
        name="group_norm",
        function=lambda x, w, b: gg.group_norm(x, 2, w, b),
        inputs=[MAPS, W, B],
        reference=lambda x, w, b: groups(x, w, b, 2),
        dtypes=PLAIN,
        symbolic=False,
        tolerance=3,
        extremes=[*scaled(MAPS, W, B), [MAPS * 0 - 1e4, W, B]],
    ),
    Case(
        name="GroupNorm",
        layer=lambda d: nn.GroupNorm(1, 4, dtype=d),
        inputs=[X],
        reference=lambda x, w, b: groups(x, w, b, 1),
        extremes=scaled(X),
    ),
    Case(
        name="instance_norm",
        function=lambda x, w, b: gg.instance_norm(x * gg.exp(0.1 * x), w, b),
        inputs=[IMAGES, W[:2], B[:2]],
        reference=lambda x, w, b: groups(x * np.exp(0.1 * x), w, b, 2),
        dtypes=PLAIN[:2],
        extremes="as those of group_norm: the same function of maps",
    ),
    Case(
        name="InstanceNorm",
        layer=lambda d: nn.InstanceNorm(4, affine=True, dtype=d),
        inputs=[MAPS],
        reference=lambda x, w, b: groups(x, w, b, 4),
        tolerance=3,
        extremes="the gradient of a sum over a map is 0 but for rounding",
    ),
    Case(
        name="local_response_norm",
        function=lambda x: gg.local_response_norm(x, 3, 0.5, 0.75, 1.5),
        inputs=[MAPS],
        reference=lambda x: local(x, 3, 0.5, 0.75, 1.5),
        dtypes=PLAIN,
        extremes=scaled(MAPS, sizes=(1e4, 1e15, 1e24, 1e-15, 1e-30)),
    ),
    Case(
        name="local_response_norm, even size",
        function=lambda x: gg.local_response_norm(x, 2, 1.0, 0.5, 0.1),
        inputs=[IMAGES],
        reference=lambda x: local(x, 2, 1.0, 0.5, 0.1),
        extremes=scaled(IMAGES),
    ),
    Case(
        name="LocalResponseNorm",
        layer=lambda d: nn.LocalResponseNorm(3, 1.0),
        inputs=[IMAGES],
        reference=lambda x: local(x, 3, 1.0, 0.75, 1.0),
        extremes=scaled(IMAGES, sizes=(1e4, 1e15, 1e24, 1e-15, 1e-30)),
    ),
]

WEIGHTS = [
    Case(
        name="WeightNorm",
        layer=lambda d: nn.weight_norm(nn.Dense(4, 3, dtype=d)),
        inputs=[X],
        reference=weight_normed,
        extremes=scaled(X, sizes=(1e4, 1e30, 1e-30)),
    ),
    Case(
        name="SpectralNorm",
        layer=lambda d: nn.spectral_norm(
            nn.Dense(4, 2, dtype=d), n_power_iterations=60
        ),
        training=True,
        inputs=[X],
        reference=spectral_normed,
        order=1,  # the vectors are constants to the gradient
        extremes=scaled(X, sizes=(1e4, 1e30, 1e-30)),
    ),
]

CASES = NORMS + MOMENTS + BATCH + SAMPLES + WEIGHTS
