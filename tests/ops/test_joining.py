"""Joining arrays and cutting them apart."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.testing import check_operation

ALL_FLOATS = ("float64", "float32", "float16", "bfloat16")
RANDOM = np.random.default_rng(6)
X = RANDOM.standard_normal((2, 3, 4))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concat_joins_along_an_axis(axis):
    shape = list(X.shape)
    shape[axis] = 5
    y = RANDOM.standard_normal(shape)
    check_operation(
        lambda x, y: gg.concat([x, y, x], axis),
        [X, y],
        lambda x, y: np.concatenate([x, y, x], axis),
        dtypes=ALL_FLOATS,
    )
    empty = np.take(X, [], axis)
    check_operation(lambda x, y: gg.concat([y, x, y], axis), [X, empty], lambda x, y: x)


def test_concat_of_all_flattens():
    check_operation(
        lambda x, y: gg.concat([x, y], axis=None),
        [X, X[0]],
        lambda x, y: np.concatenate([x, y], axis=None),
    )


def test_sizes_that_are_named_add_up():
    x, y = gg.placeholder("x", ("n", 3)), gg.placeholder("y", ("m", "k"))
    joined = gg.concat([x, y, x])
    assert str(joined.type) == "float32[m + 2*n,3]"
    dx, dy = gg.gradients(gg.square(joined).sum(), [x, y])
    program = gg.compile([x, y], [joined, dx, dy])
    a, b = np.ones((2, 3), "float32"), np.full((1, 3), 2, "float32")
    value, a_grad, b_grad = program(a, b)
    np.testing.assert_array_equal(value, np.concatenate([a, b, a]))
    np.testing.assert_array_equal(a_grad, 4 * a)
    np.testing.assert_array_equal(b_grad, 2 * b)
    with pytest.raises(gg.InputError, match="axis 1 of array 0, axis 1 of array 1"):
        program(a, b[:, :2])


def test_one_array_joined_is_itself():
    x = gg.placeholder("x", (2,))
    assert gg.concat([x]) is x


def test_dtypes_are_promoted_and_numbers_are_weak():
    x = gg.placeholder("x", (2,))
    assert gg.concat([x, [1, 2]]).dtype == np.float32
    assert gg.stack([gg.constant([1]), gg.constant([True])]).dtype == np.int64
    assert gg.concat([gg.constant([True]), gg.constant([False])]).dtype == bool


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_stack_makes_a_new_axis(axis):
    x, y = X[0], X[1]
    check_operation(
        lambda x, y: gg.stack([x, y, x], axis),
        [x, y],
        lambda x, y: np.stack([x, y, x], axis),
        dtypes=ALL_FLOATS,
    )
    check_operation(lambda x: gg.stack([x], 0), [x[:0]], lambda x: x[None])


def test_scalars_can_be_stacked():
    check_operation(
        lambda x, y: gg.stack([x, y, 1.0]),
        [np.array(2.0), np.array(3.0)],
        lambda x, y: np.array([x, y, 1.0]),
    )


@pytest.mark.parametrize(
    ("sections", "axis"),
    [(2, 0), (3, 1), (4, -1), (1, 2), ([1, 3], 1), ([2], -1), ([-1], 1), ([5, 2], 2)],
)
def test_split_cuts_as_numpy_does(sections, axis):
    expected = np.split(X, sections, axis)
    for place in range(len(expected)):
        check_operation(
            lambda x, place=place: gg.split(x, sections, axis)[place],
            [X],
            lambda x, place=place: np.split(x, sections, axis)[place],
        )
    assert len(gg.split(X, sections, axis)) == len(expected)


def test_split_and_concat_undo_each_other():
    check_operation(
        lambda x: gg.concat(gg.split(x, 3, 1), 1), [X], lambda x: x, order=3
    )


def test_a_named_size_must_turn_out_divisible():
    x = gg.placeholder("x", ("n", 2))
    parts = gg.split(x, 3)
    assert [str(p.type) for p in parts] == ["float32[n//3,2]"] * 3
    program = gg.compile([x], parts[2])
    values = np.arange(12, dtype="float32").reshape(6, 2)
    np.testing.assert_array_equal(program(values), values[4:])
    with pytest.raises(gg.InputError, match=r"axis 0, cut into 3 equal parts,.*n=4"):
        program(values[:4])


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_unstack_gives_the_elements_along_an_axis(axis):
    parts = gg.unstack(X, axis)
    for place, part in enumerate(parts):
        np.testing.assert_array_equal(gg.evaluate(part), np.take(X, place, axis))
    assert len(parts) == X.shape[axis]
    check_operation(
        lambda x: gg.stack(gg.unstack(x, axis), axis),
        [X],
        lambda x: x,
        symbolic=False,
    )


x = gg.placeholder("x", (2, 3))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: gg.concat([]), r"concat\(axis=0\): expected at least one array"),
        (lambda: gg.concat(x), "expected a sequence of arrays"),
        (lambda: gg.concat([x, gg.zeros(3)]), "expected arrays of 2 axes, got 1"),
        (lambda: gg.concat([x, gg.zeros((2, 4))]), "axis 1 of array 0, .* 3 and 4"),
        (lambda: gg.concat([x, x], 2), r"concat\(axis=2\): axis 2 is out of range"),
        (lambda: gg.concat([gg.zeros(())]), "axis 0 is out of range"),
        (lambda: gg.stack([]), r"stack\(axis=0\): expected at least one array"),
        (lambda: gg.stack([x, gg.zeros((2, 1))]), r"stack.*axis 1 of array 0"),
        (lambda: gg.stack([x, gg.zeros(2)]), "arrays of one shape, array 1 differs"),
        (lambda: gg.stack([x], 3), r"stack\(axis=3\): axis 3 is out of range"),
        (lambda: gg.split(x, 2, 1), r"split\(2, axis=1\): axis 1 of size 3 has no 2"),
        (lambda: gg.split(x, 0), "expected at least one part, got 0"),
        (lambda: gg.split(x, 1.5), "expected a number of parts or indices, got 1.5"),
        (lambda: gg.split(x, [0.5]), "the bound of a slice must be an int"),
        (lambda: gg.split(x, 1, 2), "axis 2 is out of range"),
        (lambda: gg.unstack(gg.placeholder("y", ("n",))), "must be known; it is n"),
    ],
)
def test_a_wrong_argument_is_refused_with_its_reason(build, message):
    with pytest.raises(gg.GraphError, match=f"{message}.*test_joining.py"):
        build()
