"""Attention: as functions and as layers."""

import numpy as np
from case import Case

import graphgpu as gg
from graphgpu import nn

RNG = np.random.default_rng(31)

EVERY = ("float64", "float32", "float16", "bfloat16")


def normal(*shape):
    return RNG.standard_normal(shape)


def softmax(x):
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


MASK = np.array(
    [
        [True, True, False, True],
        [False, False, False, False],
        [False, True, False, False],
    ]
)
ADDED = np.where(MASK, np.round(normal(3, 4), 3), -np.inf)


def masked(x, mask):
    """Return the softmax of what a mask lets take part, row by row."""
    x, mask = np.broadcast_arrays(x, mask)
    result = np.zeros(x.shape)
    for place in np.ndindex(x.shape[:-1]):
        row = mask[place]
        if row.any():
            result[(*place, row)] = softmax(x[(*place, row)])
    return result


def attended(q, k, v, scores=softmax, scale=None):
    scale = 1 / np.sqrt(q.shape[-1]) if scale is None else scale
    return scores(scale * np.einsum("...le,...se->...ls", q, k)) @ v


def causal(scores):
    return masked(scores, np.tri(*scores.shape[-2:], dtype=bool))


def added(scores):
    return masked(scores + np.where(MASK, ADDED, 0), MASK)


def multi_head(x, wq, bq, wk, bk, wv, bv, wo, bo, heads=2):
    """Return self-attention head by head."""
    return cross_attention(x, x, x, wq, bq, wk, bk, wv, bv, wo, bo, heads=heads)


def cross_attention(q, k, v, wq, bq, wk, bk, wv, bv, wo, bo, heads=2):
    parts = zip(
        np.split(q @ wq + bq, heads, -1),
        np.split(k @ wk + bk, heads, -1),
        np.split(v @ wv + bv, heads, -1),
        strict=True,
    )
    return np.concatenate([attended(*p) for p in parts], -1) @ wo + bo


SQUARED = (1e4, 1e15)
"""Factors on inputs that are multiplied with each other; beyond, scores overflow."""
PADDING = np.array([[False, False, False], [False, True, False], [True] * 3])


class Masked(nn.Layer):
    """Causal self-attention over samples that end early; one of them is empty."""

    def __init__(self, dtype):
        super().__init__()
        self.inner = nn.MultiHeadAttention(4, 2, dtype=dtype)

    def forward(self, x, *, training):
        options = {"key_padding_mask": PADDING, "is_causal": True}
        return self.inner(x, training=training, **options)


def masked_multi_head(x, wq, bq, wk, bk, wv, bv, wo, bo):
    """Return causal self-attention without the padded keys, head by head."""
    allowed = np.tri(3, dtype=bool) & ~PADDING[:, None, :]
    parts = (np.split(x @ w + b, 2, -1) for w, b in ((wq, bq), (wk, bk), (wv, bv)))
    heads = [
        attended(*p, lambda s: masked(s, allowed)) for p in zip(*parts, strict=True)
    ]
    return np.concatenate(heads, -1) @ wo + bo


def norm(x, weight, bias):
    centred = x - x.mean(-1, keepdims=True)
    return (
        centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * weight + bias
    )


def encoder(x, *parameters):
    (w1, b1, w2, b2, g1, c1, g2, c2) = parameters[8:]
    h = norm(x + multi_head(x, *parameters[:8]), g1, c1)
    return norm(h + np.tanh(h @ w1 + b1) @ w2 + b2, g2, c2)


def encoder_norm_first(x, *parameters):
    (w1, b1, w2, b2, g1, c1, g2, c2) = parameters[8:]
    h = x + multi_head(norm(x, g1, c1), *parameters[:8])
    return h + np.tanh(norm(h, g2, c2) @ w1 + b1) @ w2 + b2


def operands(queries=3, keys=4):
    return [normal(2, queries, 4), normal(2, keys, 4), normal(2, keys, 5)]


# Scores of ±1e4 and far beyond; two keys of equal scores share.
LARGE = [
    [
        np.array([[1e2, -1e2, 1e2, 0], [1e4, 1e4, 0, 1e4], [0, 0, 0, 0]]),
        np.array([[1e2, -1e2, 0, 0], [-1e4, 0, 0, 0], [1e2, -1e2, 0, 0], [0, 1, 2, 3]]),
        np.array([[1.0, 1e30], [2.0, 0.0], [3.0, 1e30], [4.0, -5.0]]),
    ],
    [
        np.full((3, 4), 1e15),
        np.array([[1e15] * 4, [-1e15] * 4, [0] * 4, [1.0] * 4]),
        np.array([[1.0, 2.0], [2.0, 1e-30], [3.0, 0.0], [4.0, 1e4]]),
    ],
]
ROWS = np.array(
    [[1e4, 1e4, -1e4, 0], [-1e4, 3e38, -3e38, 1e30], [-3e38, -3.4e38, 1e4, 88.0]]
)

