"""Comparisons, logic, and the choice by a condition with its exact zeros."""

import itertools
import math
import operator

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.testing import assert_close, check_operation

ALL_FLOATS = ("float64", "float32", "float16", "bfloat16")
NAMES = ("bool", "int8", "int64", "uint8", "uint64", *ALL_FLOATS)
COMPARISONS = {
    "equal": operator.eq,
    "not_equal": operator.ne,
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
}
X = np.array([[0.5, -1.0, 2.0], [0.0, -0.0, -3.5]])
Y = np.array([0.5, 1.0, -3.5])


@pytest.mark.parametrize("name", COMPARISONS)
def test_comparison_is_that_of_python(name):
    reference = np.vectorize(COMPARISONS[name], "?")
    function = getattr(gg, name)
    check_operation(function, [X, Y], reference, dtypes=ALL_FLOATS)
    check_operation(function, [X[:, :1], Y[:1]], reference)
    check_operation(function, [X[:0], Y], COMPARISONS[name])
    check_operation(function, [X[0, 0], Y[0]], reference)


@pytest.mark.parametrize("dtype", NAMES)
@pytest.mark.parametrize("name", COMPARISONS)
def test_every_dtype_can_be_compared(name, dtype):
    numbers = [0, 1] if dtype == "bool" else [0, 1, 2, 3]
    pairs = list(itertools.product(numbers, numbers))
    left, right = (
        gg.cast(gg.constant(column), dtype) for column in zip(*pairs, strict=True)
    )
    got = gg.evaluate(getattr(gg, name)(left, right))
    assert got.dtype == bool
    assert got.tolist() == [COMPARISONS[name](x, y) for x, y in pairs]


def test_operators_compare_except_for_equality_which_is_identity():
    x = gg.constant([1.0, 2.0])
    assert gg.evaluate(x < 2).tolist() == [True, False]
    assert gg.evaluate(x <= 1).tolist() == [True, False]
    assert gg.evaluate(x > 1).tolist() == [False, True]
    assert gg.evaluate(2 <= x).tolist() == [False, True]  # noqa: SIM300
    assert (x == gg.constant([1.0, 2.0])) is False
    with pytest.raises(gg.GraphError, match=r"no truth value .* use gg\.where"):
        bool(x < 2)


def test_weak_numbers_are_compared_in_the_dtype_of_their_variable():
    x = gg.constant(np.array([0.1, 0.2], "float32"))
    assert gg.evaluate(gg.equal(x, 0.1)).tolist() == [True, False]
    n = gg.constant([1, 2])
    assert gg.evaluate(gg.less(n, 1.5)).tolist() == [True, False]


LOGIC = {
    "logical_and": lambda x, y: bool(x) and bool(y),
    "logical_or": lambda x, y: bool(x) or bool(y),
    "logical_xor": lambda x, y: bool(x) != bool(y),
}


@pytest.mark.parametrize("dtype", NAMES)
@pytest.mark.parametrize("name", LOGIC)
def test_logic_takes_numbers_but_zero_for_true(name, dtype):
    pairs = list(itertools.product([0, 1], [0, 1]))
    left, right = (
        gg.cast(gg.constant(column), dtype) for column in zip(*pairs, strict=True)
    )
    got = gg.evaluate(getattr(gg, name)(left, right))
    assert got.tolist() == [LOGIC[name](x, y) for x, y in pairs]
    assert gg.evaluate(gg.logical_not(left)).tolist() == [not x for x, _ in pairs]


def test_logic_has_operators():
    x, y = gg.constant([True, True, False]), gg.constant([True, False, False])
    assert gg.evaluate(x & y).tolist() == [True, False, False]
    assert gg.evaluate(x | y).tolist() == [True, True, False]
    assert gg.evaluate(x ^ y).tolist() == [False, True, False]
    assert gg.evaluate(~x).tolist() == [False, False, True]
    assert gg.evaluate(x & True).tolist() == [True, True, False]
    assert gg.evaluate(gg.logical_not(gg.constant(math.nan))) == np.False_


@pytest.mark.parametrize("name", ["isnan", "isinf", "isfinite"])
def test_tests_of_finiteness_take_every_dtype(name):
    reference = np.vectorize(getattr(math, name), "?")
    values = np.array([[math.nan, math.inf], [-math.inf, 1.0]])
    check_operation(getattr(gg, name), [values], reference, dtypes=ALL_FLOATS)
    check_operation(getattr(gg, name), [values[:0]], getattr(np, name))
    integers = gg.evaluate(getattr(gg, name)(gg.constant([1, 2])))
    assert integers.tolist() == [name == "isfinite"] * 2
    assert getattr(gg, name)(gg.constant(1.0)).operation.kind() == name


