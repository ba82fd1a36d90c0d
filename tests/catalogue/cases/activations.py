"""Cases of the activation functions and of their layers."""

import math

import numpy as np
from case import Case

import graphgpu as gg
from graphgpu import nn

X = np.array([[0.3, -1.7, 2.6, -0.02], [1.1, -0.4, 0.9, 7.3]])
CHANNELS = np.array([[[0.3, -1.7], [2.6, -0.02]], [[1.1, -0.4], [-0.9, 7.3]]])
"""Two samples of two channels of two numbers each."""
FAR = np.array([[1e4, -1e4, 3.0, 0.5], [3.4e38, -3.4e38, 1e30, -1e30]])
PLAIN = ("float64", "float32", "float16", "bfloat16")


def scalar(formula):
    """Return a function of arrays from one of Python's floats."""
    return np.vectorize(formula, otypes=[float])


def sigmoid(x):
    power = math.exp(-abs(x))
    return 1 / (1 + power) if x >= 0 else power / (1 + power)


def softplus(x):
    return x + math.log1p(math.exp(-x)) if x > 0 else math.log1p(math.exp(x))


def normcdf(x):
    return math.erfc(-x / math.sqrt(2)) / 2


def gelu_tanh(x):
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    return x / 2 * (1 + math.tanh(inner))


def selu(x):
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    return scale * x if x > 0 else scale * alpha * math.expm1(x)


def between(low, high):
    return lambda x: min(max(x, low), high)


def leaky(slope):
    return lambda x: x if x > 0 else slope * x


def softshrink(x, lambd):
    return math.copysign(max(abs(x) - lambd, 0), x)


SCALAR = {
    "identity": (gg.identity, lambda x: x),
    "clipped_linear": (gg.clipped_linear, between(0, 1)),
    "relu": (gg.relu, lambda x: x if x > 0 else 0),
    "leaky_relu": (gg.leaky_relu, leaky(0.01)),
    "leaky_relu, slope": (lambda x: gg.leaky_relu(x, 0.3), leaky(0.3)),
    "rrelu": (gg.rrelu, leaky(11 / 48)),
    "rrelu, bounds": (lambda x: gg.rrelu(x, 0.1, 0.3), leaky(0.2)),
    "relu6": (gg.relu6, between(0, 6)),
    "threshold": (gg.threshold, lambda x: x if x > 0 else 0),
    "threshold, value": (
        lambda x: gg.threshold(x, 0.5, -3.0),
        lambda x: x if x > 0.5 else -3,
    ),
    "elu": (gg.elu, lambda x: x if x > 0 else math.expm1(x)),
    "elu, alpha": (
        lambda x: gg.elu(x, 0.7),
        lambda x: x if x > 0 else 0.7 * math.expm1(x),
    ),
    "celu": (gg.celu, lambda x: x if x > 0 else math.expm1(x)),
    "celu, alpha": (
        lambda x: gg.celu(x, 0.7),
        lambda x: x if x > 0 else 0.7 * math.expm1(x / 0.7),
    ),
    "selu": (gg.selu, selu),
    "gelu": (gg.gelu, lambda x: x * normcdf(x)),
    "gelu, tanh": (lambda x: gg.gelu(x, "tanh"), gelu_tanh),
    "silu": (gg.silu, lambda x: x * sigmoid(x)),
    "swish": (gg.swish, lambda x: x * sigmoid(x)),
    "silu, beta": (lambda x: gg.silu(x, 2.5), lambda x: x * sigmoid(2.5 * x)),
    "mish": (gg.mish, lambda x: x * math.tanh(softplus(x))),
    "hardswish": (gg.hardswish, lambda x: x * between(0, 6)(x + 3) / 6),
    "hard_swish": (gg.hard_swish, lambda x: x * between(0, 6)(x + 3) / 6),
    "softplus": (gg.softplus, softplus),
    "softplus, beta": (
        lambda x: gg.softplus(x, 2.5),
        lambda x: softplus(2.5 * x) / 2.5,
    ),
    "softplus, threshold": (
        lambda x: gg.softplus(x, 2.0, 4.0),
        lambda x: x if x > 2 else softplus(2 * x) / 2,
    ),
    "abs": (gg.abs, abs),
    "tanh": (gg.tanh, math.tanh),
    "sigmoid": (gg.sigmoid, sigmoid),
    "logsigmoid": (gg.logsigmoid, lambda x: -softplus(-x)),
    "log_sigmoid": (gg.log_sigmoid, lambda x: -softplus(-x)),
    "hardsigmoid": (gg.hardsigmoid, lambda x: between(0, 1)(x / 6 + 0.5)),
    "hard_sigmoid": (gg.hard_sigmoid, lambda x: between(0, 1)(x / 6 + 0.5)),
    "hardtanh": (gg.hardtanh, between(-1, 1)),
    "hardtanh, bounds": (lambda x: gg.hardtanh(x, -0.2, 2), between(-0.2, 2)),
    "softsign": (gg.softsign, lambda x: x / (1 + abs(x))),
    "tanhshrink": (gg.tanhshrink, lambda x: x - math.tanh(x)),
    "hardshrink": (gg.hardshrink, lambda x: x if abs(x) > 0.5 else 0),
    "hardshrink, lambd": (
        lambda x: gg.hardshrink(x, 1.0),
        lambda x: x if abs(x) > 1 else 0,
    ),
    "softshrink": (gg.softshrink, lambda x: softshrink(x, 0.5)),
    "softshrink, lambd": (
        lambda x: gg.softshrink(x, 1.0),
        lambda x: softshrink(x, 1),
    ),
}


