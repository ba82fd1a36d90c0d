"""Mean and variance: corrections, large means, equal numbers, many halves."""

import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphgpu as gg
from graphgpu.testing import check_gradient, check_operation

ALL_FLOATS = ("float64", "float32", "float16", "bfloat16")
X = np.random.default_rng(1).standard_normal((3, 4, 5))


def variance(x, axes=None, keepdims=False, correction=0):
    """Return Σ x²  / N - μ², corrected: not how it is computed."""
    x = np.asarray(x, np.longdouble)
    square = np.mean(x * x, axes, keepdims=keepdims)
    result = square - np.mean(x, axes, keepdims=keepdims) ** 2
    count = x.size / result.size
    return np.asarray(result * count / (count - correction), float)


@pytest.mark.parametrize("correction", [0, 1, 0.5])
@pytest.mark.parametrize("axes", [None, 1, (0, 2)], ids=str)
def test_variance_has_a_correction(axes, correction):
    def reference(x):
        return variance(x, axes, correction=correction)

    for function, expected in (
        (gg.var, reference),
        (gg.std, lambda x: np.sqrt(reference(x))),
    ):
        check_operation(
            lambda x, f=function: f(x, axes, correction=correction),
            [X],
            expected,
            dtypes=ALL_FLOATS,
            order=3,
        )


def test_variance_of_as_many_as_the_correction_is_nan():
    x = gg.constant([[2.0], [3.0]])
    assert np.isnan(gg.evaluate(gg.var(x, 1, correction=1))).all()
    assert np.isnan(gg.evaluate(gg.std(x, 1, correction=2))).all()


@pytest.mark.parametrize("function", [gg.var, gg.std])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_large_mean_costs_the_variance_no_digits(function, axis):
    noise = np.random.default_rng(0).standard_normal((2000, 2000))[:1000, :1000]
    x = (1e4 + noise).astype("float32")
    got = gg.evaluate(function(gg.constant(x), axis))
    expected = getattr(np, function.__name__)(x.astype("float64"), axis)
    np.testing.assert_allclose(got, expected, rtol=3e-6)


def test_equal_numbers_have_no_variance_and_no_gradient():
    x = gg.placeholder("x", (1000,))
    value = {x: np.full(1000, 0.1, "float32")}
    assert gg.evaluate(gg.var(x), value) == pytest.approx(0, abs=1e-16)
    ones = {x: np.ones(1000, "float32")}
    (dx,) = gg.gradients(gg.std(x), [x])
    assert not gg.evaluate(dx, ones).any()


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axes", [None, 0, -1, (0, 2), (2, -2, 0)], ids=str)
def test_moments_are_mean_and_variance_and_depend_on_each_other(axes, keepdims):
    for index, reference in (
        (0, lambda x: np.mean(x, axes, keepdims=keepdims)),
        (1, lambda x: variance(x, axes, keepdims)),
    ):
        check_operation(
            lambda x, i=index: gg.moments(x, axes, keepdims)[i],
            [X],
            reference,
            dtypes=ALL_FLOATS,
        )

    def normalised(x):
        mean, variance = gg.moments(x, axes)
        return (x - mean) * gg.rsqrt(variance + 0.1)

    check_gradient(normalised, [X], order=3)


def test_moments_are_one_operation():
    mean, variance = gg.moments(gg.placeholder("x", ("n", 3)), 0)
    assert mean.inputs == variance.inputs
    assert str(mean.inputs[0].type) == "(float32[1,3], float32[1,3])"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_variance_is_neither_negative_nor_far_off(values):
    got = float(gg.evaluate(gg.var(gg.constant(np.array(values, "float64")))))
    assert got >= 0
    assert got == pytest.approx(statistics.pvariance(values), rel=1e-9, abs=1e-9)


def test_a_deviation_whose_square_overflows_or_vanishes_is_exact():
    for dtype, sizes in (("float32", (1e30, 1e-30)), ("float16", (300.0, 1e-3))):
        for size in sizes:
            x = np.array([1.0, 3.0, 8.0]) * size
            found = gg.evaluate(gg.std(gg.constant(x, dtype)))
            np.testing.assert_allclose(found / size, np.std([1, 3, 8]), rtol=2e-3)
