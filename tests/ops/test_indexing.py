"""Taking, adding and putting at places given by integers; one-hot vectors."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.testing import check_operation

ALL_FLOATS = ("float64", "float32", "float16", "bfloat16")
X = np.random.default_rng(2).standard_normal((3, 4, 5))
INDEX = np.array([[0, -1], [2, 2]])


@pytest.mark.parametrize("axis", [0, 1, -1, None])
def test_take_reads_along_an_axis(axis):
    def reference(x, i):
        return np.take(x, i, axis)

    check_operation(
        lambda x, i: gg.take(x, i, axis), [X, INDEX], reference, dtypes=ALL_FLOATS
    )
    for index in (np.array(1), INDEX[:0], INDEX[:1, :1]):
        check_operation(lambda x, i: gg.take(x, i, axis), [X, index], reference)
    check_operation(lambda x: gg.take(x, [], axis), [X[:1]], None)


def test_the_gradient_of_take_adds_up_repeated_rows():
    table = gg.placeholder("table", (4, 2))
    (grad,) = gg.gradients(gg.take(table, [1, 1, 3, -3], axis=0).sum(), [table])
    got = gg.evaluate(grad, {table: np.zeros((4, 2), "float32")})
    np.testing.assert_array_equal(got, [[0, 0], [3, 3], [0, 0], [1, 1]])


def test_halves_are_added_in_float32():
    table = gg.placeholder("table", (1,), "float16")
    picked = gg.take(table, np.zeros(4096, int), axis=0)
    weight = gg.constant(np.full(4096, 1.0, "float16"))
    (grad,) = gg.gradients((picked * weight).sum(), [table])
    got = gg.evaluate(grad, {table: np.zeros(1, "float16")})
    assert got.dtype == np.float16
    assert float(got[0]) == 4096  # 2048 + 1 is 2048 in float16


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_take_along_axis_reads_one_line_at_a_time(axis):
    index = np.random.default_rng(3).integers(-3, 3, X.shape)

    def take(x, i):
        return gg.take_along_axis(x, i, axis)

    def reference(x, i):
        return np.take_along_axis(x, i, axis)

    check_operation(take, [X, index], reference, dtypes=ALL_FLOATS)
    one = [slice(None)] * 3
    one[axis] = slice(0, 1)
    check_operation(take, [X, index[tuple(one)]], reference)
    one[axis] = slice(0, 0)
    check_operation(take, [X, index[tuple(one)]], reference)


def test_take_along_axis_broadcasts_the_other_axes():
    index = np.array([[[3], [0]]])
    check_operation(
        lambda x, i: gg.take_along_axis(x, i, 1),
        [X, index],
        lambda x, i: np.take_along_axis(x, i, 1),
    )
    check_operation(
        lambda x, i: gg.take_along_axis(x, i, 0),
        [X[:, :1], np.tile([[[2]], [[1]]], (1, 4, 5))],
        lambda x, i: np.take_along_axis(np.tile(x, (1, 4, 1)), i, 0),
    )


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_scatter_add_adds_every_update(axis):
    index = np.array([0, 2, 2, -1])
    shape = np.take(X, index, axis).shape
    updates = np.random.default_rng(4).standard_normal(shape)

    def reference(x, i, u):
        y = x.copy()
        for place, row in enumerate(i):
            target = [slice(None)] * 3
            target[axis] = row
            y[tuple(target)] += np.take(u, place, axis)
        return y

    check_operation(
        lambda x, i, u: gg.scatter_add(x, i, u, axis),
        [X, index, updates],
        reference,
        dtypes=ALL_FLOATS,
    )


def test_scatter_add_takes_arrays_of_indices_and_updates_that_broadcast():
    def reference(x, i):
        y = x.copy()
        np.add.at(y, i, 2.0)
        return y

    check_operation(lambda x, i: gg.scatter_add(x, i, 2.0), [X, INDEX], reference)
    check_operation(lambda x, i: gg.scatter_add(x, i, 2.0), [X, INDEX[:0]], reference)
    check_operation(lambda x, i: gg.scatter_add(x, i, 2.0), [X, np.array(1)], reference)


def test_integers_are_scattered_exactly():
    x = gg.constant(np.array([2**60, 1]))
    got = gg.evaluate(gg.scatter_add(x, [0, 0], [1, 2]))
    np.testing.assert_array_equal(got, [2**60 + 3, 1])


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_put_along_axis_overwrites(axis):
    index = np.argsort(X, axis).take([0, 2], axis)
    values = np.random.default_rng(5).standard_normal(index.shape)

    def reference(x, i, v):
        y = x.copy()
        np.put_along_axis(y, i, v, axis)
        return y

    check_operation(
        lambda x, i, v: gg.put_along_axis(x, i, v, axis),
        [X, index, values],
        reference,
        dtypes=ALL_FLOATS,
    )


def test_where_an_index_comes_twice_the_last_value_is_put():
    i = np.array([[1, 0, 1], [2, 2, 2]])
    v = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    x = np.zeros((2, 3))

    def reference(x, i, v):
        y = x.copy()
        for row, column in np.ndindex(i.shape):
            y[row, i[row, column]] = v[row, column]
        return y

    check_operation(gg.put_along_axis, [x, i, v], reference)
    values = gg.placeholder("v", (2, 3))
    (grad,) = gg.gradients(gg.put_along_axis(x, i, values).sum(), [values])
    got = gg.evaluate(grad, {values: v.tolist()})
    np.testing.assert_array_equal(got, [[0, 1, 1], [0, 0, 1]])


def test_one_hot_marks_the_class():
    classes = np.array([[0, 3], [2, 0]])
    check_operation(lambda i: gg.one_hot(i, 4), [classes], lambda i: np.eye(4)[i])
    check_operation(lambda i: gg.one_hot(i, 4), [classes[:0]], lambda i: np.eye(4)[i])
    check_operation(
        lambda i: gg.one_hot(i, 4, "bool"), [classes], lambda i: np.eye(4)[i] == 1
    )
    assert gg.one_hot(np.array(1), "classes").type == gg.zeros("classes").type


# --- errors

x = gg.placeholder("x", (3, 4))
i = gg.placeholder("i", (2,), "int64")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: gg.take(x, [0, 3], 0), r"take\(axis=0\): index 3 is out of range"),
        (lambda: gg.take(x, 0, 2), r"take\(axis=2\): axis 2 is out of range"),
        (lambda: gg.take(x, 0.5, 0), "expected integer indices, got float32"),
        (lambda: gg.take(x, True, 0), "expected integer indices, got bool"),
        (lambda: gg.take_along_axis(x, i, 0), "as many axes in the indices"),
        (lambda: gg.take_along_axis(x, [[4]], 1), "index 4 is out of range for axis 1"),
        (lambda: gg.take_along_axis(x, [[0.0]], 1), "expected integer indices"),
        (lambda: gg.take_along_axis(x, [[0], [0]], 1), "broadcast along axis -2"),
        (lambda: gg.scatter_add(x, [-4], 1), r"scatter_add\(axis=0\): index -4"),
        (lambda: gg.scatter_add(x, i, np.ones((3, 4))), "size of axis 0: .* 3 and 2"),
        (lambda: gg.scatter_add(x > 0, i, True), "expected numbers"),
        (lambda: gg.put_along_axis(x, i, 0), "as many axes in the indices"),
        (lambda: gg.put_along_axis(x, [[5]], 0), r"put_along_axis\(axis=-1\): index 5"),
        (lambda: gg.one_hot(i, -1), r"one_hot\(num_classes=-1, .*negative"),
        (lambda: gg.one_hot(x, 3), "expected integer classes, got float32"),
    ],
)
def test_a_wrong_argument_is_refused_with_its_reason(build, message):
    with pytest.raises(gg.GraphError, match=f"{message}.*test_indexing.py"):
        build()


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        (gg.take(x, i, 0), "index 3 is out of range for axis 0 of size 3"),
        (gg.scatter_add(x, i, 1.0), "index 3 is out of range for axis 0 of size 3"),
        (
            gg.take_along_axis(x, i.reshape((2, 1)).broadcast_to((2, 4)), 0),
            "index 3 is out of range for axis 0 of size 3",
        ),
        (gg.one_hot(i, 3), "class 3 is out of range for 3 classes"),
    ],
)
def test_an_index_out_of_range_is_found_while_running(variable, message):
    program = gg.compile([x, i], variable)
    values = np.zeros((3, 4), "float32")
    program(values, [0, 2])
    with pytest.raises(gg.ComputeError, match=f"{message}.*no state was changed"):
        program(values, [0, 3])


def test_one_hot_takes_no_negative_class():
    with pytest.raises(gg.ComputeError, match="class -1 is out of range"):
        gg.evaluate(gg.one_hot(i, 3), {i: [0, -1]})
