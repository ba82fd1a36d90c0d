"""Recurrent layers and cells, and the reference loops for them."""

import numpy as np
from case import Case

import graphgpu as gg
from graphgpu import nn

RNG = np.random.default_rng(17)
X = RNG.standard_normal((2, 5, 3))
MASK = np.array([[1, 1, 1, 0, 0], [0, 1, 1, 1, 1]], bool)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def rnn_step(x, states, w, u, b):
    return (np.tanh(x @ w + states[0] @ u + b),)


def lstm_step(x, states, w, u, b, pi=0, pf=0, po=0):
    h, c = states
    i, f, g, o = np.split(x @ w + h @ u + b, 4, axis=-1)
    c = sigmoid(f + pf * c) * c + sigmoid(i + pi * c) * np.tanh(g)
    return sigmoid(o + po * c) * np.tanh(c), c


def gru_step(x, states, w, u, b, b_hn):
    (h,) = states
    xr, xz, xn = np.split(x @ w + b, 3, axis=-1)
    hr, hz, hn = np.split(h @ u, 3, axis=-1)
    r, z = sigmoid(xr + hr), sigmoid(xz + hz)
    n = np.tanh(xn + r * (hn + b_hn))
    return ((1 - z) * n + z * h,)


STEPS = {"RNN": (rnn_step, 1, 3), "LSTM": (lstm_step, 2, 3), "GRU": (gru_step, 1, 4)}


def along(step, count, x, weights, mask=None, reverse=False):
    """Return the outputs of one layer in one direction, sample by sample."""
    size = weights[1].shape[0]
    outputs = np.zeros((*x.shape[:2], size))
    for n in range(len(x)):
        states = (np.zeros(size),) * count
        times = range(x.shape[1])
        for t in reversed(times) if reverse else times:
            if mask is None or mask[n, t]:
                states = step(x[n, t], states, *weights)
                outputs[n, t] = states[0]
    return outputs


def layers(kind, depth=1, directions=1, mask=None, parameters=None):
    """Return the reference of a stack: of the input and the parameters in order."""
    step, count, own = STEPS[kind]
    own = parameters or own

    def reference(x, *values):
        values = list(values)
        for _ in range(depth):
            found = []
            for direction in range(directions):
                weights, values = values[:own], values[own:]
                found.append(along(step, count, x, weights, mask, direction == 1))
            x = np.concatenate(found, axis=-1)
        return x

    return reference


def cell(kind):
    step, _, _ = STEPS[kind]

    def reference(x, *rest):
        count = STEPS[kind][1]
        return np.concatenate(
            [s.reshape(-1) for s in step(x, rest[:count], *rest[count:])]
        ).reshape((2, 4) if count == 1 else -1)

    return reference


class Masked(nn.Layer):
    """A recurrent layer with a mask of its own, to be called with one input."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x, *, training):
        return self.layer(x, mask=gg.constant(MASK), training=training)


LARGE = [[20 * X], [1e30 * X]]
H, C = RNG.standard_normal((2, 2, 4))

CASES = [
    Case(
        name=kind,
        layer=lambda d, kind=kind: getattr(nn, kind)(3, 4, dtype=d),
        inputs=[X],
        reference=layers(kind),
        extremes=LARGE,
    )
    for kind in STEPS
]
CASES += [
    Case(
        name=f"{kind}, two layers both ways",
        layer=lambda d, kind=kind: getattr(nn, kind)(
            3, 2, num_layers=2, bidirectional=True, dtype=d
        ),
        inputs=[X],
        reference=layers(kind, 2, 2),
        extremes=LARGE,
    )
    for kind in STEPS
]
CASES += [
    Case(
        name=f"{kind}, masked",
        layer=lambda d, kind=kind: Masked(
            getattr(nn, kind)(3, 4, bidirectional=True, dtype=d)
        ),
        inputs=[X],
        reference=layers(kind, 1, 2, MASK),
        extremes=LARGE,
    )
    for kind in STEPS
]
CASES += [
    Case(
        name="LSTM, peepholes",
        layer=lambda d: nn.LSTM(3, 4, peepholes=True, dtype=d),
        inputs=[X],
        reference=layers("LSTM", parameters=6),
        extremes=LARGE,
    ),
    Case(
        name="RNN, relu",
        layer=lambda d: nn.RNN(3, 4, nonlinearity="relu", bias=False, dtype=d),
        inputs=[X],
        reference=None,
        extremes=[[1e4 * X]],
    ),
    Case(
        name="RNNCell",
        layer=lambda d: nn.RNNCell(3, 4, dtype=d),
        inputs=[X[:, 0], H],
        reference=cell("RNN"),
        extremes=[[1e4 * X[:, 0], H]],
    ),
    Case(
        name="LSTMCell",
        layer=lambda d: nn.LSTMCell(3, 4, dtype=d),
        inputs=[X[:, 0], H, C],
        reference=cell("LSTM"),
        extremes=[[1e4 * X[:, 0], H, C], [X[:, 0], H, 1e30 * C]],
        tolerance=2,  # slopes of 1e29 of either sign are summed
    ),
    Case(
        name="GRUCell",
        layer=lambda d: nn.GRUCell(3, 4, dtype=d),
        inputs=[X[:, 0], H],
        reference=cell("GRU"),
        extremes=[[1e4 * X[:, 0], H]],
    ),
]
