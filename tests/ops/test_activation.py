"""Activation functions: values, stability, and derivatives to third order."""

import math

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.testing import check_gradient, check_operation

ALL_FLOATS = ("float64", "float32", "float16", "bfloat16")
X = np.array([[0.3, -1.7, 2.5, -0.02], [1.1, -0.4, 0.9, 7.3]])
FAR = np.array([-1e4, -745.2, -100.0, -20.0, 20.0, 100.0, 745.2, 1e4])


def scalar(function):
    """Return a function of arrays from one of Python's floats."""
    return lambda x, **_: np.vectorize(function, otypes=[float])(x)


def plain_sigmoid(x):
    power = math.exp(-abs(x))
    return 1 / (1 + power) if x >= 0 else power / (1 + power)


def plain_softplus(x):
    return x + math.log1p(math.exp(-x)) if x > 0 else math.log1p(math.exp(x))


ELEMENTWISE = {
    "relu": (gg.relu, lambda x: x if x > 0 else 0.0),
    "leaky_relu": (gg.leaky_relu, lambda x: x if x > 0 else 0.01 * x),
    "leaky_relu, slope": (
        lambda x: gg.leaky_relu(x, 0.3),
        lambda x: x if x > 0 else 0.3 * x,
    ),
    "elu": (gg.elu, lambda x: x if x > 0 else math.expm1(x)),
    "elu, alpha": (
        lambda x: gg.elu(x, 0.7),
        lambda x: x if x > 0 else 0.7 * math.expm1(x),
    ),
    "sigmoid": (gg.sigmoid, plain_sigmoid),
    "silu": (gg.silu, lambda x: x * plain_sigmoid(x)),
    "softplus": (gg.softplus, plain_softplus),
    "softplus, beta": (
        lambda x: gg.softplus(x, beta=2.5),
        lambda x: plain_softplus(2.5 * x) / 2.5,
    ),
}
DERIVATIVE = {
    "relu": lambda x: float(x > 0),
    "leaky_relu": lambda x: 1.0 if x > 0 else 0.01,
    "elu": lambda x: 1.0 if x > 0 else math.exp(x),
    "sigmoid": lambda x: plain_sigmoid(x) * plain_sigmoid(-x),
    "softplus": plain_sigmoid,
    "silu": lambda x: plain_sigmoid(x) * (1 + x * plain_sigmoid(-x)),
}


def value_and_slope(function, x):
    """Return f(x) and the gradient of Σ f with respect to x."""
    variable = gg.placeholder("x", x.shape, x.dtype)
    y = function(variable)
    (slope,) = gg.gradients(gg.sum(y), [variable])
    return gg.compile([variable], [y, slope], device="cpu")(x)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_activation_matches_its_formula_and_its_derivatives(name):
    function, formula = ELEMENTWISE[name]
    reference = scalar(formula)
    check_operation(function, [X], reference, dtypes=ALL_FLOATS, order=3)
    check_operation(function, [X[:, :0]], reference, order=1)
    check_operation(function, [X[0, 1]], reference, order=3)


@pytest.mark.parametrize("name", DERIVATIVE)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_far_from_zero_value_and_gradient_are_those_of_exact_arithmetic(name, dtype):
    function, formula = ELEMENTWISE[name]
    x = FAR.astype(dtype)
    value, slope = value_and_slope(function, x)
    wide = x.astype(np.float64)
    rtol = 4 * np.finfo(dtype).eps
    tiny = np.finfo(dtype).tiny
    expected = scalar(formula)(wide).astype(dtype)
    np.testing.assert_allclose(value, expected, rtol=rtol, atol=tiny)
    expected = scalar(DERIVATIVE[name])(wide).astype(dtype)
    # σ (1 - σ) is made of the value, whose distance from 1 is a rounding of 1.
    room = 20 * rtol if name == "sigmoid" else tiny
    np.testing.assert_allclose(slope, expected, rtol=rtol, atol=room)


def test_sigmoid_and_softplus_keep_their_digits_below_zero():
    x = np.array([-700.0, -100.0, -40.0])
    for function in (gg.sigmoid, gg.softplus):
        np.testing.assert_allclose(
            gg.evaluate(function(gg.constant(x))), np.exp(x), rtol=1e-15
        )


@pytest.mark.parametrize("name", DERIVATIVE)
def test_nan_passes_and_infinities_go_to_the_limits(name):
    function, _ = ELEMENTWISE[name]
    limits = {
        "relu": (0, np.inf),
        "leaky_relu": (-np.inf, np.inf),
        "elu": (-1, np.inf),
        "sigmoid": (0, 1),
        "softplus": (0, np.inf),
        "silu": (0, np.inf),
    }
    value = gg.evaluate(function(gg.constant([np.nan, -np.inf, np.inf])))
    np.testing.assert_array_equal(value, [np.nan, *limits[name]])


def test_relu_has_derivative_zero_at_zero_and_stays_right_at_infinity():
    x = np.array([-np.inf, -1.0, -0.0, 0.0, 1.0, np.inf, np.nan])
    variable = gg.placeholder("x", (7,), "float64")
    known = gg.constant(np.full(7, np.inf))
    y = gg.relu(variable)
    (slope,) = gg.gradients(None, [variable], known={y: known})
    value, slope = gg.compile([variable], [y, slope], device="cpu")(x)
    np.testing.assert_array_equal(value, [0, 0, 0, 0, 1, np.inf, np.nan])
    np.testing.assert_array_equal(slope, [0, 0, 0, 0, np.inf, np.inf, np.inf])


