"""Variables made from sizes and numbers: dtypes, names, limits, errors."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphgpu as gg

DTYPES = (
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 "
    "float16 bfloat16 float32 float64"
).split()


def sized(function, n):
    """Return the value of a function of a vector that has n elements."""
    x = gg.placeholder("x", ("n",))
    return gg.evaluate(function(x), {x: np.zeros(n, "float32")})


# --- full and its kin


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), 3, (2, 3), (0, 2), [1, 1]])
def test_arrays_are_filled_in_every_dtype(shape, dtype):
    for value, result in (
        (0, gg.zeros(shape, dtype)),
        (1, gg.ones(shape, dtype)),
        (1.0, gg.full(shape, 1.0, dtype)),
    ):
        got = gg.evaluate(result)
        assert result.dtype == got.dtype == gg.cast(0, dtype).dtype
        assert got.shape == ((shape,) if shape == 3 else tuple(shape))
        assert (got == value).all()
    x = gg.placeholder("x", shape, dtype)
    for function, value in ((gg.zeros_like, 0), (gg.ones_like, 1)):
        assert function(x).type == x.type
        assert (gg.evaluate(function(x)) == value).all()
        assert function(x, "int16").dtype == "int16"
    assert gg.full_like(x, True).type == x.type
    assert gg.full_like(x, 0.5, "float64").dtype == "float64"


def test_full_takes_the_dtype_of_the_number():
    for value, dtype in (
        (True, "bool"),
        (2, "int64"),
        (0.5, "float32"),
        (np.float64(0.5), "float32"),
        (np.int8(3), "int64"),
        (np.array(2.0), "float32"),
    ):
        result = gg.full((2,), value)
        assert result.dtype == dtype
        assert gg.evaluate(result).tolist() == [value, value]
    for value in (math.inf, -math.inf, math.nan):
        np.testing.assert_array_equal(gg.evaluate(gg.full((1,), value)), [value])
    assert gg.zeros(2).dtype == gg.ones(2).dtype == "float32"


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (300, "uint8", "300 does not fit in uint8"),
        (-1, "uint64", "-1 does not fit in uint64"),
        (2.5, "int32", "2.5 is no int32"),
        (math.nan, "int32", "nan is no int32"),
        (math.inf, "int64", "inf is no int64"),
        (2, "bool", "2 is no bool"),
        ("a", None, "expected a number; use gg.broadcast_to"),
        ([1, 2], None, "expected a number"),
        (np.ones(2), None, "expected a number"),
        (1j, None, "expected a number"),
        (1, "float8", "dtype 'float8' is not supported"),
    ],
)
def test_full_refuses_what_its_dtype_does_not_hold(value, dtype, message):
    with pytest.raises(gg.DTypeError, match=rf"full\(shape=.*{message}.*created at "):
        gg.full((2,), value, dtype)


def test_full_refuses_variables_and_bad_shapes():
    with pytest.raises(gg.DTypeError, match=r"use gg\.broadcast_to for a variable"):
        gg.full((2,), gg.constant(1.0))
    with pytest.raises(gg.ShapeError, match="a size cannot be negative; got -1"):
        gg.zeros((2, -1))
    with pytest.raises(
        gg.ShapeError, match=r"a size must be an int or a name; got 0\.5"
    ):
        gg.ones(0.5)


def test_sizes_may_be_names():
    got = sized(lambda x: gg.full(("n", gg.dim("n") + 1), 2) * gg.ones(("n", 1)), 2)
    assert got.tolist() == [[2, 2, 2], [2, 2, 2]]
    with pytest.raises(gg.CompileError, match=r"has the sizes .*'m'.*no input gives"):
        gg.evaluate(gg.zeros("m"))


def test_what_is_made_from_nothing_has_no_gradient():
    x = gg.placeholder("x", (3,))
    with pytest.raises(gg.GradientError, match="does not depend on"):
        gg.gradients(gg.sum(gg.ones_like(x)), [x])


# --- arange

RANGES = [
    (5,),
    (0,),
    (-3,),
    (2, 8),
    (8, 2),
    (2, 9, 3),
    (9, 2, -3),
    (2, 9, -3),
    (0.5, 3),
    (0, 1, 0.1),
    (1, 0, -0.25),
    (2.0,),
    (np.int64(1), np.int64(4)),
    (np.float32(0.5), 2),
]


@pytest.mark.parametrize("arguments", RANGES, ids=str)
def test_arange_is_that_of_numpy(arguments):
    got = gg.evaluate(gg.arange(*arguments))
    expected = np.arange(*arguments)
    assert got.dtype == ("int64" if expected.dtype.kind == "i" else "float32")
    np.testing.assert_allclose(got, expected, rtol=1e-7, atol=1e-9)
    assert got.shape == expected.shape


@pytest.mark.parametrize("dtype", DTYPES[1:])
def test_arange_takes_every_dtype_of_numbers(dtype):
    got = gg.evaluate(gg.arange(3, dtype=dtype))
    assert got.dtype == gg.cast(0, dtype).dtype
    assert got.tolist() == [0, 1, 2]


def test_arange_takes_names_at_both_ends_and_any_step():
    n = gg.dim("n")
    for size in (0, 1, 4, 7):
        for arguments in (
            ("n",),
            (1, "n"),
            (n, 2 * n + 1, 2),
            (n - 1, -1, -1),
            ("n", 0, -2),
            (0, "n", 3),
        ):
            numbers = [
                size
                if isinstance(a, str)
                else a
                if isinstance(a, int)
                else a.evaluate({"n": size})
                for a in arguments
            ]
            got = sized(lambda x, a=arguments: gg.arange(*a), size)
            assert got.tolist() == list(range(*numbers))
    assert gg.arange("n").shape == (n,)
    assert gg.arange("n", dtype="float32").dtype == "float32"


@settings(max_examples=60, deadline=None)
@given(
    st.integers(-20, 20),
    st.integers(-20, 20),
    st.integers(-5, 5).filter(bool),
)
def test_arange_of_integers_is_range(start, stop, step):
    assert gg.evaluate(gg.arange(start, stop, step)).tolist() == list(
        range(start, stop, step)
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 2, 0), "the step cannot be 0"),
        ((0.5, "n"), "a named size goes with integers only"),
        (("n", 9, 0.5), "a named size goes with integers only"),
        ((math.inf,), "expected a finite number; got inf"),
        ((0, math.nan), "expected a finite number; got nan"),
        ((True,), "expected a finite number; got True"),
        (([1],), r"expected a finite number; got \[1\]"),
        (("two words",), "a dimension's name must be an identifier"),
    ],
)
def test_arange_refuses_what_it_cannot_count(arguments, message):
    with pytest.raises(gg.ShapeError, match=rf"arange\(.*{message}.*created at "):
        gg.arange(*arguments)
    with pytest.raises(gg.ShapeError, match="expected a finite number; got <x"):
        gg.arange(gg.placeholder("x", ()))


def test_a_long_range_is_not_made_before_it_is_needed():
    assert gg.arange(10**12).shape == (10**12,)


# --- eye


@pytest.mark.parametrize("offset", [-3, -1, 0, 1, 2, 9])
@pytest.mark.parametrize("shape", [(3,), (2, 4), (4, 2), (0, 3), (1, 1), (3, 0)])
def test_eye_is_that_of_numpy(shape, offset):
    got = gg.evaluate(gg.eye(*shape, offset=offset))
    np.testing.assert_array_equal(
        got, np.eye(*shape, k=offset, dtype="float32"), strict=True
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_eye_takes_every_dtype(dtype):
    got = gg.evaluate(gg.eye(2, dtype=dtype))
    assert got.dtype == gg.cast(0, dtype).dtype
    assert got.tolist() == [[1, 0], [0, 1]]


def test_eye_takes_names():
    n = gg.dim("n")
    assert sized(lambda x: gg.eye("n"), 2).tolist() == [[1, 0], [0, 1]]
    assert sized(lambda x: gg.eye(n, n + 1, 1), 2).tolist() == [[0, 1, 0], [0, 0, 1]]
    assert gg.eye("n").shape == (n, n)


def test_eye_refuses_what_is_no_size():
    with pytest.raises(gg.ShapeError, match=r"eye\(rows=-1, columns=None\): a size ca"):
        gg.eye(-1)
    with pytest.raises(gg.ShapeError, match=r"expected an int as the offset; got 0\.5"):
        gg.eye(2, offset=0.5)


# --- size


def test_size_reads_an_axis():
    x = gg.placeholder("x", ("n", 3))
    got = gg.evaluate(gg.stack([gg.size(x, 0), gg.size(x, -1)]), {x: [[1, 2, 3]] * 5})
    assert got.tolist() == [5, 3]
    assert gg.size(x, 0).dtype == "int64"
    with pytest.raises(gg.ShapeError, match=r"size\(axis=2\): axis 2 is out of range"):
        gg.size(x, 2)
