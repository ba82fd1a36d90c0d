"""Products of inputs, switches, mixtures of experts and weights that are tied."""

import numpy as np
from case import Case

import graphgpu as gg
from graphgpu import nn

RNG = np.random.default_rng(32)

EVERY = ("float64", "float32", "float16", "bfloat16")
SQUARED = (1e4, 1e15)
"""Factors on inputs that are multiplied with each other."""


def normal(*shape):
    return RNG.standard_normal(shape)


def softmax(x):
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def bilinear(x, z, weight, bias=0):
    return np.einsum("bi,kij,bj->bk", x, weight, z) + bias


def gates(logits, k, renormalize=True):
    """Return the gates of the k largest, row by row; of equal ones the first."""
    result = np.zeros(logits.shape)
    for place in np.ndindex(logits.shape[:-1]):
        row = logits[place]
        chosen = np.argsort(-row, kind="stable")[:k]
        share = softmax(row[chosen]) if renormalize else softmax(row)[chosen]
        result[(*place, chosen)] = share
    return result


def balance(logits, k=1):
    count = logits.shape[-1]
    share = (gates(logits, k) > 0).mean(0) / k
    return count * (share * softmax(logits).mean(0)).sum()


def importance(g):
    total = g.sum(0)
    return total.var() / total.mean() ** 2


def experts(x, *parameters, k=None, renormalize=True):
    """Return the mixture of dense experts with biases."""
    *parts, weight = parameters
    outputs = [x @ w + b for w, b in zip(parts[::2], parts[1::2], strict=True)]
    logits = x @ weight
    g = softmax(logits) if k is None else gates(logits, k, renormalize)
    return sum(g[..., e, None] * y for e, y in enumerate(outputs))


def dense_experts(dtype, count=3):
    return [nn.Dense(4, 2, dtype=dtype) for _ in range(count)]


def mixture(k=None, **options):
    return lambda d: nn.MixtureOfExperts(4, dense_experts(d), k, dtype=d, **options)


def generated(dtype):
    network = nn.Dense(2, 12, activation=gg.tanh, dtype=dtype)
    weight = nn.Hypernetwork(network, 2, (3, 4), dtype=dtype)
    return nn.Dense(3, 4, dtype=dtype).replace("weight", weight)


def autoencoder(dtype):
    encoder = nn.Dense(4, 2, activation=gg.tanh, dtype=dtype)
    decoder = nn.Dense(2, 4, dtype=dtype)
    decoder.replace("weight", nn.Tied(encoder, transpose=True))
    return nn.Sequential(encoder, decoder)


def toeplitz(dtype):
    weight = nn.TiedComponents([[1, 2, 3], [0, 1, 2]], dtype=dtype)
    return nn.Dense(2, 3, False, dtype=dtype).replace("weight", weight)


def circulant(dtype):
    weight = nn.Circulant(4, dtype=dtype)
    return nn.Dense(4, 4, False, dtype=dtype).replace("weight", weight)


def symmetric(skew):
    return lambda d: nn.Dense(3, 3, False, dtype=d).transform(
        "weight", nn.Symmetric(skew)
    )


INDEX = np.array([2, 0, 1, -1])
LOGITS = np.array([[0.3, -1.0, 2.0, 0.1], [1.0, 0.2, -0.4, 0.9], [-2.0, 0.5, 0.4, 3.0]])
EXTREME_LOGITS = [[np.array([[1e4, 1e4, -1e4, 0], [-3e38, 3e38, 1e30, -1.0]])]]

