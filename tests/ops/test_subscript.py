"""x[...]: NumPy's indexing, in value and in its adjoint, over known and named sizes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphgpu as gg
from graphgpu.testing import check_operation

ALL_FLOATS = ("float64", "float32", "float16", "bfloat16")
X = np.random.default_rng(1).standard_normal((4, 5, 6))
MASK = np.array([True, False, True, True])

INDICES = {
    "int": 2,
    "negative int": (-1, -5),
    "all ints": (1, 2, 3),
    "NumPy int": np.int32(3),
    "0-d array": np.array(-2),
    "slice": slice(1, 3),
    "inner": (slice(None), slice(1, -1)),
    "last two": (..., slice(-2, None)),
    "step": (slice(None, None, 2), slice(1, None, 3)),
    "reversed": slice(None, None, -1),
    "reversed step": (..., slice(-2, 0, -2)),
    "empty slice": slice(3, 1),
    "beyond": (slice(-9, 9), slice(7, -8, -1)),
    "ellipsis": (1, ..., 2),
    "new axes": (None, ..., None, 0),
    "nothing": (),
    "only an ellipsis": ...,
    "list": [0, 3, 3],
    "nested list": [[0, 1], [-1, -2]],
    "empty list": [],
    "array of uint8": np.array([3, 0], np.uint8),
    "array between": (slice(None), [1, 1, 0]),
    "two arrays": ([0, 1], [2, 3]),
    "arrays that broadcast": ([[0], [1]], slice(None), [2, 3, 2]),
    "separated": ([0, 1], slice(1, 4), [2, 3]),
    "separated by a new axis": ([0, 1], None, [2, 3]),
    "separated by an empty ellipsis": (slice(None), [0, 1], ..., [2, 3]),
    "int beside an array": (slice(None), 1, [2, 3]),
    "int apart from an array": (0, slice(None), [2, 3]),
    "mask": MASK,
    "mask as a list": [True, False, False, False],
    "mask of two axes": X[:, :, 0] > 0,
    "mask and array": (MASK, slice(None), [0, 1, 2]),
    "empty mask": np.zeros(4, bool),
    "True": True,
    "False": (slice(None), False),
    "constant": gg.constant([1, -1]),
    "constant mask": gg.constant(MASK),
}


def as_numpy(index):
    if isinstance(index, tuple):
        return tuple(map(as_numpy, index))
    return index.value if isinstance(index, gg.Constant) else index


@pytest.mark.parametrize("name", INDICES)
def test_an_index_reads_what_numpy_reads(name):
    index = INDICES[name]
    check_operation(
        lambda x: x[index], [X], lambda x: x[as_numpy(index)], dtypes=ALL_FLOATS
    )


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64"])
def test_integers_and_bools_can_be_indexed(dtype):
    x = np.arange(6).reshape(2, 3).astype(dtype)
    for index in (1, (slice(None), slice(None, None, -1)), [0, 1, 1], (..., [2, 0])):
        got = gg.evaluate(gg.constant(x)[index])
        np.testing.assert_array_equal(got, x[index])
        assert got.dtype == x.dtype


def test_integer_variables_index_as_arrays_do():
    i = np.array([[0, -1, 2], [3, 3, -4]])
    j = np.array([1, 2, -5])
    check_operation(lambda x, i: x[i], [X, i], lambda x, i: x[i])
    check_operation(lambda x, i, j: x[i, j], [X, i, j], lambda x, i, j: x[i, j])
    check_operation(lambda x, i: x[i, :, 2], [X, i], lambda x, i: x[i, :, 2])
    check_operation(lambda x, i: x[1:, i], [X, i], lambda x, i: x[1:, i])
    check_operation(lambda x, i: x[i], [X, np.array(-1)], lambda x, i: x[i])
    check_operation(lambda x, i: x[i], [X, i[:0]], lambda x, i: x[i])


def test_special_values_are_moved_bit_by_bit():
    x = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-310])
    got = gg.evaluate(gg.constant(x)[::-1][[0, 1, 2, 3, 4]])
    assert got.tobytes() == x[::-1].tobytes()


# --- named sizes


@pytest.mark.parametrize(
    ("index", "text"),
    [
        (slice(None), "n"),
        (slice(1, -1), "max(0, n - 2)"),
        (slice(1, None), "max(0, n - 1)"),
        (slice(None, -1), "max(0, n - 1)"),
        (slice(None, None, 2), "(n + 1)//2"),
        (slice(None, None, -1), "n"),
        (slice(None, 3), "min(3, n)"),
        (slice(-3, None), "min(3, n)"),
        (slice(3, 1), "0"),
        (slice(-2, -4), "0"),
    ],
)
def test_the_length_of_a_slice_is_an_expression(index, text):
    x = gg.placeholder("x", ("n",))
    assert str(x[index].shape[0]) == text


def test_neighbours_along_a_named_axis_can_be_subtracted():
    x = gg.placeholder("x", ("n",))
    step = x[1:] - x[:-1]
    assert step.guards == ()
    np.testing.assert_array_equal(gg.evaluate(step, {x: [1.0, 3.0, 7.0]}), [2, 4])
    assert gg.evaluate(step, {x: [1.0]}).shape == (0,)


def test_every_slice_of_a_named_axis_is_that_of_python():
    bounds = [None, *range(-4, 5)]
    x = gg.placeholder("x", ("n",), "int64")
    for n in range(4):
        values = np.arange(n)
        for step in (None, -2, -1, 1, 2, 3):
            slices = [slice(a, b, step) for a in bounds for b in bounds]
            shapes = [x[s].tensor.at({"n": n}).shape for s in slices]
            assert shapes == [values[s].shape for s in slices]
            program = gg.compile([x], gg.concat([x[s] for s in slices]))
            expected = np.concatenate([values[s] for s in slices])
            np.testing.assert_array_equal(program(values), expected)


def test_bounds_may_be_expressions_of_sizes():
    x = gg.placeholder("x", ("n", "m"))
    n, m = x.shape
    values = np.arange(30.0, dtype="float32").reshape(5, 6)
    for variable, expected in (
        (x[: n // 2], values[:2]),
        (x[n // 2], values[2]),
        (x[n - 1], values[4]),
        (x[: n - 1], values[:4]),
        (x[-n], values[0]),
        (x[:, -n:], values[:, 1:]),
        (x[:, n : m - 1 : 1], values[:, 5:5]),
        (x[n // 2, [0, 1]], values[2, [0, 1]]),
    ):
        np.testing.assert_array_equal(gg.evaluate(variable, {x: values}), expected)
    with pytest.raises(gg.InputError, match=r"bound n - 3 of axis 0 .* n=2"):
        gg.evaluate(x[: n - 3], {x: values[:2]})


def test_an_int_beyond_a_named_axis_is_found_when_called():
    x = gg.placeholder("x", ("n", 2))
    for index in (3, -4, (3, [0])):
        program = gg.compile([x], x[index])
        program(np.zeros((4, 2), "float32"))
        with pytest.raises(gg.InputError, match=r"axis 0, which index .* n=2"):
            program(np.zeros((2, 2), "float32"))


def test_a_mask_fixes_a_named_size():
    x = gg.placeholder("x", ("n",))
    program = gg.compile([x], x[MASK])
    np.testing.assert_array_equal(program([1.0, 2.0, 3.0, 4.0]), [1, 3, 4])
    with pytest.raises(gg.InputError, match="axis 0 and axis 0 of the mask"):
        program([1.0])


# --- errors


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (4, r"x\[4\]: index 4 is out of range for axis 0 of size 4"),
        ((0, -6), "index -6 is out of range for axis 1 of size 5"),
        ((0, [1, 5]), "index 5 is out of range for axis 1 of size 5"),
        ((0,) * 4, "4 axes are indexed, but there are 3"),
        ((..., ...), "at most one '...'"),
        (slice(None, None, 0), "axis 0: a slice's step cannot be 0"),
        (slice(0.5, None), "the bound of a slice must be an int or a size; got 0.5"),
        ("a", "expected ints, slices, .* got 'a'"),
        (1.5, "expected ints, slices, .* got 1.5"),
        ([0.5], "expected integer indices, got float64"),
        (gg.constant([0.5]), "expected an integer index, got float32"),
        (np.zeros(3, bool), "axis 0 and axis 0 of the mask: .* got 4 and 3"),
        (([0, 1], [0, 1, 2]), "broadcast along axis -1: .* got 2 and 3"),
    ],
)
def test_a_wrong_index_is_refused_with_its_reason(index, message):
    x = gg.placeholder("x", (4, 5, 6))
    with pytest.raises(gg.GraphError, match=f"{message}.*test_subscript.py"):
        x[index]


def test_a_mask_that_is_not_known_is_refused_with_advice():
    x = gg.placeholder("x", (4,))
    with pytest.raises(gg.DTypeError, match=r"gg\.where.*test_subscript.py"):
        x[x > 0]


def test_a_bound_that_is_a_variable_is_refused_with_advice():
    x = gg.placeholder("x", (4,))
    i = gg.placeholder("i", (), "int64")
    with pytest.raises(gg.ShapeError, match="must be known when the graph is built"):
        x[i:]


@pytest.mark.parametrize("bad", [4, -5, 2**40])
def test_an_index_out_of_range_stops_the_program_and_changes_nothing(bad):
    x = gg.placeholder("x", (4, 2))
    i = gg.placeholder("i", ("k",), "int64")
    w = gg.parameter("w", np.ones((4, 2)))
    n = gg.state("n", 0)
    cost = (w[i] * x[i]).sum()
    (dw,) = gg.gradients(cost, [w])
    program = gg.compile([x, i], cost, updates={w: w - dw, n: n + 1})
    with pytest.raises(
        gg.ComputeError, match=f"index {bad} is out of range for axis 0 of size 4"
    ):
        program([[1.0, 1.0]] * 4, [0, bad])
    np.testing.assert_array_equal(w.value, np.ones((4, 2)))
    assert (n.value, program.step) == (0, 0)


def test_an_unsigned_index_does_not_wrap():
    x = gg.placeholder("x", (4,))
    i = gg.placeholder("i", (1,), "uint64")
    with pytest.raises(gg.ComputeError, match="index 18446744073709551615 is out"):
        gg.evaluate(x[i], {x: [0.0] * 4, i: np.array([2**64 - 1], np.uint64)})


# --- any index at all


@st.composite
def indexed_arrays(draw):
    """Return a shape and an index that mixes all that NumPy knows."""
    shape = tuple(draw(st.lists(st.integers(1, 4), max_size=4)))
    common = draw(st.sampled_from([(), (3,), (2, 1), (2, 3)]))
    bound = st.none() | st.integers(-6, 6)
    step = st.sampled_from([None, -3, -2, -1, 1, 2, 3])
    items, axis, has_ellipsis = [], 0, False
    while axis < len(shape) and draw(st.integers(0, 9)):
        size = shape[axis]
        kind = draw(st.sampled_from("new ellipsis slice int array array mask".split()))
        if kind == "new":
            items.append(None)
        elif kind == "ellipsis" and not has_ellipsis:
            has_ellipsis = True
            items.append(...)
            axis += draw(st.integers(0, len(shape) - axis))
        elif kind == "int":
            items.append(draw(st.integers(-size, size - 1)))
            axis += 1
        elif kind == "array":
            own = common[draw(st.integers(0, len(common))) :]
            count = int(np.prod(own))
            element = st.integers(-size, size - 1)
            listed = draw(st.lists(element, min_size=count, max_size=count))
            items.append(np.array(listed, np.int64).reshape(own))
            axis += 1
        elif kind == "mask":
            listed = draw(st.lists(st.booleans(), min_size=size, max_size=size))
            items.append(np.array(listed))
            axis += 1
        else:
            items.append(slice(draw(bound), draw(bound), draw(step)))
            axis += 1
    return shape, tuple(items)


@settings(max_examples=150, deadline=None)
@given(indexed_arrays(), st.booleans())
def test_any_index_reads_as_numpy_and_its_adjoint_adds_up(case, named):
    shape, index = case
    values = np.arange(1.0, np.prod(shape) + 1).reshape(shape)
    sizes = [f"n{a}" for a in range(len(shape))] if named else shape
    x = gg.placeholder("x", sizes, "float64")
    try:
        expected = values[index]
    except IndexError:
        with pytest.raises((gg.ShapeError, gg.InputError)):
            gg.evaluate(x[index], {x: values})
        return
    y = x[index]
    g = gg.placeholder("g", y.shape, "float64")
    (dx,) = gg.vjp([y], [x], [g])
    (dg,) = gg.vjp([dx], [g], [x])
    program = gg.compile([x, g], [y, dx, dg])
    cotangent = 1 / np.arange(1.0, expected.size + 1).reshape(expected.shape)
    read, added, read_again = program(values, cotangent)
    np.testing.assert_array_equal(read, expected)
    np.testing.assert_array_equal(read_again, expected)
    total = np.zeros(shape)
    np.add.at(total, index, cotangent)
    np.testing.assert_allclose(added, total, rtol=1e-12)
    np.testing.assert_allclose(np.vdot(cotangent, read), np.vdot(added, values))
