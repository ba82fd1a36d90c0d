"""Order: NaN is largest, equal elements keep theirs, gradients go back."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphgpu as gg
from graphgpu.testing import check_operation

ALL_FLOATS = ("float64", "float32", "float16", "bfloat16")
INTEGERS = ("bool", "int8", "int32", "int64", "uint8", "uint64")
X = np.random.default_rng(5).permutation(24).reshape(2, 4, 3) / 8 - 1.3
SPECIAL = [3.0, math.nan, 1.0, -math.inf, -0.0, 2.0, math.nan, 0.0, math.inf, 1.0]


def rank(value):
    """Return a key by which Python sorts as we do: NaN largest, zeros equal."""
    return (math.isnan(value), 0.0 if math.isnan(value) else value)


def ordered(values, descending=False):
    """Return the places of values in order, by Python's stable sort."""
    places = range(len(values))
    return sorted(places, key=lambda i: rank(values[i]), reverse=descending)


def along(x, axis, function):
    """Apply a function of a list to every line of x along an axis."""
    lines = np.moveaxis(x, axis, -1)
    results = [function(line.tolist()) for line in lines.reshape(-1, lines.shape[-1])]
    return np.moveaxis(np.array(results).reshape(*lines.shape[:-1], -1), -1, axis)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_sort_is_that_of_python_and_its_gradient_goes_back(axis, descending):
    def reference(x):
        return along(x, axis, lambda v: sorted(v, reverse=descending))

    def function(x):
        return gg.sort(x, axis, descending)

    check_operation(function, [X], reference, dtypes=ALL_FLOATS)
    check_operation(function, [X[:1, :1, :1]], reference)
    check_operation(function, [X[:, :, :0]], np.sort)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("dtype", ALL_FLOATS)
def test_nan_counts_as_largest_and_equal_elements_keep_their_order(dtype, descending):
    x = gg.cast(gg.constant(SPECIAL), dtype)
    expected = ordered(SPECIAL, descending)
    got = gg.evaluate(gg.argsort(x, descending=descending))
    assert got.dtype == "int64"
    assert got.tolist() == expected
    values = gg.evaluate(gg.cast(gg.sort(x, descending=descending), "float64"))
    np.testing.assert_array_equal(values, np.array(SPECIAL)[expected])
    _, places = gg.top_k(x, 5)
    assert gg.evaluate(places).tolist() == ordered(SPECIAL, True)[:5]


def test_ascending_order_is_that_of_numpy():
    x = np.array(SPECIAL)
    np.testing.assert_array_equal(gg.evaluate(gg.sort(gg.constant(x))), np.sort(x))


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_are_sorted_exactly(dtype):
    if dtype == "bool":
        values = [True, False, True, False]
    else:
        limits = np.iinfo(dtype)
        values = [limits.max, 0, limits.min, limits.max - 1, 1, limits.max]
    x = gg.constant(np.array(values, dtype))
    assert gg.evaluate(gg.sort(x)).tolist() == sorted(values)
    assert gg.sort(x).dtype == dtype
    for descending in (False, True):
        got = gg.evaluate(gg.argsort(x, descending=descending)).tolist()
        assert got == sorted(
            range(len(values)), key=values.__getitem__, reverse=descending
        )
    assert gg.evaluate(gg.argmax(x)) == values.index(max(values))
    assert gg.evaluate(gg.argmin(x)) == values.index(min(values))


@pytest.mark.parametrize("k", [0, 1, 2, 3])
@pytest.mark.parametrize("axis", [0, -1])
def test_top_k_are_the_largest_with_their_gradient(k, axis):
    x = X[:, 0] if axis == -1 else X[:, 0].T

    def reference(x):
        return along(x, axis, lambda v: sorted(v, reverse=True)[:k])

    check_operation(
        lambda x: gg.top_k(x, k, axis)[0], [x], reference, dtypes=ALL_FLOATS, order=2
    )
    check_operation(
        lambda x: gg.top_k(x, k, axis)[1],
        [x],
        lambda x: along(x, axis, lambda v: ordered(v, True)[:k]).astype(int),
    )


