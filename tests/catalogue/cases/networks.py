"""Dense layers, tables, and layers made of layers."""

import numpy as np
from case import Case

import graphgpu as gg
from graphgpu import nn

RNG = np.random.default_rng(23)
X = RNG.standard_normal((5, 4))
IMAGE = RNG.standard_normal((2, 1, 4, 4))
TOKENS = np.array([[0, 4, 2], [2, 2, 1]])
BATCH = "normalised by a batch, so that a channel of equal entries has no one slope"


def images_of(x):
    """Return 3 x 3 windows with zeros around, stride 1: (N, C, 3, 3, H, W)."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    h, w = x.shape[2:]
    rows = [[padded[:, :, i : i + h, j : j + w] for j in range(3)] for i in range(3)]
    return np.array(rows).transpose(2, 3, 0, 1, 4, 5)


def conv(x, weight, stride):
    if weight.shape[2] == 1:
        return np.einsum("nchw,oc->nohw", x[..., ::stride, ::stride], weight[..., 0, 0])
    full = np.einsum("ncijhw,ocij->nohw", images_of(x), weight)
    return full[..., ::stride, ::stride]


def norm(x, weight, bias):
    """Return batch normalisation by the running statistics that there are first."""
    scale = weight / np.sqrt(1 + 1e-5)
    return x * scale[:, None, None] + bias[:, None, None]


def relu(x):
    return np.maximum(x, 0)


def basic_block(x, w1, g1, b1, w2, g2, b2, *shortcut):
    y = relu(norm(conv(x, w1, 2), g1, b1))
    y = norm(conv(y, w2, 1), g2, b2)
    if shortcut:
        weight, g, b = shortcut
        skip = norm(conv(x, weight, 2), g, b)
    else:
        skip = np.zeros_like(y)
        skip[:, : x.shape[1]] = x[..., ::2, ::2]
    return relu(skip + y)


def bottleneck(x, w1, g1, b1, w2, g2, b2, w3, g3, b3, weight, g, b):
    y = relu(norm(conv(x, w1, 2), g1, b1))
    y = relu(norm(conv(y, w2, 1), g2, b2))
    y = norm(conv(y, w3, 1), g3, b3)
    return relu(norm(conv(x, weight, 2), g, b) + y)


LARGE = [[1e4 * X], [1e30 * X]]

CASES = [
    Case(
        name="Dense",
        layer=lambda d: nn.Dense(4, 3, dtype=d),
        inputs=[X],
        reference=lambda x, w, b: x @ w + b,
        extremes=LARGE,
    ),
    Case(
        name="Dense, tanh",
        layer=lambda d: nn.Dense(4, 3, activation=gg.tanh, dtype=d),
        inputs=[X],
        reference=lambda x, w, b: np.tanh(x @ w + b),
        extremes=[[1e30 * X]],
    ),
    Case(
        name="Embedding",
        layer=lambda d: Looked(nn.Embedding(5, 3, dtype=d)),
        inputs=[np.ones(())],
        reference=lambda s, table: s * table[TOKENS],
        extremes=[[np.array(1e4)]],
    ),
    Case(
        name="Embedding, padding",
        layer=lambda d: Looked(nn.Embedding(5, 3, padding_idx=2, dtype=d)),
        inputs=[np.ones(())],
        reference=lambda s, table: s * table[TOKENS],
        order=0,  # by what stands for padding there is a derivative, and 0 is taken
        extremes="a table has no extremes",
    ),
    Case(
        name="Sequential",
        layer=lambda d: nn.Sequential(
            nn.Dense(4, 3, dtype=d), gg.tanh, nn.Dense(3, 2, dtype=d)
        ),
        inputs=[X],
        reference=lambda x, w, b, v, c: np.tanh(x @ w + b) @ v + c,
        extremes=[[1e30 * X]],
    ),
    Case(
        name="Residual",
        layer=lambda d: nn.Residual(
            nn.Dense(4, 2, dtype=d), nn.Dense(4, 2, False, dtype=d)
        ),
        inputs=[X],
        reference=lambda x, w, b, v: x @ w + b + x @ v,
        extremes=LARGE,
    ),
    Case(
        name="ZeroPadded",
        layer=lambda d: nn.ZeroPadded(1, 3, 2),
        inputs=[IMAGE],
        reference=lambda x: np.pad(x[..., ::2, ::2], ((0, 0), (0, 2), (0, 0), (0, 0))),
        extremes=[[1e30 * IMAGE]],
    ),
    Case(
        name="BasicBlock",
        layer=lambda d: nn.BasicBlock(1, 2, 2, "B", dtype=d),
        inputs=[IMAGE],
        reference=basic_block,
        extremes=[[1e4 * IMAGE], [1e15 * IMAGE]],
    ),
    Case(
        name="BasicBlock, A",
        layer=lambda d: nn.BasicBlock(1, 2, 2, "A", dtype=d),
        inputs=[IMAGE],
        reference=basic_block,
        extremes=[[1e4 * IMAGE], [1e15 * IMAGE]],
    ),
    Case(
        name="BasicBlock, training",
        layer=lambda d: nn.BasicBlock(1, 2, 2, "B", dtype=d),
        training=True,
        inputs=[IMAGE],
        extremes=BATCH,
    ),
    Case(
        name="Bottleneck",
        layer=lambda d: nn.Bottleneck(1, 1, 2, dtype=d),
        inputs=[IMAGE],
        reference=bottleneck,
        extremes=[[1e4 * IMAGE], [1e15 * IMAGE]],
    ),
]


class Looked(nn.Layer):
    """A table whose rows are looked up at fixed places, times the input."""

    def __init__(self, table):
        super().__init__()
        self.table = table

    def forward(self, x, *, training):
        return x * self.table(gg.constant(TOKENS))
