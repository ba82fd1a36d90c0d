"""Output units: their parameters, and likelihoods summed with Python's own floats."""

import math

import numpy as np
from case import Case

from graphgpu import nn

RNG = np.random.default_rng(41)
H = RNG.uniform(-2, 2, (3, 2)).round(2)
Y = RNG.uniform(-2, 2, (3, 2)).round(2)
BITS = np.array([[0.0, 1.0], [1.0, 1.0], [0.25, 0.0]])
CLASSES = np.array([2, 0, 1])
P = np.array([[0.2, 0.5, 0.3], [1.0, 0.0, 0.0], [0.6, 0.1, 0.3]])
FAR = np.array([[1e4], [-1e4], [3.0], [1e6]])
AWAY = np.array([[1e4], [5e3], [-2e4], [0.5]])


class Nll(nn.Layer):
    """The likelihood of a unit, as a layer of features and target."""

    def __init__(self, unit, reduction="none"):
        super().__init__()
        self.unit, self.reduction = unit, reduction

    def forward(self, h, y, *, training):
        return self.unit.nll(h, y, self.reduction)


class Of(nn.Layer):
    """Another method of a unit, as a layer."""

    def __init__(self, unit, method):
        super().__init__()
        self.unit, self.method = unit, method

    def forward(self, h, *, training):
        return getattr(self.unit, self.method)(h)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softplus(z):
    return np.logaddexp(z, 0)


