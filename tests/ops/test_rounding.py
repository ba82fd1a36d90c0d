"""Rounding: ties, signs, what is too large to have a fraction; gradients zero."""

import builtins
import math

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.testing import assert_close, check_operation

ALL_FLOATS = ("float64", "float32", "float16", "bfloat16")
X = np.array([[-2.75, -1.5, -0.25], [0.25, 1.25, 2.75]])
REFERENCES = {
    "floor": math.floor,
    "ceil": math.ceil,
    "trunc": math.trunc,
    "round": builtins.round,
}


@pytest.mark.parametrize("name", REFERENCES)
def test_rounding_is_that_of_python(name):
    function, reference = getattr(gg, name), np.vectorize(REFERENCES[name], "d")
    check_operation(function, [X], reference, dtypes=ALL_FLOATS, order=0)
    check_operation(function, [X + 0.1], reference, order=3)
    check_operation(function, [X[:, :0]], np.rint, order=1)
    check_operation(function, [X[1, 1]], reference, order=1)


def test_halves_are_rounded_to_even():
    x = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5])
    expected = np.array([-2.0, -2, -0.0, 0, 2, 2, 4])
    check_operation(gg.round, [x], lambda _: expected, dtypes=ALL_FLOATS, order=0)


@pytest.mark.parametrize("dtype", ALL_FLOATS)
@pytest.mark.parametrize("name", REFERENCES)
def test_special_values_stay(name, dtype):
    points = [np.nan, np.inf, -np.inf, 0.0, -0.0, 2.0**60, -(2.0**15)]
    x = gg.cast(gg.constant(points), dtype)
    got = gg.evaluate(getattr(gg, name)(x))
    assert got.tobytes() == gg.evaluate(x).tobytes()


def test_small_negative_numbers_round_to_minus_zero():
    x = gg.constant(-0.25)
    for function in (gg.ceil, gg.trunc, gg.round):
        assert np.signbit(gg.evaluate(function(x)))


@pytest.mark.parametrize("decimals", [-2, -1, 1, 3])
def test_decimals_scale(decimals):
    x = np.array([[-1234.5678, 15.25], [0.04951, 85.0]])
    check_operation(
        lambda v: gg.round(v, decimals),
        [x],
        np.vectorize(lambda v: builtins.round(v, decimals), "d"),
        order=0,
    )


def test_scaled_rounding_neither_overflows_nor_makes_nan():
    huge = np.array([3e38, -3e38, np.inf, np.nan, 0.0], "float32")
    np.testing.assert_array_equal(
        gg.evaluate(gg.round(gg.constant(huge), 3)), huge, strict=True
    )
    tens = gg.evaluate(gg.round(gg.constant(np.float32(1e30)), -37))
    assert tens == 0


def test_halves_are_scaled_in_float32():
    x = gg.cast(gg.constant([64.3]), "float16")
    assert_close(gg.evaluate(gg.round(x, 3)), np.float64([64.3]))


@pytest.mark.parametrize("dtype", ["int8", "uint64", "int32"])
def test_integers_are_left_alone(dtype):
    x = gg.placeholder("x", (2,), dtype)
    for function in (gg.floor, gg.ceil, gg.trunc, gg.round):
        assert function(x) is x
    assert gg.round(x, 2) is x


def test_gradient_is_zero_and_connected():
    x = gg.placeholder("x", (3,))
    for function in (gg.floor, gg.ceil, gg.trunc, gg.round):
        (dx,) = gg.gradients(gg.sum(function(x) * x), [x])
        assert_close(
            gg.evaluate(dx, {x: [0.5, 1.25, -2.5]}),
            gg.evaluate(function(x), {x: [0.5, 1.25, -2.5]}).astype(float),
        )
    for function in (gg.floor, lambda x: gg.round(x, 1), lambda x: gg.round(x, -1)):
        (zero,) = gg.gradients(gg.sum(function(x)), [x], disconnected="raise")
        assert not gg.evaluate(zero, {x: [0.5, 1.25, -2.5]}).any()


def test_bad_inputs_are_refused():
    with pytest.raises(gg.DTypeError, match=r"floor\(\): expected an integer or"):
        gg.floor(gg.constant([True]))
    with pytest.raises(gg.DTypeError, match="only floating-point numbers are rounded"):
        gg.round(gg.constant([15]), -1)
    with pytest.raises(gg.DTypeError, match=r"round\(decimals=1.5\): expected an int"):
        gg.round(gg.constant([15.0]), 1.5)
    with pytest.raises(gg.DTypeError, match="expected decimals from -37 to 37"):
        gg.round(gg.constant([15.0]), 38)
