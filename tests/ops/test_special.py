"""The special functions themselves, as NumPy functions."""

import math

import numpy as np
import pytest

from graphgpu.dtypes import bfloat16
from graphgpu.ops.special import erf, erfc, normcdf


def ulps(got, expected):
    """Return the largest error in units of the last place."""
    return float(np.max(np.abs(got - expected) / np.spacing(np.abs(expected))))


def test_erf_is_within_four_units_of_the_last_place():
    x = np.concatenate([np.linspace(-7, 7, 20001), np.logspace(-300, 0, 601)])
    assert ulps(erf(x), np.vectorize(math.erf)(x)) <= 4


def test_erf_is_as_good_in_float32():
    x = np.linspace(-6, 6, 20001).astype("float32")
    got = erf(x)
    assert got.dtype == "float32"
    expected = np.vectorize(math.erf)(x.astype("float64"))
    error = np.abs(got - expected) / np.spacing(np.abs(got))
    assert error.max() <= 4


@pytest.mark.parametrize("dtype", ["float16", bfloat16])
def test_erf_of_halves_is_rounded_once(dtype):
    x = np.linspace(-4, 4, 801).astype(dtype)
    got = erf(x)
    expected = np.vectorize(math.erf)(x.astype("float64"))
    assert got.dtype == dtype
    step = 2.0**-11 if dtype == "float16" else 2.0**-8
    limit = step * 1.01 * np.abs(expected)
    assert (np.abs(got.astype("float64") - expected) <= limit).all()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_erf_is_continuous_where_its_formulas_meet_and_odd(dtype):
    for place in (0.46875, 4.0, 6.0):
        here = np.array(place, dtype)
        around = np.array([np.nextafter(here, 0), here, np.nextafter(here, here * 2)])
        values = erf(around)
        assert (np.diff(values) >= -np.spacing(values[0])).all()
        np.testing.assert_array_equal(erf(-around), -values)


def test_erf_of_special_values():
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324, 30.0])
    with np.errstate(all="ignore"):
        got = erf(x)
    np.testing.assert_array_equal(got, [0, 0, 1, -1, np.nan, 5e-324, 1])
    assert np.signbit(got[1])


def test_erf_keeps_the_shape():
    assert erf(np.zeros((0, 3))).shape == (0, 3)
    assert erf(np.zeros(())).shape == ()


X = np.concatenate([np.linspace(-9, 27, 7001), np.logspace(-300, 0, 301)])


def test_erfc_is_within_eight_units_of_the_last_place_far_out_too():
    expected = np.vectorize(math.erfc)(X)
    normal = expected > 1e-307
    assert ulps(erfc(X)[normal], expected[normal]) <= 8
    np.testing.assert_allclose(erfc(X), expected, rtol=1e-14, atol=5e-322)


def test_normcdf_keeps_its_digits_where_it_is_small():
    x = -X
    expected = np.vectorize(lambda v: math.erfc(-v / math.sqrt(2)) / 2)(x)
    # Dividing by √2 rounds: that alone is x² units here.
    np.testing.assert_allclose(normcdf(x), expected, rtol=3e-13)
    assert float(normcdf(np.float64(-30))) == pytest.approx(
        4.906713927148187e-198, rel=1e-15
    )


@pytest.mark.parametrize("function", [erfc, normcdf])
@pytest.mark.parametrize("dtype", ["float32", "float16", bfloat16])
def test_of_narrower_dtypes_they_are_the_float64_value_rounded(function, dtype):
    x = np.linspace(-12, 12, 2001).astype(dtype)
    with np.errstate(under="ignore"):
        expected = function(x.astype("float64")).astype(dtype)
        np.testing.assert_array_equal(function(x), expected)


def test_erfc_and_normcdf_of_special_values():
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan])
    np.testing.assert_array_equal(erfc(x), [1, 1, 0, 2, np.nan])
    np.testing.assert_array_equal(normcdf(x), [0.5, 0.5, 1, 0, np.nan])
