"""Running sums and products: from either end, exclusive, with zeros among factors."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import graphgpu as gg
from graphgpu.graph import apply
from graphgpu.ops.cumulative import StateBefore
from graphgpu.testing import check_operation

ALL_FLOATS = ("float64", "float32", "float16", "bfloat16")
X = np.random.default_rng(3).standard_normal((3, 4, 2))
ZEROS = X.copy()
ZEROS[0, 1] = ZEROS[1, 2:, 0] = ZEROS[2, 0, 1] = 0
FLAGS = list(itertools.product((False, True), repeat=2))


def running(x, axis, exclusive, reverse, combine, start):
    """Accumulate along an axis with Python's itertools."""
    if axis is None:
        x, axis = x.reshape(-1), 0
    lines = np.moveaxis(x, axis, -1)
    result = np.zeros(lines.shape)
    for place in np.ndindex(lines.shape[:-1]):
        values = lines[place].tolist()[:: -1 if reverse else 1]
        sums = list(itertools.accumulate(values, combine, initial=start))
        sums = sums[:-1] if exclusive else sums[1:]
        result[place] = sums[:: -1 if reverse else 1]
    return np.moveaxis(result, -1, axis)


@pytest.mark.parametrize(("exclusive", "reverse"), FLAGS)
@pytest.mark.parametrize("axis", [0, 1, -1, None])
def test_cumsum_is_that_of_python(axis, exclusive, reverse):
    def reference(x):
        return running(x, axis, exclusive, reverse, lambda a, b: a + b, 0.0)

    def function(x):
        return gg.cumsum(x, axis, exclusive, reverse)

    check_operation(function, [X], reference, dtypes=ALL_FLOATS, tolerance=3)
    check_operation(function, [X[:1, :1, :1]], reference)


@pytest.mark.parametrize(("exclusive", "reverse"), FLAGS)
@pytest.mark.parametrize("axis", [0, 1, -1, None])
def test_cumprod_is_that_of_python_and_zeros_do_no_harm(axis, exclusive, reverse):
    def reference(x):
        return running(x, axis, exclusive, reverse, lambda a, b: a * b, 1.0)

    def function(x):
        return gg.cumprod(x, axis, exclusive, reverse)

    check_operation(
        function, [ZEROS], reference, dtypes=ALL_FLOATS, order=3, tolerance=2
    )
    check_operation(function, [X], reference, order=2)
    check_operation(function, [X[:1, :1, :1]], reference)


@pytest.mark.parametrize("function", [gg.cumsum, gg.cumprod])
def test_nothing_accumulates_to_nothing(function):
    for shape in ((0, 3), (3, 0)):
        for exclusive, reverse in FLAGS:
            check_operation(
                lambda x, e=exclusive, r=reverse: function(x, 0, e, r),
                [np.zeros(shape)],
                lambda x: x,
            )


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int64", "uint64"])
def test_integers_accumulate_in_64_bits(dtype):
    values = [1, 0, 1] if dtype == "bool" else [100, 100, 3]
    x = gg.constant(np.array(values, dtype))
    for function, combine in (
        (gg.cumsum, lambda a, b: a + b),
        (gg.cumprod, lambda a, b: a * b),
    ):
        got = gg.evaluate(function(x))
        assert got.dtype == ("uint64" if dtype.startswith("u") else "int64")
        assert got.tolist() == list(itertools.accumulate(values, combine))
        assert gg.evaluate(function(x, exclusive=True)).dtype == got.dtype


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_accumulate_in_float32(dtype):
    ones = gg.ones((5000,), dtype)
    assert float(gg.evaluate(gg.cumsum(ones)[-1])) == pytest.approx(5000, rel=0.004)
    x = gg.cast(gg.constant([300.0, 300.0, 1e-4]), dtype)
    assert float(gg.evaluate(gg.cumprod(x)[-1])) == pytest.approx(9, rel=0.02)


def test_nan_and_infinity_spread_forward_only():
    x = gg.constant([1.0, np.inf, -np.inf, 2.0])
    np.testing.assert_array_equal(gg.evaluate(gg.cumsum(x)), [1, np.inf] + [np.nan] * 2)
    np.testing.assert_array_equal(
        gg.evaluate(gg.cumsum(x, reverse=True)), [np.nan, np.nan, -np.inf, 2]
    )
    np.testing.assert_array_equal(
        gg.evaluate(gg.cumprod(gg.constant([2.0, np.nan, 0.0]), exclusive=True)),
        [1, 2, np.nan],
    )


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("axis", [0, 1])
def test_linear_recurrence_steps_along_the_axis(axis, reverse):
    a, b = ZEROS[..., 0], X[..., 1]

    def reference(a, b):
        a, b = np.moveaxis(a, axis, 0), np.moveaxis(b, axis, 0)
        result = np.zeros(a.shape)
        steps = range(len(a) - 1)
        for i in reversed(steps) if reverse else steps:
            here, there = (i + 1, i) if reverse else (i, i + 1)
            result[there] = a[here] * result[here] + b[here]
        return np.moveaxis(result, 0, axis)

    check_operation(
        lambda a, b: apply(StateBefore(axis, reverse), a, b),
        [a, b],
        reference,
        dtypes=ALL_FLOATS,
        order=3,
    )


@settings(max_examples=30, deadline=None)
@given(
    hnp.arrays("int64", hnp.array_shapes(max_dims=3), elements=st.integers(-9, 9)),
    st.booleans(),
)
def test_sums_from_both_ends_make_the_total(x, exclusive):
    value = gg.constant(x)
    ends = [gg.cumsum(value, 0, e, r) for e, r in ((exclusive, 0), (not exclusive, 1))]
    total = np.broadcast_to(x.sum(0), x.shape)
    np.testing.assert_array_equal(gg.evaluate(ends[0] + ends[1]), total)


def test_bad_inputs_are_refused():
    x = gg.placeholder("x", (2, 3))
    with pytest.raises(
        gg.ShapeError, match=r"cumsum\(axis=2\): axis 2 is out of range"
    ):
        gg.cumsum(x, 2)
    with pytest.raises(gg.ShapeError, match=r"cumprod\(axis=-3\): axis -3 is out of"):
        gg.cumprod(x, -3)
    with pytest.raises(gg.ShapeError, match=r"an axis must be an int; got 0\.5"):
        gg.cumsum(x, 0.5)


def test_the_gradient_of_a_sum_of_many_sums_is_how_often_each_counts():
    x = gg.placeholder("x", (4,))
    (dx,) = gg.gradients(gg.sum(gg.cumsum(x)), [x])
    assert gg.evaluate(dx, {x: np.zeros(4, "float32")}).tolist() == [4, 3, 2, 1]
