"""Every layer: its value by hand, its derivatives by differences."""

from functools import partial

import numpy as np
import pytest
from layer_checks import check_layer_gradient

import graphgpu as gg
from graphgpu import nn
from graphgpu.testing import check_operation

RNG = np.random.default_rng(11)
F64 = {"dtype": "float64"}


def normal(*shape):
    return RNG.standard_normal(shape)


def evaluate(layer, x, **options):
    variable = gg.placeholder("x", x.shape, x.dtype)
    return gg.compile([variable], layer(variable, **options), device="cpu")(x)


LAYERS = {
    "dense": (lambda d: nn.Dense(4, 3, dtype=d), normal(5, 4)),
    "dense, tanh": (
        lambda d: nn.Dense(4, 3, activation=gg.tanh, dtype=d),
        normal(2, 5, 4),
    ),
    "dense, no bias": (lambda d: nn.Dense(4, 3, bias=False, dtype=d), normal(4)),
    "conv1d": (lambda d: nn.Conv1d(2, 3, 3, stride=2, dtype=d), normal(2, 2, 7)),
    "conv2d": (
        lambda d: nn.Conv2d(2, 4, 3, padding=1, groups=2, dtype=d),
        normal(1, 2, 4, 4),
    ),
    "conv3d": (
        lambda d: nn.Conv3d(1, 2, 2, bias=False, dtype=d),
        normal(1, 1, 3, 3, 3),
    ),
    "conv_transpose1d": (
        lambda d: nn.ConvTranspose1d(2, 1, 3, dtype=d),
        normal(2, 2, 4),
    ),
    "conv_transpose2d": (
        lambda d: nn.ConvTranspose2d(
            2, 2, 3, stride=2, output_padding=1, groups=2, dtype=d
        ),
        normal(1, 2, 2, 3),
    ),
    "conv_transpose3d": (
        lambda d: nn.ConvTranspose3d(1, 1, 2, padding=1, dtype=d),
        normal(1, 1, 3, 3, 2),
    ),
    "max_pool": (lambda d: nn.MaxPool2d(2), normal(2, 2, 4, 4)),
    "avg_pool": (lambda d: nn.AvgPool2d(3, stride=1, padding=1), normal(1, 2, 4, 4)),
    "global_avg_pool": (lambda d: nn.GlobalAvgPool(), normal(2, 3, 2, 2)),
    "flatten": (lambda d: nn.Flatten(), normal(2, 3, 2)),
    "relu": (lambda d: nn.ReLU(), normal(3, 3)),
    "tanh": (lambda d: nn.Tanh(), normal(3, 3)),
    "sigmoid": (lambda d: nn.Sigmoid(), normal(3, 3)),
    "function": (lambda d: nn.Function(lambda x: x * gg.exp(x)), normal(3)),
    "batch_norm": (lambda d: nn.BatchNorm(3, dtype=d), normal(4, 3, 2)),
    "batch_norm, plain": (
        lambda d: nn.BatchNorm(3, affine=False, dtype=d),
        normal(4, 3),
    ),
    "layer_norm": (lambda d: nn.LayerNorm((3, 2), dtype=d), normal(4, 3, 2)),
    "dropout": (lambda d: nn.Dropout(0.4), normal(4, 5)),
    "sequential": (
        lambda d: nn.Sequential(
            nn.Dense(3, 4, dtype=d), gg.tanh, nn.Dense(4, 2, dtype=d)
        ),
        normal(3, 3),
    ),
    "residual": (
        lambda d: nn.Residual(nn.Dense(3, 2, dtype=d), nn.Dense(3, 2, False, dtype=d)),
        normal(3, 3),
    ),
    "basic_block, A": (
        lambda d: nn.BasicBlock(1, 2, 2, "A", dtype=d),
        normal(2, 1, 4, 4),
    ),
    "basic_block, B": (
        lambda d: nn.BasicBlock(1, 2, 2, "B", dtype=d),
        normal(2, 1, 4, 4),
    ),
    "bottleneck": (lambda d: nn.Bottleneck(2, 1, 2, dtype=d), normal(2, 2, 4, 4)),
}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_derivatives_by_input_and_parameters_agree_with_differences(name, training):
    make, x = LAYERS[name]
    with gg.root_scope(4):
        check_layer_gradient(make("float64"), x, training=training)


