"""What layers are when they are put together: modules of modules."""

from itertools import pairwise

import numpy as np
import pytest

import graphgpu as gg
from graphgpu import nn

RNG = np.random.default_rng(54)
F64 = {"dtype": "float64"}


def normal(*shape):
    return RNG.standard_normal(shape)


def count(layer):
    return sum(p.value.size for p in layer.parameters())


def value_and_slopes(function, x, parameters=()):
    given = gg.constant(x)
    y = function(given)
    slopes = gg.gradients(gg.sum(y * np.arange(1.0, 1 + x.size)), [given, *parameters])
    return [gg.evaluate(v) for v in (y, *slopes)]


def test_a_module_of_modules_is_their_cascade():
    x = np.array([-2.0, -0.5, 0.5, 2.0])
    inner = nn.Sequential(gg.relu, gg.tanh)
    module = nn.Sequential(nn.Sequential(inner), nn.Function(lambda v: 3 * v))
    y, slope = value_and_slopes(module, x)
    cascade, direct = value_and_slopes(lambda v: 3 * gg.tanh(gg.relu(v)), x)
    np.testing.assert_array_equal(y, cascade)
    np.testing.assert_array_equal(slope, direct)
    np.testing.assert_allclose(y, 3 * np.tanh(np.maximum(x, 0)), rtol=1e-15)
    by_hand = 3 * (1 - np.tanh(x) ** 2) * (x > 0) * np.arange(1, 5)
    np.testing.assert_allclose(slope, by_hand)


def test_a_cascade_of_layers_has_the_gradients_of_the_functions():
    first, second = nn.Dense(3, 4, **F64), nn.Dense(4, 3, **F64)
    module = nn.Sequential(nn.Sequential(first, gg.tanh), second)
    x, parameters = normal(2, 3), module.parameters()

    def by_hand(v):
        hidden = gg.tanh(v @ first.weight + first.bias)
        return hidden @ second.weight + second.bias

    def scaled(function):
        return lambda v: function(v).reshape(-1)

    for left, right in zip(
        value_and_slopes(scaled(module), x, parameters),
        value_and_slopes(scaled(by_hand), x, parameters),
        strict=True,
    ):
        np.testing.assert_allclose(left, right, rtol=1e-12)


def test_a_bias_is_the_weight_of_a_constant_input():
    layer, extended = nn.Dense(3, 4, **F64), nn.Dense(4, 4, False, **F64)
    layer.bias.value = normal(4)
    extended.weight.value = np.vstack([layer.weight.value, layer.bias.value])
    x = normal(5, 3)
    with_one = np.hstack([x, np.ones((5, 1))])
    y, z = layer(gg.constant(x)), extended(gg.constant(with_one))
    np.testing.assert_allclose(gg.evaluate(y), gg.evaluate(z), rtol=1e-14)
    by_parts = gg.gradients(gg.sum(gg.square(y)), [layer.weight, layer.bias])
    (whole,) = gg.gradients(gg.sum(gg.square(z)), [extended.weight])
    weight, bias = (gg.evaluate(s) for s in by_parts)
    np.testing.assert_allclose(gg.evaluate(whole), np.vstack([weight, bias]))
    assert count(layer) == count(extended) == 16


def mlp(width, depth, inputs=10, outputs=1):
    sizes = [inputs, *[width] * depth, outputs]
    layers = [nn.Dense(*pair, activation=gg.relu) for pair in pairwise(sizes)]
    return nn.Sequential(*layers)


def test_parameters_grow_with_the_square_of_width_and_linearly_with_depth():
    def formula(width, depth):
        return 11 * width + (depth - 1) * (width**2 + width) + width + 1

    for width, depth in ((8, 1), (16, 1), (16, 2), (16, 4), (32, 4)):
        assert count(mlp(width, depth)) == formula(width, depth)
    # A layer more is width² + width; twice the width of two layers is four times.
    assert count(mlp(64, 3)) - count(mlp(64, 2)) == 64 * 65
    assert count(mlp(256, 2)) / count(mlp(128, 2)) == pytest.approx(4, rel=0.1)


def sawtooth(depth):
    """Return the layers whose cascade folds [0, 1] in two, ``depth`` times."""
    layers = []
    for _ in range(depth):
        up, down = nn.Dense(1, 2, **F64), nn.Dense(2, 1, False, **F64)
        up.weight.value, up.bias.value = [[2.0, 4.0]], [0.0, -2.0]
        down.weight.value = [[1.0], [-1.0]]
        layers += [up, gg.relu, down]
    return nn.Sequential(*layers)


def test_depth_makes_exponentially_many_pieces_of_few_parameters():
    """Montúfar et al., 2014 (*Deep Learning*, section 6.4.1): 2^d pieces of 6 d."""
    model = sawtooth(6)
    x = np.linspace(0, 1, 64 * 8 + 1)[:, None]
    y = gg.evaluate(model(x)).ravel()
    pieces = 1 + (np.diff(np.sign(np.diff(y))) != 0).sum()
    assert pieces == 2**6
    assert count(model) == 6 * 6 < 3 * 2**6  # one hidden layer of 2^6 hinges has more


def maxout(x, first, second):
    """Return max(w₁·x + b₁, w₂·x + b₂), the neuron of two weights."""
    return gg.maximum(first(x), second(x))


def test_the_neuron_of_two_weights_learns_which_of_them_is_the_larger():
    first, second = nn.Dense(3, 1, **F64), nn.Dense(3, 1, **F64)
    x = gg.constant(normal(8, 3))
    left, right = gg.evaluate([first(x), second(x)])
    y = maxout(x, first, second)
    np.testing.assert_array_equal(gg.evaluate(y), np.maximum(left, right))
    slopes = gg.gradients(gg.sum(y), [first.weight, second.weight])
    wins = (left > right).ravel()
    assert 0 < wins.sum() < 8
    for slope, chosen in zip(slopes, (wins, ~wins), strict=True):
        np.testing.assert_allclose(gg.evaluate(slope)[:, 0], x.value[chosen].sum(0))


@pytest.mark.parametrize(
    ("weights", "expected"),
    [((1.0, 0.0), lambda x: np.maximum(x, 0)), ((1.0, -1.0), np.abs)],
)
def test_relu_and_the_absolute_value_are_neurons_of_two_weights(weights, expected):
    layers = [nn.Dense(1, 1, **F64), nn.Dense(1, 1, **F64)]
    for layer, weight in zip(layers, weights, strict=True):
        layer.weight.value = [[weight]]
    x = np.linspace(-2, 2, 6)[:, None]
    y = maxout(gg.constant(x), *layers)
    np.testing.assert_array_equal(gg.evaluate(y), expected(x))


def test_a_neuron_of_two_weights_is_convex():
    first, second = nn.Dense(3, 1, **F64), nn.Dense(3, 1, **F64)
    a, b = normal(20, 3), normal(20, 3)
    middle, left, right = (
        gg.evaluate(maxout(gg.constant(v), first, second)) for v in ((a + b) / 2, a, b)
    )
    assert (middle <= (left + right) / 2 + 1e-12).all()