def test_the_gradient_of_the_top_is_zero_elsewhere():
    x = gg.placeholder("x", ("n",))
    values, _ = gg.top_k(x, 2)
    (dx,) = gg.gradients(gg.sum(values * gg.constant([3.0, 5.0])), [x])
    assert gg.evaluate(dx, {x: [1.0, 4.0, 2.0, 9.0]}).tolist() == [0, 5, 0, 3]


SEARCHES = {"argmax": (gg.argmax, max), "argmin": (gg.argmin, min)}


@pytest.mark.parametrize("name", SEARCHES)
def test_search_finds_the_first(name):
    function, extreme = SEARCHES[name]
    x = np.round(X * 2)
    for axis in (0, 1, -1):
        check_operation(
            lambda x, a=axis: function(x, a, keepdims=True),
            [x],
            lambda x, a=axis: along(x, a, lambda v: [v.index(extreme(v))]),
            dtypes=ALL_FLOATS,
        )
        assert function(gg.constant(x), axis).shape == tuple(np.delete(x.shape, axis))
    flat = x.ravel().tolist()
    check_operation(function, [x], lambda x: np.array(flat.index(extreme(flat))))
    assert function(gg.constant(x), keepdims=True).shape == (1, 1, 1)
    check_operation(function, [np.array(2.5)], lambda x: np.array(0))


@pytest.mark.parametrize("dtype", ALL_FLOATS)
@pytest.mark.parametrize("name", SEARCHES)
def test_search_finds_the_first_nan(name, dtype):
    x = gg.cast(gg.constant(SPECIAL), dtype)
    assert gg.evaluate(SEARCHES[name][0](x)) == 1
    infinite = gg.cast(gg.constant([1.0, math.inf, -math.inf]), dtype)
    assert gg.evaluate(SEARCHES[name][0](infinite)) == (1 if name == "argmax" else 2)


@pytest.mark.parametrize("function", [gg.argmax, gg.argmin, gg.argsort])
def test_places_block_the_gradient(function):
    x = gg.placeholder("x", (3,))
    with pytest.raises(gg.GradientError, match="blocks the path"):
        gg.gradients(gg.sum(gg.cast(function(x), "float32")), [x])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(width=16), max_size=20), st.booleans())
def test_argsort_agrees_with_python_on_anything(values, descending):
    x = gg.constant(np.array(values, "float16"))
    got = gg.evaluate(gg.argsort(x, descending=descending)).tolist()
    assert got == ordered(values, descending)


def test_bad_inputs_are_refused():
    x = gg.placeholder("x", (2, 3))
    with pytest.raises(
        gg.ShapeError, match=r"top_k\(k=4.*axis 1 has 3 elements, not 4"
    ):
        gg.top_k(x, 4)
    with pytest.raises(gg.ShapeError, match=r"top_k\(k=-1.*a size cannot be negative"):
        gg.top_k(x, -1)
    with pytest.raises(gg.ShapeError, match=r"sort\(axis=2\): axis 2 is out of range"):
        gg.sort(x, 2)
    with pytest.raises(gg.ShapeError, match=r"argsort\(axis=0\): axis 0 is out of"):
        gg.argsort(gg.constant(1.0), 0)
    with pytest.raises(gg.ShapeError, match=r"argmax\(axis=-3\): axis -3 is out of"):
        gg.argmax(x, -3)
    with pytest.raises(gg.ShapeError, match="axis 1 is empty and has no argmin"):
        gg.argmin(gg.zeros((2, 0)), 1)


def test_more_than_there_are_is_an_error_when_the_size_is_known():
    x = gg.placeholder("x", ("n",))
    values, _ = gg.top_k(x, 3)
    assert values.shape == (3,)
    with pytest.raises(gg.InputError, match="elements of axis 0 asked for"):
        gg.evaluate(values, {x: [1.0, 2.0]})
    assert gg.evaluate(values, {x: [1.0, 2.0, 0.0]}).tolist() == [2, 1, 0]