@pytest.mark.parametrize("name", LAYERS)
def test_named_sizes_and_float32_give_the_same_values(name):
    make, x = LAYERS[name]
    with gg.root_scope(4):
        exact = evaluate(make("float64"), x)
    with gg.root_scope(4):
        layer = make("float32")
    named = ["batch", *x.shape[1:]] if x.ndim > 1 else x.shape
    variable = gg.placeholder("x", named)
    result = gg.compile([variable], layer(variable), device="cpu")(x.astype("float32"))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, exact, rtol=1e-5, atol=1e-5)


def test_dense_is_xw_plus_b():
    layer = nn.Dense(4, 3, activation=gg.relu, bias_init=nn.init.normal(), **F64)
    x = normal(5, 4)
    expected = np.maximum(x @ layer.weight.value + layer.bias.value, 0)
    np.testing.assert_allclose(evaluate(layer, x), expected, rtol=1e-14)
    assert layer.weight.shape == (4, 3)


def test_convolution_layers_are_the_functions_with_their_parameters():
    x = normal(1, 4, 6, 5)
    layer = nn.Conv2d(4, 6, (3, 2), 2, 1, 1, 2, bias_init=nn.init.normal(), **F64)
    assert layer.weight.shape == (6, 2, 3, 2)
    y = gg.conv2d(gg.constant(x), layer.weight, layer.bias, 2, 1, 1, 2)
    np.testing.assert_array_equal(evaluate(layer, x), gg.evaluate(y))
    layer = nn.ConvTranspose2d(4, 6, (3, 2), 2, 1, 1, 2, False, **F64)
    assert layer.weight.shape == (4, 3, 3, 2)
    y = gg.conv_transpose2d(gg.constant(x), layer.weight, None, 2, 1, 1, 2)
    np.testing.assert_array_equal(evaluate(layer, x), gg.evaluate(y))


def test_pooling_layers_are_the_functions():
    x = normal(1, 2, 6, 6)
    v = gg.constant(x)
    cases = [
        (nn.MaxPool2d(3, 2, 1), gg.max_pool2d(v, 3, 2, 1)),
        (nn.MaxPool2d(2), gg.max_pool2d(v, 2)),
        (nn.AvgPool2d(3, 2, 1), gg.avg_pool2d(v, 3, 2, 1)),
        (nn.GlobalAvgPool(), gg.global_avg_pool(v)),
    ]
    for layer, expected in cases:
        found = evaluate(layer, x)
        np.testing.assert_allclose(found, gg.evaluate(expected), rtol=1e-13)
    signal, volume = normal(1, 2, 6), normal(1, 2, 4, 4, 4)
    assert evaluate(nn.MaxPool1d(2), signal).shape == (1, 2, 3)
    assert evaluate(nn.AvgPool1d(3, 1), signal).shape == (1, 2, 4)
    assert evaluate(nn.MaxPool3d(2), volume).shape == (1, 2, 2, 2, 2)
    assert evaluate(nn.AvgPool3d(2), volume).shape == (1, 2, 2, 2, 2)


def test_batch_norm_trains_with_the_batch_and_infers_with_its_state():
    layer = nn.BatchNorm(3, momentum=0.25, **F64)
    layer.weight.value, layer.bias.value = [1.0, 2.0, 0.5], [0.0, -1.0, 3.0]
    x = gg.placeholder("x", ("batch", 3, 2), "float64")
    y = layer(x, training=True)
    train = gg.compile([x], y, gg.state_updates(y), device="cpu")
    mean, var = np.zeros((1, 3, 1)), np.ones((1, 3, 1))
    w, b = layer.weight.value.reshape(1, 3, 1), layer.bias.value.reshape(1, 3, 1)
    for batch in (4, 3, 6):
        value = normal(batch, 3, 2) + 2
        axes = {"axis": (0, 2), "keepdims": True}
        centred = value - value.mean(**axes)
        expected = centred / np.sqrt((centred**2).mean(**axes) + 1e-5) * w + b
        np.testing.assert_allclose(train(value), expected, rtol=1e-10)
        mean = 0.75 * mean + 0.25 * value.mean(**axes)
        var = 0.75 * var + 0.25 * value.var(**axes, ddof=1)
    np.testing.assert_allclose(layer.running_mean.value, mean.ravel(), rtol=1e-12)
    np.testing.assert_allclose(layer.running_var.value, var.ravel(), rtol=1e-12)
    value = normal(2, 3, 2)
    expected = (value - mean) / np.sqrt(var + 1e-5) * w + b
    np.testing.assert_allclose(evaluate(layer, value), expected, rtol=1e-12)
    assert not gg.state_updates(layer(x))


