"""Activations: what they refuse, and in what words; dtypes, sizes 0 and 1, layers."""

import re

import numpy as np
import pytest

import graphgpu as gg
from graphgpu import nn
from graphgpu.testing import check_operation

X = np.array([[0.3, -1.7, 2.6, -0.02], [1.1, -0.4, 0.9, 7.3]])
SCALAR = (
    "abs celu clipped_linear elu gelu hardshrink hardsigmoid hardswish hardtanh "
    "identity leaky_relu logsigmoid mish relu relu6 rrelu selu sigmoid silu softplus "
    "softshrink softsign tanh tanhshrink threshold"
).split()
REFUSED = {
    "celu": (
        lambda x: gg.celu(x, 0),
        "celu(alpha=0): expected alpha > 0",
    ),
    "elu": (
        lambda x: gg.elu(x, float("inf")),
        "elu(alpha=inf): expected a finite number; got inf",
    ),
    "leaky_relu": (
        lambda x: gg.leaky_relu(x, "0.1"),
        "leaky_relu(negative_slope='0.1'): expected a number; got '0.1'",
    ),
    "softplus": (
        lambda x: gg.softplus(x, -1.0),
        "softplus(beta=-1.0): expected beta > 0",
    ),
    "softplus, threshold": (
        lambda x: gg.softplus(x, threshold=float("nan")),
        "softplus(threshold=nan): expected a finite number; got nan",
    ),
    "silu": (
        lambda x: gg.swish(x, 0.0),
        "silu(beta=0.0): expected beta > 0",
    ),
    "gelu": (
        lambda x: gg.gelu(x, "erf"),
        "gelu(approximate='erf'): expected approximate to be 'none' or 'tanh'",
    ),
    "hardtanh": (
        lambda x: gg.hardtanh(x, 1, 1),
        "hardtanh(min_val=1, max_val=1): expected min_val < max_val",
    ),
    "hardshrink": (
        lambda x: gg.hardshrink(x, -0.5),
        "hardshrink(lambd=-0.5): expected lambd >= 0",
    ),
    "softshrink": (
        lambda x: gg.softshrink(x, -0.5),
        "softshrink(lambd=-0.5): expected lambd >= 0",
    ),
    "threshold": (
        lambda x: gg.threshold(x, 0.1, None),
        "threshold(threshold=0.1, value=None): expected a number; got None",
    ),
    "rrelu": (
        lambda x: gg.rrelu(x, 0.5, 0.25),
        "rrelu(lower=0.5, upper=0.25): expected lower <= upper",
    ),
    "maxout, k": (
        lambda x: gg.maxout(x, 0),
        "maxout(k=0, axis=1): expected k to be an int > 0; got float32[batch,5]",
    ),
    "maxout": (
        lambda x: gg.maxout(x, 2),
        "maxout(k=2, axis=1): axis 1 of size 5 has no groups of 2; "
        "got float32[batch,5]",
    ),
    "glu": (
        gg.glu,
        "glu: expected an axis of even size; axis 1 has 5; got float32[batch,5]",
    ),
    "softmin": (
        lambda x: gg.softmin(x, 2),
        "softmin(axis=2): axis 2 is out of range for an array of 2 axes",
    ),
    "prelu": (
        lambda x: gg.prelu(x, np.ones(3, "f")),
        "prelu: expected one slope or 5, one for each channel; got "
        "float32[batch,5] and float32[3]",
    ),
    "prelu, matrix": (
        lambda x: gg.prelu(x, np.ones((1, 5), "f")),
        "prelu: expected one slope, or a vector of one for each channel; got "
        "float32[batch,5] and float32[1,5]",
    ),
    "prelu, vector": (
        lambda x: gg.prelu(x[0], np.ones(5, "f")),
        "prelu: expected one slope for an input without channels, axis 1; got "
        "float32[5] and float32[5]",
    ),
    "prelu, integers": (
        lambda x: gg.prelu(gg.cast(x, "int32"), 0.25),
        "prelu: expected a floating-point dtype; got int32[batch,5]",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_in_these_words(name):
    build, message = REFUSED[name]
    x = gg.placeholder("x", ("batch", 5))
    with pytest.raises(gg.GraphGPUError, match="^" + re.escape(message)):
        build(x)


@pytest.mark.parametrize("name", SCALAR)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0), (1, 1)])
def test_shapes_of_no_and_of_one_element(name, shape):
    function = getattr(gg, name)
    check_operation(function, [np.full(shape, 0.7)], order=2)