CASES = [
    Case(
        name="bilinear",
        dtypes=EVERY,
        function=gg.bilinear,
        inputs=[normal(2, 3), normal(2, 4), normal(5, 3, 4), normal(5)],
        reference=bilinear,
        extremes=[
            [
                np.array([[1e4, -1e4]]),
                np.array([[1e4, 2e4, 1e-30]]),
                np.array([[[1.0, 1e10, 1e-8], [2.0, 0.0, -1e30]]]),
                np.array([1e30]),
            ],
            [
                np.array([[1e15, 1e15]]),
                np.array([[1e15, 0.0, 0.0]]),
                np.array([[[1.0, 0.0, 0.0], [1e6, 0.0, 0.0]]]),
                np.array([-1.0]),
            ],
        ],
    ),
    Case(
        name="quadratic_form",
        dtypes=EVERY,
        function=gg.quadratic_form,
        inputs=[normal(2, 3), normal(3, 3)],
        reference=lambda x, a: np.array([r @ a @ r for r in x]),
        extremes=[
            [np.array([[1e4, -1e4], [1e18, 1.0]]), np.array([[2.0, 1.0], [1.0, 2.0]])],
            [np.array([[1e-20, 1e-10]]), np.array([[1e30, 0.0], [0.0, 1e30]])],
        ],
    ),
    Case(
        name="quadratic_form, a matrix for each vector",
        function=gg.quadratic_form,
        inputs=[normal(2, 3), normal(2, 3, 3)],
        reference=lambda x, a: np.array([r @ m @ r for r, m in zip(x, a, strict=True)]),
        extremes="as above",
    ),
    Case(
        name="Bilinear",
        layer=lambda d: nn.Bilinear(3, 4, 2, dtype=d),
        inputs=[normal(2, 3), normal(2, 4)],
        reference=bilinear,
        scales=SQUARED,
    ),
    Case(
        name="Quadratic",
        layer=lambda d: nn.Quadratic(3, 2, dtype=d),
        inputs=[normal(2, 3)],
        reference=lambda x, w, b: bilinear(x, x, w, b),
        scales=SQUARED,
    ),
    Case(
        name="hard_switch",
        dtypes=EVERY,
        function=gg.hard_switch,
        inputs=[INDEX, normal(4, 2), normal(4, 2), normal(4, 2)],
        reference=lambda index, *x: np.stack(x)[index, np.arange(4)],
        extremes=[
            [
                INDEX,
                np.array([[1e38, np.inf], [1e4, -1e4], [0, 1], [np.nan, 2]]),
                np.array([[1e38, -1e38], [np.inf, -1e4], [-0.0, np.inf], [1, 2]]),
                np.array([[1e-30, 1e4], [np.nan, -1e4], [0, 1], [3e38, 2]]),
            ]
        ],
    ),
    Case(
        name="hard_switch, by scores",
        function=lambda *x: gg.hard_switch(gg.stop_gradient(x[0]), *x[1:]),
        inputs=[normal(3, 2), normal(3), normal(3)],
        reference=lambda s, x, y: np.where(s[:, 0] >= s[:, 1], x, y),
        extremes=[
            [np.array([[1e4, 2e4], [3e38, -3e38]]), np.ones(2), np.array([1e30, 2.0])]
        ],
    ),
    Case(
        name="soft_switch",
        dtypes=EVERY,
        function=gg.soft_switch,
        inputs=[normal(2, 3), *(normal(2, 2) for _ in range(3))],
        reference=lambda s, *x: np.einsum("bi,ibd->bd", softmax(s), np.stack(x)),
        extremes=[
            [np.array([1e4, -1e4]), np.array([1.0, 1e4]), np.array([2.0, -1e30])],
            [np.array([3e38, 3e38]), np.array([1.0, 1e4]), np.array([2.0, -1e30])],
        ],
    ),
    Case(
        name="top_k_gates",
        dtypes=EVERY,
        function=lambda x: gg.top_k_gates(x, 2),
        inputs=[LOGITS],
        reference=lambda x: gates(x, 2),
        extremes=EXTREME_LOGITS,
    ),
    Case(
        name="top_k_gates, not renormalised",
        function=lambda x: gg.top_k_gates(x, 1, axis=0, renormalize=False),
        inputs=[LOGITS.T],
        reference=lambda x: gates(x.T, 1, False).T,
        extremes=EXTREME_LOGITS,
    ),
    Case(
        name="load_balancing_loss",
        dtypes=EVERY,
        function=gg.load_balancing_loss,
        inputs=[LOGITS],
        reference=balance,
        extremes=EXTREME_LOGITS,
    ),
    Case(
        name="load_balancing_loss, two choices",
        function=lambda x: gg.load_balancing_loss(x, 2),
        inputs=[LOGITS],
        reference=lambda x: balance(x, 2),
        extremes=EXTREME_LOGITS,
    ),
    Case(
        name="importance_loss",
        dtypes=EVERY,
        function=gg.importance_loss,
        inputs=[np.abs(LOGITS)],
        reference=importance,
        extremes=[
            [np.array([[1e4, 2e4, 1e4], [3.0, 1e4, 0.0]])],
            [np.array([[1e30, 2e30, 1e30]])],
            [np.array([[1e-30, 2e-30, 4e-30]])],
        ],
    ),
    Case(
        name="MixtureOfExperts",
        layer=mixture(),
        inputs=[normal(3, 4)],
        reference=experts,
    ),
    Case(
        name="MixtureOfExperts, two of three",
        dtypes=EVERY,
        layer=mixture(2),
        inputs=[normal(2, 3, 4)],
        reference=lambda *x: experts(*x, k=2),
    ),
    Case(
        name="MixtureOfExperts, one of three",
        layer=mixture(1),
        inputs=[normal(5, 4)],
        reference=lambda *x: experts(*x, k=1, renormalize=False),
    ),
    Case(
        name="MixtureOfExperts, dispatched",
        dtypes=EVERY,
        layer=mixture(2, capacity_factor=1.5),
        inputs=[normal(2, 3, 4)],
        reference=lambda *x: experts(*x, k=2),
    ),
    Case(
        name="MixtureOfExperts, noisy",
        layer=mixture(2, noisy=True),
        training=True,
        inputs=[normal(3, 4)],
        extremes="each dtype draws noise of its own",
    ),
    Case(
        name="Hypernetwork",
        layer=generated,
        inputs=[normal(2, 3)],
        reference=lambda x, w, b, code, bias: (
            x @ np.tanh(code @ w + b).reshape(3, 4) + bias
        ),
    ),
    Case(
        name="Tied",
        layer=autoencoder,
        inputs=[normal(3, 4)],
        reference=lambda x, w, b, c: np.tanh(x @ w + b) @ w.T + c,
    ),
    Case(
        name="TiedComponents",
        layer=toeplitz,
        inputs=[normal(2, 2)],
        reference=lambda x, u: x @ np.array([u[1:4], u[0:3]]),
    ),
    Case(
        name="Circulant",
        layer=circulant,
        inputs=[normal(2, 4)],
        reference=lambda x, c: np.fft.ifft(np.fft.fft(x) * np.fft.fft(c)).real,
    ),
    Case(
        name="Symmetric",
        layer=symmetric(False),
        inputs=[normal(2, 3)],
        reference=lambda x, u: x @ (np.triu(u) + np.triu(u, 1).T),
    ),
    Case(
        name="Symmetric, skew",
        layer=symmetric(True),
        inputs=[normal(2, 3)],
        reference=lambda x, u: x @ (np.triu(u, 1) - np.triu(u, 1).T),
    ),
]