def test_relu_takes_integers_and_the_others_make_them_float():
    x = gg.constant([-2, 3])
    assert gg.evaluate(gg.relu(x)).tolist() == [0, 3]
    assert gg.relu(x).type == gg.TensorType(np.dtype("int64"), (2,))
    for function in (gg.sigmoid, gg.elu, gg.leaky_relu, gg.softmax, gg.log_softmax):
        assert function(x).dtype == np.float32


def plain_softmax(x, axis=-1):
    moved = np.moveaxis(np.asarray(x, float), axis, -1)
    result = np.empty_like(moved)
    for row in np.ndindex(moved.shape[:-1]):
        powers = [math.exp(v - max(moved[row])) for v in moved[row]]
        result[row] = [p / math.fsum(powers) for p in powers]
    return np.moveaxis(result, -1, axis)


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_softmax_and_its_logarithm_match_their_formulas(axis):
    x = np.stack([X, 2 - X * X / 7, -X[::-1]])

    def softmax(v):
        return gg.softmax(v, axis)

    def log_softmax(v):
        return gg.log_softmax(v, axis)

    def logarithm(v):
        return np.log(plain_softmax(v, axis))

    check_operation(
        softmax, [x], lambda v: plain_softmax(v, axis), dtypes=ALL_FLOATS, order=3
    )
    check_operation(log_softmax, [x], logarithm, dtypes=ALL_FLOATS, order=3)


@pytest.mark.parametrize("function", [gg.softmax, gg.log_softmax])
@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3), (3, 1), (1,)])
def test_softmax_of_sizes_zero_and_one(function, shape):
    expected = np.ones(shape) if function is gg.softmax else np.zeros(shape)
    check_operation(function, [np.full(shape, 2.5)], lambda x: expected, order=1)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_softmax_of_extreme_rows_is_exact_and_so_are_its_gradients(dtype):
    x = np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4 - 1], [3e38, -3e38, 3e38]])
    x = x.astype(dtype)
    u = np.array([[1.0, 2.0, 3.0]] * 3, dtype)
    variable = gg.placeholder("x", x.shape, dtype)
    p, log_p = gg.softmax(variable), gg.log_softmax(variable)
    (dp,) = gg.gradients(gg.sum(p * u), [variable])
    (dlog_p,) = gg.gradients(gg.sum(log_p * u), [variable])
    got = gg.compile([variable], [p, log_p, dp, dlog_p], device="cpu")(x)
    a, b = 1 / (2 + math.exp(-1)), math.exp(-1) / (2 + math.exp(-1))
    log_a = -math.log(2 + math.exp(-1))
    expected = [
        [[1, 0, 0], [a, a, b], [0.5, 0, 0.5]],
        [
            [0, -2e4, -1e4],
            [log_a, log_a, log_a - 1],
            [-math.log(2), np.float64(x[2, 1]) * 2, -math.log(2)],
        ],
    ]
    mean = a * 1 + a * 2 + b * 3
    expected += [
        [[0, 0, 0], [a * (1 - mean), a * (2 - mean), b * (3 - mean)], [-0.5, 0, 0.5]],
        [[-5, 2, 3], [1 - 6 * a, 2 - 6 * a, 3 - 6 * b], [-2, 2, 0]],
    ]
    with np.errstate(over="ignore"):
        rounded = [np.array(e).astype(dtype) for e in expected]
    for value, want in zip(got, rounded, strict=True):
        np.testing.assert_allclose(value, want, rtol=1e-6, atol=1e-6)


def test_minus_infinity_has_probability_zero_and_gradient_zero():
    x = np.array([[0.0, -np.inf, math.log(3)], [-np.inf, -np.inf, 5.0]])
    variable = gg.placeholder("x", (2, 3), "float64")
    u = np.array([2.0, 5.0, -1.0])
    p, log_p = gg.softmax(variable), gg.log_softmax(variable)
    (dp,) = gg.gradients(gg.sum(p * u), [variable])
    (dlog_p,) = gg.gradients(gg.sum(log_p * [0.0, 0.0, 1.0]), [variable])
    p, log_p, dp, dlog_p = gg.compile([variable], [p, log_p, dp, dlog_p])(x)
    np.testing.assert_allclose(p, [[0.25, 0, 0.75], [0, 0, 1]], rtol=1e-15)
    np.testing.assert_allclose(
        log_p, [[math.log(0.25), -np.inf, math.log(0.75)], [-np.inf, -np.inf, 0]]
    )
    np.testing.assert_allclose(dp, [[0.5625, 0, -0.5625], [0, 0, 0]], rtol=1e-14)
    np.testing.assert_allclose(dlog_p, [[-0.25, 0, 0.25], [0, 0, 0]], rtol=1e-14)


def test_softmax_of_a_row_without_a_finite_entry_is_nan():
    x = gg.constant([[-np.inf, -np.inf], [np.inf, 0.0], [np.nan, 0.0]])
    value = gg.evaluate(gg.softmax(x))
    assert np.isnan(value[:, 0]).all()
    assert np.isnan(value[[0, 2], 1]).all()


def test_softmax_gradients_agree_with_differences_through_each_other():
    check_gradient(lambda x: gg.exp(gg.log_softmax(x, 0)) - gg.softmax(x, 0) * x, [X])


def test_softmax_of_no_such_axis_says_so():
    x = gg.placeholder("x", ("batch", 3))
    with pytest.raises(gg.ShapeError, match=r"softmax\(axis=2\): axis 2 is out of r"):
        gg.softmax(x, axis=2)
    with pytest.raises(gg.ShapeError, match=r"log_softmax\(axis=-1\).*array of 0 axes"):
        gg.log_softmax(gg.constant(1.0))
