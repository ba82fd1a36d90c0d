"""Trigonometric and hyperbolic functions: values, limits, derivatives."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphgpu as gg
from graphgpu.testing import assert_close, check_operation

ALL_FLOATS = ("float64", "float32", "float16", "bfloat16")
INSIDE = np.array([[-0.9, -0.41, 0.3], [0.05, 0.62, 0.88]])
ANY = np.array([[-3.9, -1.2, 0.3], [0.05, 2.7, 7.1]])
ABOVE_ONE = np.array([[1.2, 1.7, 2.5], [3.1, 9.4, 1.05]])
UNARY = {
    "sin": ANY,
    "cos": ANY,
    "tan": ANY,
    "asin": INSIDE,
    "acos": INSIDE,
    "atan": ANY,
    "sinh": ANY,
    "cosh": ANY,
    "tanh": ANY,
    "asinh": ANY,
    "acosh": ABOVE_ONE,
    "atanh": INSIDE,
}
NAN, INF, PI = math.nan, math.inf, math.pi
POINTS = [NAN, INF, -INF, -0.0, 0.0, 1.0, -1.0, 2.0]
LIMITS = {  # C99, annex F.9, at POINTS; None is an ordinary value
    "sin": [NAN, NAN, NAN, -0.0, 0.0, None, None, None],
    "cos": [NAN, NAN, NAN, 1.0, 1.0, None, None, None],
    "tan": [NAN, NAN, NAN, -0.0, 0.0, None, None, None],
    "asin": [NAN, NAN, NAN, -0.0, 0.0, PI / 2, -PI / 2, NAN],
    "acos": [NAN, NAN, NAN, PI / 2, PI / 2, 0.0, PI, NAN],
    "atan": [NAN, PI / 2, -PI / 2, -0.0, 0.0, PI / 4, -PI / 4, None],
    "sinh": [NAN, INF, -INF, -0.0, 0.0, None, None, None],
    "cosh": [NAN, INF, INF, 1.0, 1.0, None, None, None],
    "tanh": [NAN, 1.0, -1.0, -0.0, 0.0, None, None, None],
    "asinh": [NAN, INF, -INF, -0.0, 0.0, None, None, None],
    "acosh": [NAN, INF, NAN, NAN, NAN, 0.0, NAN, None],
    "atanh": [NAN, NAN, NAN, -0.0, 0.0, INF, -INF, NAN],
}


def slope(function, value, dtype="float32"):
    """Return the derivative of a function of one scalar."""
    x = gg.placeholder("x", (), dtype)
    (dx,) = gg.gradients(function(x), [x])
    return float(gg.evaluate(dx, {x: np.asarray(value, dx.dtype)}))


@pytest.mark.parametrize("name", UNARY)
def test_function_is_that_of_the_c_library_to_the_third_derivative(name):
    function, reference = getattr(gg, name), np.vectorize(getattr(math, name), "d")
    x = UNARY[name]
    check_operation(function, [x], reference, dtypes=ALL_FLOATS, order=3)
    check_operation(function, [x[:1, :1]], reference, order=3)
    check_operation(function, [x[:0]], getattr(np, name), order=1)
    check_operation(function, [x[0, 1]], reference, order=3)


@pytest.mark.parametrize("dtype", ALL_FLOATS)
@pytest.mark.parametrize("name", LIMITS)
def test_special_values_are_those_of_c99(name, dtype):
    limits = LIMITS[name]
    x = gg.cast(gg.constant(POINTS), dtype)
    got = gg.evaluate(getattr(gg, name)(x))
    kept = [i for i, v in enumerate(limits) if v is not None]
    expected = np.array([limits[i] for i in kept])
    assert_close(got[kept], expected)
    zero = got[kept].astype(float) == 0
    np.testing.assert_array_equal(
        np.signbit(got[kept].astype(float))[zero], np.signbit(expected)[zero]
    )


QUADRANTS = [
    (0.0, 1.0, 0.0),
    (1.0, 1.0, PI / 4),
    (1.0, 0.0, PI / 2),
    (1.0, -1.0, 3 * PI / 4),
    (0.0, -1.0, PI),
    (-0.0, -1.0, -PI),
    (-1.0, -1.0, -3 * PI / 4),
    (-1.0, 0.0, -PI / 2),
    (0.0, 0.0, 0.0),
    (0.0, -0.0, PI),
    (INF, INF, PI / 4),
    (-INF, -INF, -3 * PI / 4),
    (1.0, INF, 0.0),
    (1.0, -INF, PI),
    (NAN, 1.0, NAN),
    (1.0, NAN, NAN),
]


@pytest.mark.parametrize("dtype", ALL_FLOATS)
def test_atan2_knows_the_quadrants(dtype):
    y, x, expected = (np.array(column) for column in zip(*QUADRANTS, strict=True))
    got = gg.atan2(gg.cast(gg.constant(y), dtype), gg.cast(gg.constant(x), dtype))
    assert_close(gg.evaluate(got), expected)


def test_atan2_broadcasts_and_has_derivatives_in_all_quadrants():
    y = np.array([[0.7], [-1.1]])
    x = np.array([0.9, -0.3, -2.0])
    reference = np.vectorize(math.atan2)
    check_operation(gg.atan2, [y, x], reference, dtypes=ALL_FLOATS, order=3)
    check_operation(gg.atan2, [y[:0], x], np.arctan2, order=1)


def test_hypot_is_the_length_and_has_derivatives():
    x = np.array([[0.7], [-1.1]])
    y = np.array([0.9, -0.3, 0.0])
    reference = np.vectorize(lambda x, y: math.sqrt(x * x + y * y))
    check_operation(gg.hypot, [x, y], reference, dtypes=ALL_FLOATS, order=3)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_hypot_and_its_derivative_do_not_overflow(dtype):
    huge = float(np.finfo(dtype).max) / 4
    tiny = gg.constant(3e-30, dtype)
    assert_close(gg.evaluate(gg.hypot(tiny, 4e-30)), np.float64(5e-30))
    assert slope(lambda x: gg.hypot(x, huge), huge, dtype) == pytest.approx(0.5**0.5)
    assert slope(lambda x: gg.atan2(x, huge), huge, dtype) == pytest.approx(
        0.5 / huge, rel=1e-5
    )
    assert gg.evaluate(gg.hypot(gg.constant(NAN), INF)) == INF


def test_derivatives_at_the_origin_are_0_for_hypot_and_do_not_exist_for_atan2():
    assert slope(lambda x: gg.hypot(x, 0), 0.0) == 0
    assert math.isnan(slope(lambda x: gg.atan2(x, 0), 0.0))


def test_inverse_hyperbolic_derivatives_do_not_overflow():
    assert slope(gg.asinh, 1e30) == pytest.approx(1e-30, rel=1e-5)
    assert slope(gg.asinh, -1e30) == pytest.approx(1e-30, rel=1e-5)
    assert slope(gg.acosh, 1e30) == pytest.approx(1e-30, rel=1e-5)


def test_derivatives_are_infinite_at_the_ends_of_the_domain():
    assert slope(gg.asin, 1.0) == INF
    assert slope(gg.acos, -1.0) == -INF
    assert slope(gg.acosh, 1.0) == INF
    assert slope(gg.atanh, 1.0) == INF


def test_tanh_is_flat_far_out():
    for value in (1000.0, -1000.0, INF, -INF):
        assert slope(gg.tanh, value) == 0


@pytest.mark.parametrize("name", UNARY)
def test_integers_become_float32(name):
    x = gg.constant([1, 1])
    got = getattr(gg, name)(x)
    assert got.type == gg.constant(np.ones(2, "float32")).type
    with np.errstate(divide="ignore"):
        assert_close(gg.evaluate(got), getattr(np, name)(np.ones(2)))


@settings(max_examples=30, deadline=None)
@given(st.floats(-20, 20), st.floats(-20, 20))
def test_inverse_functions_undo(x, y):
    a = gg.constant(np.float64(x))
    b = gg.constant(np.float64(y))
    radius, angle = gg.hypot(a, b), gg.atan2(b, a)
    circle, line = gg.sin(a) ** 2 + gg.cos(a) ** 2, gg.asinh(gg.sinh(a))
    back = gg.stack([radius * gg.cos(angle), radius * gg.sin(angle), circle, line])
    np.testing.assert_allclose(gg.evaluate(back), [x, y, 1, x], atol=1e-9)