CASES = [
    Case(
        name="soft_attention",
        dtypes=EVERY,
        function=gg.soft_attention,
        inputs=[normal(2, 3), normal(2, 3, 4)],
        reference=lambda w, v: np.einsum("bi,bid->bd", w, v),
        extremes=[
            [np.array([1e-30, 0.0, 1.0]), np.array([1e30, 1e38, -1e-30])],
            [np.array([1e4, -1e4, 2e4]), np.array([1e4, 1e4, 3e4])],
        ],
    ),
    Case(
        name="soft_attention, one dictionary for all",
        function=gg.soft_attention,
        inputs=[normal(2, 3), normal(1, 3, 2, 2)],
        reference=lambda w, v: np.einsum("bi,icd->bcd", w, v[0]),
        extremes="as above",
    ),
    Case(
        name="masked_softmax",
        dtypes=EVERY,
        function=lambda x: gg.masked_softmax(x, MASK),
        inputs=[normal(3, 4)],
        reference=lambda x: masked(x, MASK),
        extremes=[[ROWS]],
    ),
    Case(
        name="masked_softmax, axis",
        function=lambda x, mask: gg.masked_softmax(x, mask, axis=0),
        inputs=[normal(4, 3), MASK.T[:, :1]],
        reference=lambda x, mask: masked(x.T, mask.T).T,
        extremes=[[ROWS.T, MASK.T[:, :1]]],
    ),
    Case(
        name="scaled_dot_product_attention",
        dtypes=EVERY,
        function=gg.scaled_dot_product_attention,
        inputs=operands(),
        reference=attended,
        extremes=LARGE,
    ),
    Case(
        name="scaled_dot_product_attention, bool mask",
        dtypes=EVERY,
        function=lambda *x: gg.scaled_dot_product_attention(*x, MASK),
        inputs=operands(),
        reference=lambda *x: attended(*x, lambda s: masked(s, MASK)),
        extremes=LARGE,
    ),
    Case(
        name="scaled_dot_product_attention, numbers added",
        dtypes=EVERY,
        function=lambda *x: gg.scaled_dot_product_attention(*x, ADDED),
        inputs=operands(),
        reference=lambda *x: attended(*x, added),
        extremes=LARGE[1:],
    ),
    Case(
        name="scaled_dot_product_attention, causal and a scale",
        function=lambda *x: gg.scaled_dot_product_attention(
            *x, is_causal=True, scale=0.25
        ),
        inputs=operands(4, 3),
        reference=lambda *x: attended(*x, causal, 0.25),
        extremes=LARGE,
    ),
    Case(
        name="attention_weights",
        dtypes=EVERY,
        function=gg.attention_weights,
        inputs=operands()[:2],
        reference=lambda q, k: attended(q, k, np.eye(k.shape[-2])),
        extremes=[inputs[:2] for inputs in LARGE],
    ),
    Case(
        name="MultiHeadAttention",
        dtypes=EVERY,
        layer=lambda d: nn.MultiHeadAttention(4, 2, dtype=d),
        inputs=[normal(2, 3, 4)],
        reference=multi_head,
        scales=SQUARED,
    ),
    Case(
        name="MultiHeadAttention, other sizes of key and value",
        layer=lambda d: nn.MultiHeadAttention(4, 2, kdim=3, vdim=2, dtype=d),
        inputs=[normal(2, 3, 4), normal(2, 5, 3), normal(2, 5, 2)],
        reference=cross_attention,
        scales=SQUARED,
    ),
    Case(
        name="MultiHeadAttention, masks",
        layer=Masked,
        inputs=[normal(3, 3, 4)],
        reference=masked_multi_head,
        scales=(3e4, 1e15),
    ),
    Case(
        name="MultiHeadAttention, dropout",
        layer=lambda d: nn.MultiHeadAttention(4, 2, 0.3, dtype=d),
        training=True,
        inputs=[normal(2, 3, 4)],
        scales=SQUARED,
    ),
    Case(
        name="TransformerEncoderLayer",
        layer=lambda d: nn.TransformerEncoderLayer(4, 2, 5, 0.0, gg.tanh, dtype=d),
        inputs=[normal(2, 3, 4)],
        reference=encoder,
        scales=SQUARED,
        tolerance=10,
    ),
    Case(
        name="TransformerEncoderLayer, norm first",
        layer=lambda d: nn.TransformerEncoderLayer(
            4, 2, 5, 0.0, gg.tanh, norm_first=True, dtype=d
        ),
        inputs=[normal(2, 3, 4)],
        reference=encoder_norm_first,
        tolerance=10,
    ),
]