def softmax(z):
    powers = np.exp(z - z.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def with_zero(z):
    return np.concatenate([z, np.zeros((*z.shape[:-1], 1))], -1)


def squared(z, y):
    return [
        sum(
            0.5 * (a - b) ** 2 + 0.5 * math.log(2 * math.pi)
            for a, b in zip(*rows, strict=True)
        )
        for rows in zip(z, y, strict=True)
    ]


def bernoulli(z, y):
    p = sigmoid(z)
    return -(y * np.log(p) + (1 - y) * np.log(1 - p)).sum(-1)


def picked(z, y):
    return -np.log(softmax(z)[np.arange(len(y)), y])


def against(z, y):
    return -(y * np.log(softmax(z))).sum(-1)


def log_normal(y, mean, v):
    return sum(
        -0.5 * (math.log(2 * math.pi * s) + (a - m) ** 2 / s)
        for a, m, s in zip(y, mean, v, strict=True)
    )


def gaussian(positive):
    def parameters(z):
        mean, r = np.split(z, 2, -1)
        return mean, positive(r) + 1e-6

    def nll(z, y):
        return [-log_normal(*row) for row in zip(y, *parameters(z), strict=True)]

    return (lambda z: np.concatenate(parameters(z), -1)), nll


def factors(z, positive, d=2):
    """Return the mean and L of each sample."""
    for row in z:
        factor = np.zeros((d, d))
        entries = iter(row[2 * d :])
        for i in range(d):
            factor[i, i] = positive(row[d + i]) + 1e-3
            for j in range(i):
                factor[i, j] = next(entries)
        yield row[:d], factor


def multivariate(positive, d=2):
    def parameters(z):
        return np.array([[*m, *f.ravel()] for m, f in factors(z, positive, d)])

    def nll(z, y):
        found = []
        for (mean, factor), target in zip(factors(z, positive, d), y, strict=True):
            covariance, away = factor @ factor.T, target - mean
            _, log_det = np.linalg.slogdet(2 * np.pi * covariance)
            found.append(0.5 * (log_det + away @ np.linalg.inv(covariance) @ away))
        return found

    def covariance(z):
        return np.array([f @ f.T for _, f in factors(z, positive, d)])

    return parameters, nll, covariance


def mixture(positive, k=3, d=2):
    def parameters(z):
        shape = (len(z), k, d)
        means = z[:, k : k + k * d].reshape(shape)
        variances = positive(z[:, k + k * d :]).reshape(shape) + 1e-6
        return softmax(z[:, :k]), means, variances

    def joined(z):
        return np.concatenate([v.reshape(len(z), -1) for v in parameters(z)], -1)

    def nll(z, y):
        found = []
        for weights, means, variances, target in zip(*parameters(z), y, strict=True):
            densities = [
                w * math.exp(log_normal(target, m, v))
                for w, m, v in zip(weights, means, variances, strict=True)
            ]
            found.append(-math.log(math.fsum(densities)))
        return found

    def mean(z):
        weights, means, _ = parameters(z)
        return (weights[..., None] * means).sum(1)

    return joined, nll, mean


def unit(cls, *args, **options):
    return lambda dtype: cls(*args, **options, dtype=dtype)


def of(made, method):
    return lambda dtype: Of(made(dtype), method)


def nll_of(made, reduction="none"):
    return lambda dtype: Nll(made(dtype), reduction)


def affine(function):
    """Return a reference: the function of the scores."""
    return lambda h, w, b: np.asarray(function(h @ w + b))


def likelihood(function, reduce=np.asarray):
    return lambda h, y, w, b: reduce(np.asarray(function(h @ w + b, y)))


def far_from(target, unit=None):
    """Return features whose likelihoods are large, and the target.

    Slopes by a variance of 1e-6, and by the entries of L, are finite.
    """
    large = 1e5 if unit is nn.MultivariateGaussianOutput else 1e12
    return [[scale * H, target] for scale in (1e4, large)]


def cases_of(name, make, args, parameters, nll, target=Y, far=None, **options):
    """Return the cases of a unit: its parameters, and its likelihood."""
    far = AWAY if far is None else far
    outputs = far.shape[-1:] if far.dtype.kind == "f" else ()
    made, thin = unit(make, *args, **options), unit(make, 1, *args[1:], **options)
    if outputs and outputs != (args[1] if len(args) > 1 else 1,):
        far = np.repeat(far, args[1], -1)
    return [
        Case(
            name=name,
            layer=made,
            inputs=[H],
            reference=affine(parameters),
            extremes="the rounding of the scores, see the likelihood",
        ),
        Case(
            name=f"{name}, likelihood",
            layer=nll_of(made),
            inputs=[H, target],
            reference=likelihood(nll),
            extremes=far_from(target, make),
        ),
        Case(
            name=f"{name}, far likelihood",
            layer=nll_of(thin),
            inputs=[H[:, :1], target],
            reference=likelihood(nll),
            extremes=[[FAR, far]],
        ),
    ]


CASES = [
    *cases_of("LinearRegression", nn.LinearRegression, (2, 2), lambda z: z, squared),
    *cases_of(
        "BernoulliOutput",
        nn.BernoulliOutput,
        (2, 2),
        sigmoid,
        bernoulli,
        BITS,
        np.array([[1.0], [1.0], [0.0], [0.0]]),
    ),
    *cases_of(
        "LogisticRegression",
        nn.LogisticRegression,
        (2,),
        sigmoid,
        bernoulli,
        BITS[:, :1],
        np.array([[1.0], [1.0], [0.0], [0.0]]),
    ),
    *cases_of(
        "MultinoulliOutput",
        nn.MultinoulliOutput,
        (2, 3),
        softmax,
        picked,
        CLASSES,
        np.array([0, 1, 2, 1]),
    ),
    *cases_of(
        "MultinoulliOutput, one parameter less",
        nn.MultinoulliOutput,
        (2, 3),
        lambda z: softmax(with_zero(z)),
        lambda z, y: picked(with_zero(z), y),
        CLASSES,
        np.array([0, 1, 2, 1]),
        reduced=True,
    ),
    Case(
        name="MultinoulliOutput, probabilities as the target",
        layer=nll_of(unit(nn.MultinoulliOutput, 2, 3), "mean"),
        inputs=[H, P],
        reference=likelihood(against, np.mean),
        extremes=far_from(P),
    ),
]
for word, positive in (("softplus", softplus), ("exp", np.exp)):
    parameters, nll = gaussian(positive)
    CASES += cases_of(
        f"GaussianOutput, {word}",
        nn.GaussianOutput,
        (2, 2),
        parameters,
        nll,
        positive=word,
    )
    parameters, nll, covariance = multivariate(positive)
    CASES += cases_of(
        f"MultivariateGaussianOutput, {word}",
        nn.MultivariateGaussianOutput,
        (2, 2),
        parameters,
        nll,
        positive=word,
    )
    parameters, nll, mean = mixture(positive)
    CASES += cases_of(
        f"MixtureDensityOutput, {word}",
        nn.MixtureDensityOutput,
        (2, 2, 3),
        parameters,
        nll,
        positive=word,
    )
parameters, nll, covariance = multivariate(softplus)
CASES += [
    Case(
        name="MultivariateGaussianOutput, covariance",
        layer=of(unit(nn.MultivariateGaussianOutput, 2, 2), "covariance"),
        inputs=[H],
        reference=affine(covariance),
        scales=(1e4, 1e15),  # L Lᵀ is finite
    ),
    Case(
        name="MultivariateGaussianOutput, four outputs",
        layer=nll_of(unit(nn.MultivariateGaussianOutput, 2, 4), "sum"),
        inputs=[H, np.concatenate([Y, 1 - Y], -1)],
        reference=likelihood(multivariate(softplus, 4)[1], np.sum),
        scales=(10, 100),  # ‖L⁻¹(y - μ)‖² is finite
    ),
    Case(
        name="MixtureDensityOutput, mean",
        layer=of(unit(nn.MixtureDensityOutput, 2, 2, 3), "mean"),
        inputs=[H],
        reference=affine(mixture(softplus)[2]),
    ),
]
