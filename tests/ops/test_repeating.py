"""Repeating, tiling, reversing and rotating."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.testing import check_operation

ALL_FLOATS = ("float64", "float32", "float16", "bfloat16")
X = np.random.default_rng(7).standard_normal((2, 3, 4))
CASES = {
    "repeat": (lambda m, x: m.repeat(x, 2, 1)),
    "repeat never": (lambda m, x: m.repeat(x, 0, -1)),
    "repeat of all": (lambda m, x: m.repeat(x, 3)),
    "repeat each": (lambda m, x: m.repeat(x, [2, 0, 1], 1)),
    "repeat each the same": (lambda m, x: m.repeat(x, np.array([2, 2]), 0)),
    "tile": (lambda m, x: m.tile(x, (2, 1, 3))),
    "tile the last": (lambda m, x: m.tile(x, 2)),
    "tile to more axes": (lambda m, x: m.tile(x, (2, 1, 1, 2))),
    "tile never": (lambda m, x: m.tile(x, (0, 1))),
    "flip": (lambda m, x: m.flip(x)),
    "flip one": (lambda m, x: m.flip(x, -1)),
    "flip two": (lambda m, x: m.flip(x, (0, 2))),
    "roll": (lambda m, x: m.roll(x, 5)),
    "roll back": (lambda m, x: m.roll(x, -2, 1)),
    "roll two": (lambda m, x: m.roll(x, (1, 2), (0, -1))),
    "roll all by one": (lambda m, x: m.roll(x, 1, (0, 1))),
    "roll the same twice": (lambda m, x: m.roll(x, (1, 1), (2, 2))),
}


@pytest.mark.parametrize("name", CASES)
def test_arrays_are_rearranged_as_numpy_does(name):
    case = CASES[name]

    def function(x):
        return case(gg, x)

    def reference(x):
        return case(np, x)

    check_operation(function, [X], reference, dtypes=ALL_FLOATS)
    check_operation(function, [X[:, :, :0]], reference)
    if "each" not in name:
        check_operation(function, [X[:1, :1, :1]], reference)


def test_scalars_can_be_repeated_and_rotated():
    one = np.array(3.0)
    check_operation(lambda x: gg.repeat(x, 3), [one], lambda x: np.repeat(x, 3))
    check_operation(lambda x: gg.tile(x, (2, 2)), [one], lambda x: np.tile(x, (2, 2)))
    check_operation(lambda x: gg.roll(x, 1), [one], lambda x: x)
    check_operation(gg.flip, [one], lambda x: x)


def test_numbers_of_repetitions_may_be_named():
    x = gg.placeholder("x", ("n", 2))
    assert str(gg.tile(x, ("n", 2)).type) == "float32[n*n,4]"
    assert str(gg.repeat(x, x.shape[0], 1).type) == "float32[n,2*n]"


def test_a_list_of_repetitions_fixes_a_named_size():
    x = gg.placeholder("x", ("n",))
    program = gg.compile([x], gg.repeat(x, [1, 2], 0))
    np.testing.assert_array_equal(program([3.0, 4.0]), [3, 4, 4])
    with pytest.raises(gg.InputError, match="for whose elements 2 numbers are given"):
        program([1.0, 2.0, 3.0])


def test_integers_and_bools_are_rearranged_too():
    for dtype in ("bool", "int8"):
        x = X.astype(dtype)
        for case in CASES.values():
            got = gg.evaluate(case(gg, gg.constant(x)))
            np.testing.assert_array_equal(got, case(np, x))
            assert got.dtype == dtype


x = gg.placeholder("x", (2, 3))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: gg.repeat(x, -1), r"repeat\(-1, axis=None\): .* cannot be negative"),
        (lambda: gg.repeat(x, 1.5), "a size must be an int or a name; got 1.5"),
        (lambda: gg.repeat(x, [1, 2], 1), "axis 1, for whose elements 2 numbers"),
        (lambda: gg.repeat(x, ["n", 1], 0), "repetitions that are known"),
        (lambda: gg.repeat(x, 2, 2), "axis 2 is out of range"),
        (lambda: gg.tile(x, (1, -1)), r"tile\(\(1, -1\)\): .* cannot be negative"),
        (lambda: gg.flip(x, 2), r"flip\(axis=2\): axis 2 is out of range"),
        (lambda: gg.flip(x, (0, 0)), "name an axis twice"),
        (lambda: gg.roll(x, 1, 2), r"roll\(1, axis=2\): axis 2 is out of range"),
        (lambda: gg.roll(x, (1, 2, 3), (0, 1)), "expected a shift for each of 2 axes"),
        (lambda: gg.roll(x, 0.5, 0), "a shift must be an int; got 0.5"),
    ],
)
def test_a_wrong_argument_is_refused_with_its_reason(build, message):
    with pytest.raises(gg.GraphError, match=f"{message}.*test_repeating.py"):
        build()
