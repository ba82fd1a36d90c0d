"""Padding in every mode."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphgpu as gg
from graphgpu.testing import check_operation

ALL_FLOATS = ("float64", "float32", "float16", "bfloat16")
X = np.random.default_rng(8).standard_normal((2, 3, 4))
MODES = ["constant", "edge", "reflect", "symmetric", "wrap"]
WIDTHS = [2, (1, 3), [(0, 1), (2, 0), (3, 3)], [(1,), (0,), (2,)], [[5, 4]], 0]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_padding_is_that_of_numpy(widths, mode):
    def reference(x):
        return np.pad(x, widths, mode)

    check_operation(lambda x: gg.pad(x, widths, mode), [X], reference)
    one = X[:1, :1, :1]
    check_operation(lambda x: gg.pad(x, widths, mode), [one], reference)


@pytest.mark.parametrize("mode", MODES)
def test_every_dtype_can_be_padded(mode):
    check_operation(
        lambda x: gg.pad(x, 1, mode),
        [X],
        lambda x: np.pad(x, 1, mode),
        dtypes=ALL_FLOATS,
    )
    for dtype in ("bool", "int8", "uint64"):
        x = (X > 0).astype(dtype)
        got = gg.evaluate(gg.pad(gg.constant(x), 1, mode))
        np.testing.assert_array_equal(got, np.pad(x, 1, mode))
        assert got.dtype == dtype


@pytest.mark.parametrize("value", [1.5, -3, np.float32(2), np.nan, -np.inf])
def test_constant_padding_takes_any_number(value):
    check_operation(
        lambda x: gg.pad(x, (1, 2), value=value),
        [X],
        lambda x: np.pad(x, (1, 2), constant_values=value),
        order=1 if np.isfinite(value) else 0,
    )
    empty = X[:, :0]
    check_operation(
        lambda x: gg.pad(x, (1, 2), value=value),
        [empty],
        lambda x: np.pad(x, (1, 2), constant_values=value),
        order=0,
    )


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 5), st.integers(0, 13), st.integers(0, 13), st.sampled_from(MODES)
)
def test_widths_may_exceed_the_axis(n, before, after, mode):
    x = gg.placeholder("x", ("n",), "int64")
    values = np.arange(n) + 1
    got = gg.evaluate(gg.pad(x, (before, after), mode), {x: values})
    np.testing.assert_array_equal(got, np.pad(values, (before, after), mode))


def test_named_sizes_and_widths_add_up():
    x = gg.placeholder("x", ("n", 3))
    assert str(gg.pad(x, ((1, 2), (0, 1))).type) == "float32[n + 3,4]"
    assert str(gg.pad(x, (("n", 0), (0, 0)), "wrap").type) == "float32[2*n,3]"


def test_nothing_to_pad_gives_the_same_variable():
    x = gg.placeholder("x", ("n", 3))
    assert all(gg.pad(x, 0, mode) is x for mode in MODES)


x = gg.placeholder("x", (2, 3))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: gg.pad(x, -1), r"pad\(-1, mode='constant'\): .* cannot be negative"),
        (lambda: gg.pad(x, [(1, 2)] * 3), "a pair of widths for each of 2 axes"),
        (lambda: gg.pad(x, (1, 2, 3)), "a pair of widths for each of 2 axes"),
        (lambda: gg.pad(x, 1.5), "got 1.5"),
        (lambda: gg.pad(x, 1, "mirror"), "expected a mode of .*; got 'mirror'"),
        (lambda: gg.pad(gg.zeros((0,)), 1, "edge"), "empty axis has no element"),
        (lambda: gg.pad(gg.zeros(2, "int8"), 1, value=0.5), "dtype int8; got 0.5"),
        (lambda: gg.pad(gg.zeros(2, "int8"), 1, value=300), "dtype int8; got 300"),
        (lambda: gg.pad(x, 1, value=[1.0]), r"dtype float32; got \[1.0\]"),
    ],
)
def test_a_wrong_argument_is_refused_with_its_reason(build, message):
    with pytest.raises(gg.GraphError, match=f"{message}.*test_padding.py"):
        build()


def test_an_empty_axis_that_was_named_is_found_while_running():
    y = gg.placeholder("y", ("n",))
    with pytest.raises(gg.ComputeError, match="empty axis has no element to pad it"):
        gg.evaluate(gg.pad(y, 1, "reflect"), {y: []})
    empty = gg.evaluate(gg.pad(y, (0, 0), "reflect"), {y: []})
    assert empty.shape == (0,)