@pytest.mark.parametrize("name", ["softmin", "glu", "maxout"])
def test_vectors_of_no_and_of_one_unit(name):
    function = getattr(gg, name)
    for shape in ((0, 2), (3, 0)):
        check_operation(function, [np.full(shape, 0.7)], order=1)
    assert gg.evaluate(gg.softmin(gg.constant([3.0]))).tolist() == [1]


@pytest.mark.parametrize("name", SCALAR)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_are_computed_in_float32_and_rounded_once(name, dtype):
    function = getattr(gg, name)
    half = gg.dtypes.dtype(dtype)
    x = np.linspace(-9, 9, 301).astype(half)
    found = gg.evaluate(function(gg.constant(x)))
    wide = gg.evaluate(function(gg.constant(x.astype("float32"))))
    assert found.dtype == half
    steps = found.view("int16").astype(int) - wide.astype(half).view("int16")
    assert np.abs(steps).max() <= (1 if name in ("logsigmoid",) else 0)


@pytest.mark.parametrize("name", SCALAR)
def test_integers_become_float32_unless_the_result_is_whole(name):
    y = getattr(gg, name)(gg.constant([-2, 3]))
    whole = name in ("abs", "identity", "relu")
    assert y.dtype == ("int64" if whole else "float32")


def test_aliases_are_the_same_functions():
    assert gg.swish is gg.silu
    assert gg.hard_sigmoid is gg.hardsigmoid
    assert gg.hard_swish is gg.hardswish
    assert gg.log_sigmoid is gg.logsigmoid


LAYERS = [
    (nn.ReLU(), "ReLU()", "relu"),
    (nn.ReLU6(), "ReLU6()", "relu6"),
    (nn.LeakyReLU(0.2), "LeakyReLU(negative_slope=0.2)", "leaky_relu"),
    (nn.RReLU(), f"RReLU(lower=0.125, upper={1 / 3})", "rrelu"),
    (nn.PReLU(3), "PReLU(num_parameters=3)", "prelu"),
    (nn.GELU("tanh"), "GELU(approximate='tanh')", "gelu"),
    (nn.Softplus(2.0), "Softplus(beta=2.0, threshold=None)", "softplus"),
    (nn.SiLU(), "SiLU(beta=1.0)", "silu"),
    (nn.LogSigmoid(), "LogSigmoid()", "logsigmoid"),
    (nn.Maxout(4), "Maxout(k=4, axis=1)", "maxout"),
    (nn.LogSoftmax(0), "LogSoftmax(axis=0)", "log_softmax"),
    (nn.GLU(), "GLU(axis=-1)", "glu"),
]


@pytest.mark.parametrize(("layer", "printed", "name"), LAYERS, ids=str)
def test_layers_print_their_settings_and_are_named_after_the_function(
    layer, printed, name
):
    assert repr(layer) == printed
    assert layer.path == name
    y = layer(gg.placeholder("x", ("batch", 12 if name != "prelu" else 3)))
    assert y.path.startswith(f"{name}/")


def test_a_layer_with_a_wrong_setting_says_which_it_is():
    layer = nn.Hardshrink(-1)
    with pytest.raises(gg.GraphError, match="lambd >= 0") as caught:
        layer(gg.placeholder("x", (3,)))
    assert any("Hardshrink(lambd=-1)" in note for note in caught.value.__notes__)


def test_prelu_layers_learn_one_slope_or_one_a_channel():
    assert nn.PReLU().weight.value.tolist() == [0.25]
    layer = nn.PReLU(3, 0.5, dtype="float64")
    assert layer.weight.value.tolist() == [0.5] * 3
    with pytest.raises(gg.ShapeError, match=r"expected 3 channels along axis 1, got 4"):
        layer(gg.placeholder("x", ("batch", 4), "float64"))
    with pytest.raises(gg.GraphError, match="expected num_parameters to be an int > 0"):
        nn.PReLU(0)


def test_rrelu_layers_are_random_in_training_alone():
    layer = nn.RReLU(0.1, 0.5)
    x = gg.placeholder("x", (1000,))
    ones = -np.ones(1000, "f")
    train = gg.compile([x], layer(x, training=True), device="cpu")
    assert len(set(train(ones).tolist())) > 900
    infer = gg.compile([x], layer(x), device="cpu")
    assert set(infer(ones).tolist()) == {float(np.float32(-0.3))}
