"""The special functions themselves, as NumPy functions."""

import math

import numpy as np
import pytest

from graphgpu.dtypes import bfloat16
from graphgpu.ops.special import erf


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