def test_a_training_program_that_forgets_the_running_statistics_warns():
    layer = nn.BatchNorm(2, name="norm")
    y = gg.sum(layer(gg.constant(np.ones((3, 2))), training=True))
    with pytest.warns(UserWarning, match=r"norm/running_mean, norm/running_var"):
        gg.compile([], y, {layer.weight: layer.weight * 2})


def test_dropout_acts_in_training_alone_and_anew_each_step():
    layer = nn.Dropout(0.5)
    x = gg.placeholder("x", (1000,))
    program = gg.compile([x], layer(x, training=True), device="cpu")
    ones = np.ones(1000, "float32")
    first, second = program(ones), program(ones)
    assert set(np.unique(first)) == {0.0, 2.0}
    assert (first != second).any()
    np.testing.assert_array_equal(evaluate(layer, ones), ones)


def test_embedding_takes_rows_and_adds_the_gradients_of_rows_taken_twice():
    layer = nn.Embedding(5, 3, **F64)
    tokens = np.array([[0, 4, 2], [2, 2, 1]])
    table = layer.weight.value
    np.testing.assert_array_equal(evaluate(layer, tokens), table[tokens])

    def function(weight):
        taken = gg.take(weight, gg.constant(tokens), axis=0)
        return gg.square(taken)

    check_operation(function, [table], lambda w: w[tokens] ** 2, dtypes=("float64",))
    t = gg.placeholder("t", (2, 3), "int64")
    (slope,) = gg.gradients(gg.sum(layer(t)), [layer.weight])
    counts = np.bincount(tokens.ravel(), minlength=5)
    np.testing.assert_array_equal(gg.evaluate(slope, {t: tokens})[:, 0], counts)
    with pytest.raises(gg.ComputeError, match=r"index 5 is out of range for axis 0"):
        evaluate(layer, np.array([5]))


def test_residual_adds_its_input_or_the_projection_of_it():
    body, shortcut = nn.Dense(3, 3, **F64), nn.Dense(3, 3, False, **F64)
    x = normal(2, 3)
    plain = evaluate(body, x)
    np.testing.assert_allclose(evaluate(nn.Residual(body), x), plain + x)
    projected = evaluate(nn.Residual(body, shortcut), x)
    np.testing.assert_allclose(projected, plain + x @ shortcut.weight.value)


def test_type_a_shortcuts_subsample_and_append_zeros():
    x = normal(2, 3, 5, 4)
    y = evaluate(nn.ZeroPadded(3, 5, 2), x)
    np.testing.assert_array_equal(y[:, :3], x[:, :, ::2, ::2])
    assert not y[:, 3:].any()
    assert y.shape == (2, 5, 3, 2)
    with pytest.raises(gg.GraphError, match=r"at least as many channels out"):
        nn.ZeroPadded(3, 2)


BY_EPS = {
    "batch": (nn.BatchNorm, lambda x, e: gg.batch_norm(x, *[None] * 4, True, eps=e)),
    "group": (partial(nn.GroupNorm, 2), lambda x, e: gg.group_norm(x, 2, eps=e)),
    "instance": (nn.InstanceNorm, lambda x, e: gg.instance_norm(x, eps=e)),
    "layer": (
        lambda c, **o: nn.LayerNorm((c, 5), **o),
        lambda x, e: gg.layer_norm(x, (4, 5), eps=e),
    ),
    "rms": (
        lambda c, **o: nn.RMSNorm((c, 5), **o),
        lambda x, e: gg.rms_norm(x, (4, 5), eps=e),
    ),
}


@pytest.mark.parametrize("name", BY_EPS)
def test_a_normalisation_uses_the_eps_that_it_is_made_with(name):
    make, function = BY_EPS[name]
    x = gg.constant(normal(3, 4, 5))
    found = make(4, eps=2.0, affine=False)(x, training=True)
    np.testing.assert_allclose(gg.evaluate(found), gg.evaluate(function(x, 2.0)))
    with pytest.raises(gg.GraphError, match="expected eps to be a number >= 0, got -1"):
        make(4, eps=-1)
