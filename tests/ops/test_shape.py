"""Shapes and axes: values against indexing by hand, names, gradients, errors."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphgpu as gg
from graphgpu.testing import check_operation

X = np.random.default_rng(6).standard_normal((2, 3, 4))
DTYPES = ("bool", "int8", "uint64", "float16", "bfloat16", "float64")


def moved(x, order):
    """Return x with its axes in another order, element by element."""
    result = np.zeros([x.shape[a] for a in order])
    for place in np.ndindex(x.shape):
        result[tuple(place[a] for a in order)] = x[place]
    return result


def filled(x, shape):
    """Return the elements of x, in C order, in another shape."""
    result = np.zeros(shape)
    for target, value in zip(np.ndindex(shape), x.ravel().tolist(), strict=True):
        result[target] = value
    return result


# --- reshape


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((4, 6), (4, 6)),
        ((-1,), (24,)),
        (-1, (24,)),
        (24, (24,)),
        ((2, -1), (2, 12)),
        ((2, 1, -1, 2), (2, 1, 6, 2)),
        ([np.int64(-1), 3], (8, 3)),
        ((2, 3, 4), (2, 3, 4)),
    ],
)
def test_reshape_keeps_the_order_of_elements(shape, expected):
    check_operation(lambda x: gg.reshape(x, shape), [X], lambda x: filled(x, expected))
    assert gg.reshape(gg.constant(X), shape).shape == expected


def test_reshape_takes_scalars_and_nothing():
    check_operation(lambda x: gg.reshape(x, ()), [np.ones((1, 1))], lambda x: x[0, 0])
    check_operation(lambda x: gg.reshape(x, (1, 1)), [np.ones(())], lambda x: [[x]])
    check_operation(
        lambda x: gg.reshape(x, (3, 0)),
        [np.zeros((0, 5))],
        lambda x: np.zeros((3, 0)),
    )


def test_reshape_computes_with_names():
    x = gg.placeholder("x", ("n", "m", 6))
    n, m = gg.dim("n"), gg.dim("m")
    assert gg.reshape(x, (-1, 6)).shape == (n * m, 6)
    assert gg.reshape(x, ("n", -1)).shape == (n, m * 6)
    assert gg.reshape(x, (n * 2, "m", 3)).shape == (2 * n, m, 3)
    assert gg.reshape(x, (-1, "m")).shape == (n * 6, m)
    value = np.arange(2 * 3 * 6.0, dtype="float32").reshape(2, 3, 6)
    got = gg.evaluate(gg.reshape(x, (n * 2, "m", 3)), {x: value})
    np.testing.assert_array_equal(got, value.reshape(4, 3, 3))


def test_reshape_to_the_same_shape_is_the_same_variable():
    x = gg.placeholder("x", ("n", 3))
    assert gg.reshape(x, ("n", 3)) is x
    assert gg.reshape(x, (-1, 3)) is x


def test_what_a_reshape_assumes_is_checked_when_called():
    x = gg.placeholder("x", ("n",))
    pairs = gg.reshape(x, (-1, 2))
    assert str(pairs.type) == "float32[n//2,2]"
    assert gg.evaluate(pairs, {x: [1, 2, 3, 4]}).tolist() == [[1, 2], [3, 4]]
    with pytest.raises(gg.InputError, match="number of elements"):
        gg.evaluate(pairs, {x: [1, 2, 3]})
    square = gg.reshape(x, ("n", "n"))
    assert gg.evaluate(square, {x: [5.0]}).tolist() == [[5]]
    with pytest.raises(gg.InputError, match="number of elements"):
        gg.evaluate(square, {x: [5.0, 6.0]})


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((5, 5), r"number of elements: expected equal sizes, got 24 and 25"),
        ((5, -1), r"number of elements: 24 is not a multiple of 5"),
        ((-1, -1), r"at most one size can be -1"),
        ((0, -1), r"-1 beside a size of 0 could be any size"),
        ((-2, -12), r"a size cannot be negative; got -2"),
        ((2.5, 2), r"a size must be an int or a name; got 2\.5"),
        (("two words", 2), r"a dimension's name must be an identifier"),
    ],
)
def test_bad_shapes_are_refused_with_the_line(shape, message):
    with pytest.raises(gg.ShapeError, match=rf"reshape\(.*{message}.*{__name__}\.py:"):
        gg.reshape(gg.placeholder("x", (2, 3, 4)), shape)


# --- flatten


def test_flatten_makes_one_axis_of_several():
    for start, end in itertools.combinations_with_replacement(range(3), 2):
        size = math.prod(X.shape[start : end + 1])
        shape = (*X.shape[:start], size, *X.shape[end + 1 :])
        check_operation(
            lambda x, s=start, e=end: gg.flatten(x, s, e),
            [X],
            lambda x, s=shape: filled(x, s),
        )
        negative = gg.flatten(gg.constant(X), start - 3, end - 3)
        assert negative.shape == shape
    assert gg.flatten(gg.constant(X)).shape == (24,)
    assert gg.flatten(gg.constant(1.0)).shape == (1,)
    assert str(gg.flatten(gg.placeholder("x", ("n", 3, 2)), 1).type) == "float32[n,6]"


def test_flatten_refuses_axes_in_the_wrong_order():
    with pytest.raises(
        gg.ShapeError, match=r"flatten\(start_axis=2, end_axis=0\): axi"
    ):
        gg.flatten(gg.constant(X), 2, 0)
    with pytest.raises(gg.ShapeError, match=r"flatten\(axis=3\): axis 3 is out of ra"):
        gg.flatten(gg.constant(X), 3)


# --- transpose and its kin


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_transpose_permutes_axes(order):
    check_operation(lambda x: gg.transpose(x, order), [X], lambda x: moved(x, order))
    back = gg.permute_dims(gg.transpose(gg.constant(X), order), np.argsort(order))
    np.testing.assert_array_equal(gg.evaluate(back), X)


def test_transpose_without_axes_reverses_them():
    check_operation(gg.transpose, [X], lambda x: moved(x, (2, 1, 0)))
    check_operation(gg.transpose, [X[:, 0, 0]], lambda x: x)
    check_operation(gg.transpose, [np.ones(())], lambda x: x)
    check_operation(gg.transpose, [X[:, :0, 0]], lambda x: np.zeros((0, 2)))
    x = gg.placeholder("x", ("n",))
    assert gg.transpose(x) is x
    assert gg.transpose(gg.placeholder("y", (2, "n")), (-1, 0)).shape == (
        gg.dim("n"),
        2,
    )


def test_matrices_are_transposed_by_attributes():
    check_operation(lambda x: x.mT, [X], lambda x: moved(x, (0, 2, 1)))
    check_operation(lambda x: x.T, [X[0]], lambda x: moved(x, (1, 0)))
    with pytest.raises(gg.GraphError, match=r"\.T needs a matrix; use \.mT"):
        _ = gg.constant(X).T
    with pytest.raises(
        gg.ShapeError, match="axis -1 is out of range for an array of 0"
    ):
        _ = gg.constant(1.0).mT


def test_bad_permutations_are_refused():
    x = gg.constant(X)
    with pytest.raises(
        gg.ShapeError, match=r"axes \(0, 1\) are no permutation of 3 ax"
    ):
        gg.transpose(x, (0, 1))
    with pytest.raises(gg.ShapeError, match=r"axes \(0, 0, 1\) are no permutation"):
        gg.transpose(x, (0, -3, 1))
    with pytest.raises(gg.ShapeError, match=r"transpose\(axis=3\): axis 3 is out of"):
        gg.transpose(x, (0, 1, 3))


def test_swapaxes_exchanges_two():
    for first, second in itertools.product(range(-3, 3), repeat=2):
        order = [0, 1, 2]
        order[first], order[second] = order[second], order[first]
        got = gg.evaluate(gg.swapaxes(gg.constant(X), first, second))
        np.testing.assert_array_equal(got, moved(X, order))
    check_operation(lambda x: gg.swapaxes(x, 0, -1), [X], lambda x: moved(x, (2, 1, 0)))
    with pytest.raises(gg.ShapeError, match=r"swapaxes\(axis=3\): axis 3 is out of ra"):
        gg.swapaxes(gg.constant(X), 0, 3)


def test_moveaxis_moves_one_or_several():
    for source, destination in itertools.product(range(-3, 3), repeat=2):
        got = gg.evaluate(gg.moveaxis(gg.constant(X), source, destination))
        np.testing.assert_array_equal(got, np.moveaxis(X, source, destination))
    for pair in (((0, 1), (-1, 0)), ((2, 0), (0, 1)), ((), ()), ((0, 1, 2), (2, 1, 0))):
        check_operation(
            lambda x, p=pair: gg.moveaxis(x, *p),
            [X],
            lambda x, p=pair: np.moveaxis(x, *p),
        )
    with pytest.raises(
        gg.ShapeError, match=r"moveaxis\(source=3, destination=0\): axi"
    ):
        gg.moveaxis(gg.constant(X), 3, 0)
    with pytest.raises(gg.ShapeError, match="expected as many places as axes"):
        gg.moveaxis(gg.constant(X), (0, 1), 2)
    with pytest.raises(gg.ShapeError, match="name an axis twice"):
        gg.moveaxis(gg.constant(X), (0, 1), (2, -1))


# --- axes of size one


def test_expand_dims_inserts_axes_at_places_of_the_result():
    for axis in (0, 1, -1, 3, (0, 2), (-1, 0), (0, 1, 2), (), np.int64(1)):
        expected = np.expand_dims(X, axis)
        check_operation(
            lambda x, a=axis: gg.expand_dims(x, a), [X], lambda x, e=expected: e
        )
    assert gg.expand_dims(gg.constant(1.0), (0, 1)).shape == (1, 1)
    x = gg.placeholder("x", ("n",))
    assert gg.expand_dims(x, 1).shape == (gg.dim("n"), 1)


def test_expand_dims_refuses_bad_places():
    x = gg.constant(X)
    with pytest.raises(gg.ShapeError, match=r"expand_dims\(axis=4\): axis 4 is out of"):
        gg.expand_dims(x, 4)
    with pytest.raises(gg.ShapeError, match=r"axes \(0, -5\) name an axis twice"):
        gg.expand_dims(x, (0, -5))


def test_squeeze_drops_axes_of_size_one():
    x = X[:1, :, :1]
    for axis in (None, 0, -1, (0, 2), (), np.int64(0)):
        expected = np.squeeze(x, axis)
        check_operation(
            lambda x, a=axis: gg.squeeze(x, a), [x], lambda x, e=expected: e
        )
    y = gg.placeholder("y", (1, "n", 1))
    assert gg.squeeze(y).shape == (gg.dim("n"),)


def test_squeezing_a_named_axis_requires_that_it_be_one():
    x = gg.placeholder("x", ("n", 3))
    row = gg.squeeze(x, 0)
    assert row.shape == (3,)
    assert gg.evaluate(row, {x: [[1, 2, 3]]}).tolist() == [1, 2, 3]
    with pytest.raises(gg.InputError, match="number of elements"):
        gg.evaluate(row, {x: np.zeros((2, 3), "float32")})


def test_squeeze_refuses_other_axes():
    with pytest.raises(
        gg.ShapeError, match=r"squeeze\(axis=1\): axis 1 has size 3, no"
    ):
        gg.squeeze(gg.constant(X), 1)
    with pytest.raises(gg.ShapeError, match=r"squeeze\(axis=3\): axis 3 is out of ran"):
        gg.squeeze(gg.constant(X), 3)
    with pytest.raises(gg.ShapeError, match="name an axis twice"):
        gg.squeeze(gg.constant(X[:1]), (0, -3))


# --- broadcast_to


@pytest.mark.parametrize("shape", [(2, 3, 4), (5, 2, 3, 4), (1, 2, 3, 4)])
def test_broadcast_to_repeats_and_its_gradient_sums(shape):
    for x in (X, X[:, :1], X[0, 0, 0], X[:1, :, :1], X[0]):
        check_operation(
            lambda x: gg.broadcast_to(x, shape),
            [x],
            lambda x: np.ones(shape) * x,
        )


def test_broadcast_to_takes_names_and_nothing():
    x = gg.placeholder("x", ("n", 1))
    y = gg.broadcast_to(x, ("n", gg.dim("n") + 1))
    assert str(y.type) == "float32[n,n + 1]"
    assert gg.evaluate(y, {x: [[1], [2]]}).tolist() == [[1, 1, 1], [2, 2, 2]]
    (dx,) = gg.gradients(gg.sum(y), [x])
    assert gg.evaluate(dx, {x: [[1], [2]]}).tolist() == [[3], [3]]
    check_operation(
        lambda x: gg.broadcast_to(x, (0, 4)), [X[0, :1]], lambda x: np.zeros((0, 4))
    )
    z = gg.placeholder("z", (2, 3))
    assert gg.broadcast_to(z, (2, 3)) is z


def test_broadcast_to_refuses_what_does_not_fit():
    x = gg.placeholder("x", (2, 3))
    with pytest.raises(gg.ShapeError, match="expected at least 2 axes"):
        gg.broadcast_to(x, (3,))
    with pytest.raises(
        gg.ShapeError, match="size of axis 0: expected equal sizes, got"
    ):
        gg.broadcast_to(x, (4, 3))
    with pytest.raises(
        gg.ShapeError, match=r"broadcast_to\(shape=\(2, -3\)\): a size "
    ):
        gg.broadcast_to(x, (2, -3))


# --- all of them

EVERY = {
    "reshape": lambda x: gg.reshape(x, (4, 6)),
    "flatten": gg.flatten,
    "transpose": gg.transpose,
    "matrix_transpose": gg.matrix_transpose,
    "moveaxis": lambda x: gg.moveaxis(x, 0, 2),
    "expand_dims": lambda x: gg.expand_dims(x, 0),
    "squeeze": lambda x: gg.squeeze(gg.expand_dims(x, 0)),
    "broadcast_to": lambda x: gg.broadcast_to(x, (2, 2, 3, 4)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EVERY)
def test_every_dtype_is_moved_unchanged(name, dtype):
    x = gg.cast(gg.constant(X * 4 > 0) if dtype == "bool" else gg.constant(X), dtype)
    got = gg.evaluate(EVERY[name](x))
    wide = gg.evaluate(EVERY[name](gg.cast(x, "float64")))
    assert got.dtype == x.dtype
    np.testing.assert_array_equal(got.astype("float64"), wide)


@pytest.mark.parametrize("name", EVERY)
def test_results_are_memory_of_their_own(name):
    x = gg.placeholder("x", (2, 3, 4), "float64")
    value = X.copy()
    got = gg.evaluate(EVERY[name](x), {x: value})
    got[...] = 7
    np.testing.assert_array_equal(value, X)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_chain_of_moves_is_that_of_numpy(data):
    x = np.arange(24.0).reshape(2, 3, 4)
    variable, expected = gg.constant(x), x
    for _ in range(data.draw(st.integers(1, 4))):
        ndim = expected.ndim
        order = data.draw(st.permutations(range(ndim)))
        axis = data.draw(st.integers(-ndim - 1, ndim))
        variable = gg.expand_dims(gg.transpose(variable, order), axis)
        expected = np.expand_dims(np.transpose(expected, order), axis)
        variable = gg.flatten(variable, 0, 1)
        expected = expected.reshape(-1, *expected.shape[2:])
    np.testing.assert_array_equal(gg.evaluate(variable), expected, strict=True)


def test_sizes_and_axes_may_be_given_one_by_one_as_in_numpy():
    x = gg.placeholder("x", ("n", 6))
    assert x.reshape(-1, 2, 3).shape == x.reshape((-1, 2, 3)).shape
    assert x.reshape("n", 3, 2).shape == x.reshape(("n", 3, 2)).shape
    assert x.reshape(-1).shape == x.reshape((-1,)).shape
    assert x.transpose(1, 0).shape == x.transpose((1, 0)).shape == x.T.shape
    assert x.transpose(np.int64(1), 0).shape == x.T.shape
    assert x.transpose().shape == x.T.shape
    with pytest.raises(gg.ShapeError, match="reshape"):
        gg.zeros(6).reshape(4, 2)
