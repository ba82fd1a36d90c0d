"""Exponentials and logarithms against the C library, near and far."""

import math

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.testing import assert_close, check_operation

ALL_FLOATS = ("float64", "float32", "float16", "bfloat16")
NAN, INF = math.nan, math.inf
ANY = np.array([[-2.3, -0.41, 0.3], [0.05, 1.62, 2.9]])
POSITIVE = np.array([[0.3, 1.7, 12.5], [0.01, 0.9, 1.1]])
CASES = {
    "exp": (ANY, math.exp),
    "expm1": (ANY, math.expm1),
    "log": (POSITIVE, math.log),
    "log1p": (POSITIVE - 0.5, math.log1p),
    "log2": (POSITIVE, math.log2),
    "log10": (POSITIVE, math.log10),
    "erf": (ANY, math.erf),
    "erfc": (ANY, math.erfc),
}
POINTS = [NAN, INF, -INF, 0.0, -0.0, -1.0, -2.0]
LIMITS = {
    "exp": [NAN, INF, 0.0, 1.0, 1.0, 1 / math.e, math.e**-2],
    "expm1": [NAN, INF, -1.0, 0.0, -0.0, 1 / math.e - 1, math.e**-2 - 1],
    "log": [NAN, INF, NAN, -INF, -INF, NAN, NAN],
    "log1p": [NAN, INF, NAN, 0.0, -0.0, -INF, NAN],
    "log2": [NAN, INF, NAN, -INF, -INF, NAN, NAN],
    "log10": [NAN, INF, NAN, -INF, -INF, NAN, NAN],
    "erf": [NAN, 1.0, -1.0, 0.0, -0.0, math.erf(-1), math.erf(-2)],
    "erfc": [NAN, 0.0, 2.0, 1.0, 1.0, math.erfc(-1), math.erfc(-2)],
}


def value(function, x, dtype="float64"):
    return float(gg.evaluate(function(gg.constant(x, dtype))))


def slope(function, at, dtype="float64"):
    x = gg.placeholder("x", (), dtype)
    (dx,) = gg.gradients(function(x), [x])
    return float(gg.evaluate(dx, {x: np.asarray(at, x.dtype)}))


@pytest.mark.parametrize("name", CASES)
def test_function_is_that_of_the_c_library_to_the_third_derivative(name):
    x, reference = CASES[name]
    function = getattr(gg, name)
    reference = np.vectorize(reference, "d")
    check_operation(function, [x], reference, dtypes=ALL_FLOATS, order=3)
    check_operation(function, [x[:1, :1]], reference, order=3)
    check_operation(function, [x[0, 1]], reference, order=3)
    check_operation(function, [x[:0]], lambda x: x, order=1)


@pytest.mark.parametrize("dtype", ALL_FLOATS)
@pytest.mark.parametrize("name", LIMITS)
def test_special_values(name, dtype):
    got = gg.evaluate(getattr(gg, name)(gg.cast(gg.constant(POINTS), dtype)))
    expected = np.array(LIMITS[name])
    assert_close(got, expected)
    zero = expected == 0
    np.testing.assert_array_equal(
        np.signbit(got.astype(float))[zero], np.signbit(expected)[zero]
    )


@pytest.mark.parametrize("name", CASES)
def test_integers_become_float32(name):
    got = getattr(gg, name)(gg.constant([1, 2], "int8"))
    assert got.dtype == "float32"
    reference = np.vectorize(CASES[name][1], "d")
    assert_close(gg.evaluate(got), reference([1.0, 2.0]))


def test_small_arguments_keep_their_digits():
    for tiny in (1e-10, -1e-10, 1e-300):
        assert value(gg.log1p, tiny) == pytest.approx(tiny, rel=1e-9)
        assert value(gg.expm1, tiny) == pytest.approx(tiny, rel=1e-9)
        assert value(gg.erf, tiny) == pytest.approx(tiny * 2 / math.pi**0.5, rel=1e-14)


@pytest.mark.parametrize(
    ("dtype", "largest", "smallest"),
    [("float64", 709.7, -745.0), ("float32", 88.7, -103.0), ("float16", 11.0, -17.0)],
)
def test_exp_overflows_where_the_dtype_ends(dtype, largest, smallest):
    assert math.isfinite(value(gg.exp, largest, dtype))
    assert value(gg.exp, largest + 0.2, dtype) == INF
    assert value(gg.exp, smallest, dtype) > 0
    assert value(gg.exp, smallest - 2, dtype) == 0
    assert slope(gg.exp, smallest - 2, dtype) == 0


def test_logarithms_of_powers_are_whole():
    for power in (-300, -7, 0, 1, 3, 15, 300):
        assert value(gg.log10, 10.0**power) == power
        assert value(gg.log2, 2.0**power) == power
    assert value(gg.log, 5e-324) == math.log(5e-324)


def test_derivatives_at_the_ends_of_the_domain():
    assert slope(gg.log, 0.0) == INF
    assert slope(gg.log, INF) == 0
    assert slope(gg.log1p, -1.0) == INF
    assert slope(gg.log2, 1e-300) == pytest.approx(1e300 / math.log(2))
    assert slope(gg.log10, 1e300) == pytest.approx(1e-300 / math.log(10))
    assert slope(gg.expm1, -1e9) == 0
    assert slope(gg.erf, 1e200) == 0
    assert slope(gg.erf, -INF) == 0


def test_inverse_functions_undo():
    x = gg.constant(np.linspace(-5, 5, 41))
    for there, back in ((gg.exp, gg.log), (gg.expm1, gg.log1p)):
        np.testing.assert_allclose(
            gg.evaluate(back(there(x))), np.linspace(-5, 5, 41), atol=1e-13
        )
