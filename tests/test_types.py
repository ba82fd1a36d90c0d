"""Types, shapes, broadcasting and guards."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from graphgpu.dims import Dim, dim
from graphgpu.dtypes import dtype
from graphgpu.errors import ShapeError
from graphgpu.types import (
    Guard,
    Guards,
    TensorType,
    TupleType,
    broadcast,
    make_shape,
    normalize_axes,
    normalize_axis,
)

N, M = dim("n"), dim("m")
FLOAT32 = dtype("float32")
SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)


# --- types


def test_types_print_as_they_are_written_in_messages():
    assert str(TensorType(FLOAT32, (N, 3, 2 * M + 1))) == "float32[n,3,2*m + 1]"
    assert str(TensorType(dtype("bfloat16"), ())) == "bfloat16[]"
    pair = TupleType((TensorType(FLOAT32, (3,)), TensorType(dtype("int64"), ())))
    assert str(pair) == "(float32[3], int64[])"


def test_types_know_their_sizes():
    type_ = TensorType(FLOAT32, (N, 3, N // 2))
    assert (type_.ndim, type_.size) == (3, 3 * N * (N // 2))
    assert not type_.is_static
    assert type_.symbols() == {"n"}
    fixed = type_.at({"n": 5})
    assert fixed == TensorType(FLOAT32, (5, 3, 2))
    assert fixed.is_static
    assert fixed.at({}) is fixed
    assert TupleType((type_, fixed)).at({"n": 5}) == TupleType((fixed, fixed))
    with pytest.raises(ShapeError, match="size 'n' is not given"):
        type_.at({"m": 5})


def test_types_compare_and_hash_by_value():
    assert TensorType(FLOAT32, (N + N,)) == TensorType(dtype("float32"), (2 * N,))
    assert len({TensorType(FLOAT32, (N,)), TensorType(FLOAT32, (dim("n"),))}) == 1
    assert TensorType(FLOAT32, (N,)) != TensorType(FLOAT32, (M,))


# --- shapes


def test_shapes_are_made_of_ints_names_and_expressions():
    assert make_shape(("n", 3, N + 1)) == (N, 3, N + 1)
    assert make_shape("n") == (N,)
    assert make_shape(N * 2) == (2 * N,)
    assert make_shape(()) == ()
    for number in (5, np.int64(5), np.uint8(5)):
        assert make_shape(number) == (5,)
        assert make_shape([number, 0]) == (5, 0)
        assert type(make_shape(number)[0]) is int


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((-1,), "a size cannot be negative; got -1"),
        ((2.0,), "a size must be an int or a name; got 2.0"),
        ((True,), "a size must be an int or a name; got True"),
        ((None,), "a size must be an int or a name; got None"),
        (("2n",), "must be an identifier such as 'batch'; got '2n'"),
        ("", "must be an identifier"),
    ],
)
def test_other_shapes_are_refused(shape, message):
    with pytest.raises(ShapeError, match=message):
        make_shape(shape)


# --- axes


@given(st.integers(-6, 6), st.integers(0, 4))
def test_an_axis_counts_from_either_end(axis, ndim):
    if -ndim <= axis < ndim:
        assert normalize_axis(axis, ndim) == range(ndim)[axis]
        assert normalize_axis(np.int32(axis), ndim) == range(ndim)[axis]
    else:
        with pytest.raises(ShapeError, match=f"axis {axis} is out of range for an a"):
            normalize_axis(axis, ndim)


@pytest.mark.parametrize("bad", [1.0, True, "0", None])
def test_an_axis_is_an_int(bad):
    with pytest.raises(ShapeError, match="an axis must be an int"):
        normalize_axis(bad, 3)


def test_axes_come_out_sorted_and_distinct():
    assert normalize_axes(None, 3) == (0, 1, 2)
    assert normalize_axes(-1, 3) == normalize_axes(np.int64(2), 3) == (2,)
    assert normalize_axes((2, 0), 3) == normalize_axes([-1, -3], 3) == (0, 2)
    assert normalize_axes((), 3) == ()
    with pytest.raises(ShapeError, match=r"axes \(0, -3\) name an axis twice"):
        normalize_axes((0, -3), 3)
    with pytest.raises(ShapeError, match="axis 3 is out of range for an array of 3 ax"):
        normalize_axes((0, 3), 3)
    with pytest.raises(ShapeError, match=r"an axis must be an int; got 1\.0"):
        normalize_axes(1.0, 3)
    with pytest.raises(ShapeError, match="an array of 1 axis"):
        normalize_axes(1, 1)


# --- broadcasting


@settings(max_examples=300, deadline=None)
@given(st.lists(SHAPES, min_size=1, max_size=3))
def test_known_shapes_broadcast_as_in_numpy(shapes):
    try:
        expected = np.broadcast_shapes(*shapes)
    except ValueError:
        with pytest.raises(
            ShapeError, match=r"broadcast along axis -[1-4]: expected eq"
        ):
            broadcast(Guards(), *shapes)
        return
    guards = Guards()
    assert broadcast(guards, *shapes) == expected
    assert not guards


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from([1, 2, 3, N, M, 2 * N]), max_size=3).map(tuple),
        min_size=2,
        max_size=3,
    ),
    st.integers(2, 4),
    st.integers(2, 4),
)
def test_where_the_guards_hold_named_shapes_broadcast_as_in_numpy(shapes, n, m):
    guards = Guards()
    try:
        result = broadcast(guards, *shapes)
    except ShapeError:
        assume(False)
    sizes = {"n": n, "m": m}
    concrete = [TensorType(FLOAT32, s).at(sizes).shape for s in shapes]
    found = TensorType(FLOAT32, result).at(sizes).shape
    if all(g.holds(sizes) for g in guards):
        assert found == np.broadcast_shapes(*concrete)
    else:
        with pytest.raises(ValueError, match="mismatch"):
            np.broadcast_shapes(*concrete)


def test_a_named_size_never_stands_for_a_broadcast_one():
    guards = Guards()
    assert broadcast(guards, (N,), (3,)) == (3,)
    assert [(g.left, g.right) for g in guards] == [(N, 3)]
    assert not guards[0].holds({"n": 1})
    assert broadcast(Guards(), (1, N), (M, 1)) == (M, N)
    assert broadcast(Guards(), (), (N,)) == (N,)


def test_sizes_that_surely_differ_do_not_broadcast():
    with pytest.raises(
        ShapeError, match=r"axis -1: expected equal sizes, got n and n +"
    ):
        broadcast(Guards(), (N,), (N + 1,))


# --- guards


def test_equal_sizes_need_no_guard():
    guards = Guards()
    assert guards.equal(3, 3, "x") == 3
    assert guards.equal(N + N, 2 * N, "x") == 2 * N
    assert not guards


def test_what_cannot_be_decided_becomes_a_guard_and_the_known_size_wins():
    guards = Guards()
    assert guards.equal(N, 3, "rows") == 3
    assert guards.equal(3, N, "rows") == 3
    assert guards.equal(N, M, "columns") == N
    assert guards == [
        Guard(N, 3, "rows"),
        Guard(3, N, "rows"),
        Guard(N, M, "columns"),
    ]
    assert guards[2].holds({"n": 4, "m": 4})
    assert not guards[2].holds({"n": 4, "m": 5})


def test_sizes_that_differ_are_an_error_that_says_of_what():
    with pytest.raises(
        ShapeError, match="axis C of x: expected equal sizes, got 3 and 5"
    ):
        Guards().equal(3, 5, "axis C of x")


@given(st.integers(0, 30), st.integers(1, 7))
def test_divisible_agrees_with_the_remainder(size, divisor):
    guards = Guards()
    quotient = guards.divisible(N, divisor, "channels")
    holds = all(g.holds({"n": size}) for g in guards)
    assert holds == (size % divisor == 0)
    if holds:
        found = (
            quotient.evaluate({"n": size}) if isinstance(quotient, Dim) else quotient
        )
        assert found == size // divisor
        assert Guards().divisible(size, divisor, "channels") == size // divisor
    else:
        with pytest.raises(ShapeError, match=f"{size} is not a multiple of {divisor}"):
            Guards().divisible(size, divisor, "channels")


def test_divisible_knows_multiples():
    guards = Guards()
    assert guards.divisible(6 * N, 3, "channels") == 2 * N
    assert guards.divisible(N * M, M, "channels") == N
    assert not guards
    with pytest.raises(ShapeError, match="4 is not a multiple of 0"):
        guards.divisible(4, 0, "channels")
