"""Cases of noise, of penalties, and of targets that are smoothed."""

import numpy as np
from case import Case

import graphgpu as gg
from graphgpu import nn

X = np.array([[0.3, -1.7, 2.6, -0.4], [1.1, -0.45, 0.9, 3.3], [-2.2, 0.7, 1.4, 0.15]])
MAPS = np.random.default_rng(7).standard_normal((2, 4, 3)) * 1.5 + 0.4
IMAGES = np.random.default_rng(8).standard_normal((2, 2, 3, 2))
VOLUMES = IMAGES[..., None]
PLAIN = ("float64", "float32", "float16", "bfloat16")
SELU_FLOOR = -1.0507009873554805 * 1.6732632423543772
OWN_NOISE = "the noise of each dtype is its own"
BY_FUNCTION = "those of the function"


def scaled(*inputs):
    """Return the inputs in other sizes."""
    return [[x * s for x in inputs] for s in (1e4, 1e30, 1e-30)]


def kept(shape, p):
    """Return what the node with this key keeps in the first step."""
    return gg.evaluate(gg.random_uniform(shape, key="noise")) >= p


def normals(shape):
    noise = gg.random_normal(shape, dtype="float64", key="noise")
    return gg.evaluate(noise)


def dropped(x, shape, p):
    return np.where(kept(shape, p), x / (1 - p), 0)


def alpha_dropped(x, shape, p):
    q = 1 - p
    scale = 1 / np.sqrt(q + SELU_FLOOR**2 * q * p)
    shift = -scale * p * SELU_FLOOR
    return scale * np.where(kept(shape, p), x, SELU_FLOOR) + shift


def noisy(name, function, x, reference, **options):
    """Return a case of a function with its key, and of its layer in training."""
    return Case(
        name=name,
        function=lambda v: function(v, key="noise"),
        inputs=[x],
        reference=reference,
        **{"dtypes": PLAIN, "extremes": scaled(x), **options},
    )


def layer(kind, x, *arguments):
    return Case(
        name=kind.__name__,
        layer=lambda d: kind(*arguments),
        training=True,
        inputs=[x],
        extremes=BY_FUNCTION,
    )


FUNCTIONS = [
    noisy(
        "dropout",
        lambda v, key: gg.dropout(v, 0.4, key=key),
        X,
        lambda x: dropped(x, x.shape, 0.4),
    ),
    noisy(
        "dropout1d",
        lambda v, key: gg.dropout1d(v, 0.4, key=key),
        MAPS,
        lambda x: dropped(x, (2, 4, 1), 0.4),
    ),
    noisy(
        "dropout2d",
        lambda v, key: gg.dropout2d(v, 0.4, key=key),
        IMAGES,
        lambda x: dropped(x, (2, 2, 1, 1), 0.4),
    ),
    noisy(
        "dropout3d",
        lambda v, key: gg.dropout3d(v, 0.4, key=key),
        VOLUMES,
        lambda x: dropped(x, (2, 2, 1, 1, 1), 0.4),
    ),
    noisy(
        "alpha_dropout",
        lambda v, key: gg.alpha_dropout(v, 0.3, key=key),
        X,
        lambda x: alpha_dropped(x, x.shape, 0.3),
    ),
    noisy(
        "feature_alpha_dropout",
        lambda v, key: gg.feature_alpha_dropout(v, 0.3, key=key),
        IMAGES,
        lambda x: alpha_dropped(x, (2, 2, 1, 1), 0.3),
    ),
    noisy(
        "gaussian_dropout",
        lambda v, key: gg.gaussian_dropout(v, 0.2, key=key),
        X,
        lambda x: x * (1 + 0.5 * normals(x.shape)),
        dtypes=("float64",),
        extremes=OWN_NOISE,
    ),
    noisy(
        "gaussian_noise",
        lambda v, key: gg.gaussian_noise(v, 0.3, key=key),
        X,
        lambda x: x + 0.3 * normals(x.shape),
        dtypes=("float64",),
        extremes=OWN_NOISE,
    ),
]

LAYERS = [
    layer(nn.Dropout, X, 0.4),
    layer(nn.Dropout1d, MAPS, 0.4),
    layer(nn.Dropout2d, IMAGES, 0.4),
    layer(nn.Dropout3d, VOLUMES, 0.4),
    layer(nn.AlphaDropout, X, 0.3),
    layer(nn.FeatureAlphaDropout, MAPS, 0.3),
    layer(nn.GaussianDropout, X, 0.3),
    layer(nn.GaussianNoise, X, 0.3),
    Case(
        name="DropConnect",
        layer=lambda d: nn.Dense(4, 3, dtype=d).transform(
            "weight", nn.DropConnect(0.4)
        ),
        training=True,
        inputs=[X],
        extremes=scaled(X),
    ),
    Case(
        name="DropConnect, inference",
        layer=lambda d: nn.Dense(4, 3, dtype=d).transform(
            "weight", nn.DropConnect(0.4)
        ),
        inputs=[X],
        reference=lambda x, w, b: x @ w + b,
        extremes=scaled(X),
    ),
]

PENALTIES = [
    Case(
        name="l1_penalty",
        function=lambda w, b: gg.l1_penalty([w, b], 0.3),
        inputs=[X, MAPS],
        reference=lambda w, b: 0.3 * (np.abs(w).sum() + np.abs(b).sum()),
        extremes=[*scaled(X, MAPS), [X * 0, MAPS]],
    ),
    Case(
        name="l2_penalty",
        function=lambda w, b: gg.l2_penalty([w, b], 0.3),
        inputs=[X, MAPS],
        reference=lambda w, b: 0.15 * ((w**2).sum() + (b**2).sum()),
        extremes=[*scaled(X, MAPS), [X * 0, MAPS]],
    ),
    Case(
        name="elastic_penalty",
        function=lambda w, b, s: gg.elastic_penalty([w, b], s, 0.2),
        inputs=[X, MAPS, np.array(0.7)],
        reference=lambda w, b, s: (
            s * (np.abs(w).sum() + np.abs(b).sum())
            + 0.1 * ((w**2).sum() + (b**2).sum())
        ),
        extremes=scaled(X, MAPS, np.array(0.7)),
    ),
    Case(
        name="smooth_labels",
        function=lambda y: gg.smooth_labels(y, 0.2),
        inputs=[np.eye(4)[[2, 0, 3]]],
        reference=lambda y: np.where(y == 1, 0.85, 0.05),
        dtypes=PLAIN,
        extremes=[[np.eye(4)]],
    ),
]

CASES = FUNCTIONS + LAYERS + PENALTIES