def test_comparisons_block_the_gradient_and_say_so():
    x = gg.placeholder("x", (3,))
    y = gg.sum(gg.cast(gg.greater(x, 0), "float32"))
    with pytest.raises(gg.GradientError, match=r"greater\(\).*blocks the path"):
        gg.gradients(y, [x])


# --- where


def test_where_chooses_and_sends_the_gradient_to_the_choice():
    condition = np.array([[True, False, True], [False, False, True]])

    def reference(x, y):
        every = np.broadcast_arrays(condition, x, y)
        triples = zip(*(a.ravel() for a in every), strict=True)
        return np.array([a if c else b for c, a, b in triples]).reshape(2, 3)

    def function(x, y):
        return gg.where(gg.constant(condition), x, y)

    check_operation(
        lambda x, y: function(x, y) ** 2,
        [X, Y],
        lambda x, y: reference(x, y) ** 2,
        dtypes=ALL_FLOATS,
        order=3,
    )
    check_operation(function, [X[:, :1], Y], reference)
    check_operation(function, [X[0, 0], Y[0]], reference)


def test_all_three_of_where_broadcast():
    x = gg.where(gg.placeholder("c", ("n", 1), "bool"), gg.zeros((3,)), 1)
    assert str(x.type) == "float32[n,3]"
    check_operation(
        lambda c, x: gg.where(c, x, 0),
        [np.array([[True], [False]]), X[:, :2]],
        lambda c, x: x * [[1], [0]],
    )
    check_operation(
        lambda c, x: gg.where(c, x, 2.5),
        [np.zeros((0, 1), bool), Y],
        lambda c, x: np.zeros((0, 3)),
    )


@pytest.mark.parametrize("dtype", ALL_FLOATS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_was_not_chosen_has_gradient_zero_whatever_it_is(value, dtype):
    x, y = (gg.placeholder(name, (2,), dtype) for name in "xy")
    condition = gg.constant([True, False])
    chosen = gg.where(condition, x, y)
    dx, dy = gg.gradients(gg.sum(chosen * chosen), [x, y])
    inputs = [[2.0, value], [value, 3.0]]
    arrays = [np.array(v).astype(x.dtype) for v in inputs]
    got = gg.compile([x, y], [chosen, dx, dy], device="cpu")(*arrays)
    for array, expected in zip(got, ([2, 3], [4, 0], [0, 6]), strict=True):
        assert array.astype(float).tolist() == expected
    infinite = gg.where(condition, gg.sqrt(x), y)
    dx, dy = gg.gradients(gg.sum(infinite), [x, y])
    zeros = [np.zeros(2).astype(x.dtype)] * 2
    got = gg.compile([x, y], [dx, dy], device="cpu")(*zeros)
    assert got[0][0] == math.inf
    assert got[1].astype(float).tolist() == [0, 1]


@pytest.mark.parametrize("dtype", NAMES)
def test_where_keeps_every_dtype(dtype):
    x, y = gg.cast(gg.constant([1, 1]), dtype), gg.cast(gg.constant([0, 0]), dtype)
    got = gg.evaluate(gg.where(gg.constant([False, True]), x, y))
    assert got.dtype == x.dtype
    assert got.tolist() == [0, 1]


def test_where_promotes_and_takes_any_condition():
    got = gg.where([0, 2.0, math.nan], gg.constant([1, 2, 3]), 0.5)
    assert_close(gg.evaluate(got), np.array([0.5, 2, 3]))
    assert got.dtype == "float32"
    assert gg.where(True, gg.constant(1, "int8"), 2).dtype == "int8"


def test_bad_inputs_are_refused():
    with pytest.raises(gg.ShapeError, match="broadcast along axis -1"):
        gg.where(gg.zeros((2,), "bool"), gg.zeros((3,)), 0)
    with pytest.raises(gg.DTypeError, match="where: expected numbers; got 'a'"):
        gg.where(gg.zeros((2,), "bool"), "a", 0)
    with pytest.raises(gg.DTypeError, match="where: expected numbers; got 'a'"):
        gg.where("a", 1, 0)
    with pytest.raises(gg.ShapeError, match=r"equal\(\): broadcast along axis -1"):
        gg.equal(gg.zeros((2,)), gg.zeros((3,)))