def plain_softmax(x):
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def plain_maxout(x):
    first, second = x[:, ::2], x[:, 1::2]
    return np.where(first > second, first, second)


def plain_prelu(x, slope):
    return np.maximum(x, 0) + slope * np.minimum(x, 0)


def plain_glu(x):
    half = x.shape[-1] // 2
    return x[..., :half] * scalar(sigmoid)(x[..., half:])


FAR_PAIRS = np.array([[3.0, -2e4, 1e4, -1e4], [1e30, 2.0, -1e30, 1e30]])
VECTOR = [
    Case(
        name="prelu",
        function=gg.prelu,
        inputs=[X, np.array([0.3])],
        reference=plain_prelu,
        extremes=[[FAR, np.array([0.3])]],
    ),
    Case(
        name="prelu, channels",
        function=gg.prelu,
        inputs=[CHANNELS, np.array([0.3, -0.5])],
        reference=lambda x, w: plain_prelu(x, w[:, None]),
        extremes=[[FAR.reshape(2, 2, 2), np.array([0.3, 0.5])]],
    ),
    Case(
        name="maxout",
        function=gg.maxout,
        inputs=[X],
        reference=plain_maxout,
        extremes=[[FAR]],
        dtypes=PLAIN,
    ),
    Case(
        name="glu",
        function=gg.glu,
        inputs=[X],
        reference=plain_glu,
        extremes=[[FAR_PAIRS]],
        dtypes=PLAIN,
    ),
    Case(
        name="softmax",
        function=gg.softmax,
        inputs=[X],
        reference=plain_softmax,
        extremes=[[FAR]],
        dtypes=PLAIN,
    ),
    Case(
        name="softmin",
        function=gg.softmin,
        inputs=[X],
        reference=lambda x: plain_softmax(-x),
        extremes=[[FAR]],
        dtypes=PLAIN,
    ),
    Case(
        name="log_softmax",
        function=gg.log_softmax,
        inputs=[X],
        reference=lambda x: np.log(plain_softmax(x)),
        extremes=[[FAR[:1]]],
        dtypes=PLAIN,
    ),
]
LAYERS = {
    "Identity": (nn.Identity, "identity"),
    "ClippedLinear": (nn.ClippedLinear, "clipped_linear"),
    "ReLU": (nn.ReLU, "relu"),
    "LeakyReLU": (lambda: nn.LeakyReLU(0.3), "leaky_relu, slope"),
    "RReLU": (nn.RReLU, "rrelu"),
    "ReLU6": (nn.ReLU6, "relu6"),
    "Threshold": (lambda: nn.Threshold(0.5, -3.0), "threshold, value"),
    "ELU": (lambda: nn.ELU(0.7), "elu, alpha"),
    "CELU": (lambda: nn.CELU(0.7), "celu, alpha"),
    "SELU": (nn.SELU, "selu"),
    "GELU": (nn.GELU, "gelu"),
    "GELU, tanh": (lambda: nn.GELU("tanh"), "gelu, tanh"),
    "SiLU": (lambda: nn.SiLU(2.5), "silu, beta"),
    "Mish": (nn.Mish, "mish"),
    "Hardswish": (nn.Hardswish, "hardswish"),
    "Softplus": (lambda: nn.Softplus(2.0, 4.0), "softplus, threshold"),
    "Sigmoid": (nn.Sigmoid, "sigmoid"),
    "LogSigmoid": (nn.LogSigmoid, "logsigmoid"),
    "Hardsigmoid": (nn.Hardsigmoid, "hardsigmoid"),
    "Hardtanh": (lambda: nn.Hardtanh(-0.2, 2), "hardtanh, bounds"),
    "Softsign": (nn.Softsign, "softsign"),
    "Tanhshrink": (nn.Tanhshrink, "tanhshrink"),
    "Hardshrink": (lambda: nn.Hardshrink(1.0), "hardshrink, lambd"),
    "Softshrink": (lambda: nn.Softshrink(1.0), "softshrink, lambd"),
}


def scalar_case(name):
    function, formula = SCALAR[name]
    reference = scalar(formula)
    return Case(
        name=name, function=function, inputs=[X], reference=reference, dtypes=PLAIN
    )


def scalar_layer(name):
    make, function = LAYERS[name]
    reference = scalar(SCALAR[function][1])
    return Case(name=name, layer=lambda dtype: make(), inputs=[X], reference=reference)


def vector_layer(name, make, reference, x=X):
    return Case(name=name, layer=make, inputs=[x], reference=reference)


CASES = [
    *map(scalar_case, SCALAR),
    *VECTOR,
    *map(scalar_layer, LAYERS),
    vector_layer("Tanh", lambda dtype: nn.Tanh(), np.tanh),
    vector_layer("PReLU", lambda dtype: nn.PReLU(dtype=dtype), plain_prelu),
    vector_layer(
        "PReLU, channels",
        lambda dtype: nn.PReLU(2, dtype=dtype),
        lambda x, w: plain_prelu(x, w[:, None]),
        CHANNELS,
    ),
    vector_layer("Maxout", lambda dtype: nn.Maxout(2), plain_maxout),
    vector_layer("GLU", lambda dtype: nn.GLU(), plain_glu),
    vector_layer("Softmax", lambda dtype: nn.Softmax(), plain_softmax),
    vector_layer("Softmin", lambda dtype: nn.Softmin(), lambda x: plain_softmax(-x)),
    vector_layer(
        "LogSoftmax", lambda dtype: nn.LogSoftmax(), lambda x: np.log(plain_softmax(x))
    ),
    Case(
        name="RReLU, training",
        layer=lambda dtype: nn.RReLU(),
        training=True,
        inputs=[X],
        extremes="each dtype draws slopes of its own",
    ),
]
