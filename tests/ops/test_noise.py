"""Noise: what it keeps on average, its gradient, its keys, errors."""

import numpy as np
import pytest

import graphgpu as gg

COUNT = 40000
FUNCTIONS = {
    "dropout": gg.dropout,
    "dropout1d": gg.dropout1d,
    "dropout2d": gg.dropout2d,
    "dropout3d": gg.dropout3d,
    "alpha_dropout": gg.alpha_dropout,
    "feature_alpha_dropout": gg.feature_alpha_dropout,
    "gaussian_dropout": gg.gaussian_dropout,
    "gaussian_noise": gg.gaussian_noise,
}
SHAPES = {
    "dropout1d": (4, 5, 3),
    "dropout2d": (4, 5, 3, 2),
    "dropout3d": (4, 5, 1, 3, 2),
}
SHAPES["feature_alpha_dropout"] = (4, 5, 6)


def input_of(name):
    shape = SHAPES.get(name, (4, 30))
    return np.random.default_rng(2).standard_normal(shape).astype("float32")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_noise_is_new_at_each_step_and_gone_in_inference(name):
    function, value = FUNCTIONS[name], input_of(name)
    x = gg.placeholder("x", ["n", *value.shape[1:]])
    assert function(x, 0.3, training=False) is x
    program = gg.compile([x], function(x, 0.3), device="cpu", seed=1)
    first, second = program(value), program(value)
    assert (first != second).any()
    again = gg.compile([x], function(x, 0.3, key="a"), device="cpu", seed=1)
    other = gg.compile([x], function(x, 0.3, key="b"), device="cpu", seed=1)
    assert (again(value) != other(value)).any()
    again.step = other.step = 0
    np.testing.assert_array_equal(again(value), again_with_key(function, value))


def again_with_key(function, value):
    x = gg.constant(value)
    return gg.compile([], function(x, 0.3, key="a"), device="cpu", seed=1)()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_gradient_sees_the_same_noise(name):
    function, value = FUNCTIONS[name], input_of(name)
    x = gg.placeholder("x", value.shape)
    y = function(x, 0.3)
    (slope,) = gg.gradients(gg.sum(y * y), [x])
    program = gg.compile([x], [y, slope], device="cpu")
    for _ in range(2):
        program.step = 5
        base, found = program(value)
        program.step = 5
        moved, _ = program(value + 0.5)
        factor = (moved - base) / 0.5  # each is linear in x
        np.testing.assert_allclose(found, 2 * base * factor, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("p", [0.05, 0.5, 0.9])
def test_alpha_dropout_keeps_mean_0_and_variance_1(p):
    y = gg.evaluate(gg.alpha_dropout(gg.random_normal((COUNT,)), p))
    assert abs(y.mean()) < 0.05
    assert abs(y.var() - 1) < 0.1
    assert len(np.unique(y[y == np.median(y)])) <= 1


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_dropout_and_gaussian_dropout_have_the_same_mean_and_variance(p):
    for function in (gg.dropout, gg.gaussian_dropout):
        y = gg.evaluate(function(gg.ones((COUNT,)), p))
        assert abs(y.mean() - 1) < 0.03
        assert abs(y.var() - p / (1 - p)) < 0.05


def test_gaussian_noise_has_its_deviation_and_passes_the_gradient():
    x = gg.placeholder("x", (COUNT,))
    y = gg.gaussian_noise(x, 0.3)
    (slope,) = gg.gradients(gg.sum(y), [x])
    value, found = gg.compile([x], [y, slope], device="cpu")(np.ones(COUNT, "float32"))
    assert abs(value.mean() - 1) < 0.01
    assert abs(value.std() - 0.3) < 0.01
    np.testing.assert_array_equal(found, 1)


@pytest.mark.parametrize("name", ["dropout1d", "dropout2d", "dropout3d"])
def test_spatial_dropout_keeps_or_drops_whole_maps(name):
    shape = (20, 50, *SHAPES[name][2:])
    y = gg.evaluate(FUNCTIONS[name](gg.ones(shape), 0.25)).reshape(20, 50, -1)
    assert (y == y[:, :, :1]).all()
    maps = y[:, :, 0]
    assert abs((maps == 0).mean() - 0.25) < 0.05
    np.testing.assert_allclose(maps[maps != 0], 4 / 3, rtol=1e-6)
    assert (maps[0] != maps[1]).any()


def test_probabilities_of_0_and_1():
    x = gg.constant([[1.0, np.inf, 3.0]])
    for function in (gg.dropout, gg.alpha_dropout):
        assert function(x, 0) is x
        np.testing.assert_array_equal(gg.evaluate(function(x, 1)), 0)
    np.testing.assert_array_equal(gg.evaluate(gg.gaussian_dropout(x, 0)), x.value)
    np.testing.assert_array_equal(gg.evaluate(gg.gaussian_noise(x, 0)), x.value)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_stay_halves(dtype):
    for name, function in FUNCTIONS.items():
        x = gg.cast(gg.constant(input_of(name)), dtype)
        assert function(x, 0.3).dtype.name == dtype
        gg.evaluate(function(x, 0.3))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_arguments_that_do_not_fit_say_what_was_expected(name):
    function = FUNCTIONS[name]
    x = gg.placeholder("x", input_of(name).shape)
    what = (
        "a standard deviation >= 0" if name == "gaussian_noise" else "a probability p"
    )
    with pytest.raises(gg.GraphError, match=f"expected {what}"):
        function(x, -0.1)
    with pytest.raises(gg.DTypeError, match=r"expected a floating-point dtype"):
        function(gg.cast(x, "int64"), 0.1)


def test_other_errors_say_what_was_expected():
    x = gg.placeholder("x", (2, 3))
    with pytest.raises(gg.GraphError, match=r"expected p below 1"):
        gg.gaussian_dropout(x, 1)
    with pytest.raises(gg.ShapeError, match=r"x of shape \(N, C, d1, d2\)"):
        gg.dropout2d(x)
    with pytest.raises(gg.ShapeError, match=r"x of shape \(N, C, d1, \.\.\.\)"):
        gg.feature_alpha_dropout(gg.placeholder("x", (2,)))
