"""Leaves: placeholders, constants, parameters and state, and their dtypes."""

import ml_dtypes
import numpy as np
import pytest

import graphgpu as gg
from graphgpu.graph import RUN_KEY, as_variable

DTYPES = (
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 "
    "float16 float32 float64 bfloat16"
).split()
FLOATS = [d for d in DTYPES if "float" in d]
INTEGERS = [d for d in DTYPES if "int" in d]
STORED = [gg.parameter, gg.state]


def ones(dtype):
    return np.ones(2, ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


# --- placeholders


def test_a_placeholder_has_a_name_a_shape_and_a_dtype():
    x = gg.placeholder("x", ("batch", 1, 28, 28))
    assert isinstance(x, gg.Placeholder)
    assert (x.name, x.path, str(x.type)) == ("x", "x", "float32[batch,1,28,28]")
    assert x.shape == (gg.dim("batch"), 1, 28, 28)
    assert x.ndim == 4
    assert x.operation is None
    assert x.inputs == ()
    assert repr(x) == "<x: float32[batch,1,28,28]>"


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ((), "[]"),
        (3, "[3]"),
        ("n", "[n]"),
        ([2, "n"], "[2,n]"),
        ((0, 1), "[0,1]"),
        ((np.int64(3), np.uint8(2)), "[3,2]"),
        ((2 * gg.dim("n") + 1, gg.dim("n") // 2), "[2*n + 1,n//2]"),
        (gg.dim("n"), "[n]"),
    ],
)
def test_a_size_is_an_int_a_name_or_an_expression(shape, text):
    made = gg.placeholder("x", shape)
    assert str(made.type) == f"float32{text}"
    assert all(type(s) in (int, gg.Dim) for s in made.shape)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (-1, "a size cannot be negative; got -1"),
        (np.int64(-2), "a size cannot be negative; got "),
        (True, "a size must be an int or a name; got True"),
        (2.0, r"a size must be an int or a name; got 2\.0"),
        (np.float32(2), "a size must be an int or a name"),
        (None, "a size must be an int or a name; got None"),
        ((2, 3), r"a size must be an int or a name; got \(2, 3\)"),
        ("", "a dimension's name must be an identifier such as 'batch'; got ''"),
        ("two words", "must be an identifier such as 'batch'; got 'two words'"),
        ("3", "must be an identifier such as 'batch'; got '3'"),
        ("n+1", r"must be an identifier such as 'batch'; got 'n\+1'"),
    ],
)
def test_other_sizes_are_refused(size, message):
    with pytest.raises(gg.ShapeError, match=rf"placeholder\('x'\): .*{message}"):
        gg.placeholder("x", (2, size))


@pytest.mark.parametrize("name", ["", "two words", "1x", "a/b", "a-b", None, 3])
def test_a_placeholders_name_is_an_identifier(name):
    with pytest.raises(gg.GraphError, match="name must be an identifier such as 'x'"):
        gg.placeholder(name, ())


def test_names_need_not_be_unique():
    first, second = gg.placeholder("x", ()), gg.placeholder("x", ())
    assert first is not second
    assert len(gg.Graph([first, second])) == 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_is_taken_by_name_and_as_numpys(dtype):
    made = gg.placeholder("x", (2,), dtype)
    assert made.dtype.name == dtype
    assert gg.placeholder("x", (2,), made.dtype).type == made.type
    assert gg.placeholder("x", (2,), made.dtype.type).type == made.type


def test_the_order_of_bytes_is_the_machines():
    swapped = np.arange(3, dtype="float32").astype(">f4")
    made = gg.constant(swapped)
    assert made.dtype == np.dtype("float32")
    assert made.value.dtype.isnative
    np.testing.assert_array_equal(made.value, [0, 1, 2])


@pytest.mark.parametrize(
    "dtype", ["complex64", "float8", "str", object, "datetime64", None, "", 3, "int"]
)
def test_other_dtypes_are_refused(dtype):
    if dtype == "int":
        assert gg.placeholder("x", (), dtype).dtype == "int64"
        return
    with pytest.raises(gg.DTypeError, match=r"is not supported; use one of bool, int8"):
        gg.placeholder("x", (), dtype)


# --- what Python's and NumPy's values become


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "int64[]"),
        (-(2**63), "int64[]"),
        (1.5, "float32[]"),
        (float("nan"), "float32[]"),
        (float("inf"), "float32[]"),
        (True, "bool[]"),
        ([], "float32[0]"),
        ([[]], "float32[1,0]"),
        ([1, 2], "int64[2]"),
        ([1, 2.5], "float32[2]"),
        ([True, False], "bool[2]"),
        ([True, 2], "int64[2]"),
        (((1, 2), (3, 4)), "int64[2,2]"),
        (range(3), "int64[3]"),
        (np.float64(1), "float64[]"),
        (np.int8(1), "int8[]"),
        (np.bool_(True), "bool[]"),
        ([np.float64(1), np.float64(2)], "float32[2]"),
        (np.zeros((0, 3)), "float64[0,3]"),
    ],
)
def test_python_values_are_bool_int64_or_float32_and_arrays_keep_their_dtype(
    value, text
):
    assert str(gg.constant(value).type) == text
    assert str(gg.state("s", value).type) == text


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_of_every_dtype_keep_it(dtype):
    for made in (gg.constant(ones(dtype)), gg.state("s", ones(dtype))):
        assert made.dtype.name == made.value.dtype.name == dtype
        np.testing.assert_array_equal(made.value, ones(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_dtype_that_is_given_decides(dtype):
    for value in (1, 1.0, True, [1.0], np.ones(2, "int16"), np.ones(2)):
        assert gg.constant(value, dtype).dtype.name == dtype


def test_values_are_c_ordered_copies():
    given = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    for made in (gg.constant(given), gg.parameter("w", given), gg.state("s", given)):
        stored = made.value if isinstance(made, gg.Constant) else made.storage.array
        assert stored.flags.c_contiguous
        assert not np.shares_memory(stored, given)
    given[:] = -1
    np.testing.assert_array_equal(gg.constant(made.value).value, [[0, 1, 2], [3, 4, 5]])


def test_a_constant_is_read_only():
    made = gg.constant([1.0, 2.0])
    with pytest.raises(ValueError, match="read-only"):
        made.value[0] = 3
    assert made.path == "constant"
    assert repr(made) == "<constant: float32[2]>"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("a", "expected numbers; got 'a'"),
        (None, "expected numbers; got None"),
        ([1, None], r"expected numbers; got \[1, None\]"),
        ([[1], [2, 3]], r"expected numbers; got \[\[1\], \[2, 3\]\] \(.*inhomogeneous"),
        (1 + 2j, "complex128.* is not supported"),
        (np.datetime64("2020"), "is not supported"),
        (np.zeros(1, [("a", int)]), "is not supported"),
        (2**63, r"9223372036854775808 does not fit in int64"),
        (2**70, r"expected numbers; got 1180591620717411303424"),
        (1e300, r"1e\+300 does not fit in float32"),
        ([0.0, -1e39], "does not fit in float32"),
    ],
)
def test_what_is_no_number_that_fits_is_refused(value, message):
    with pytest.raises(gg.DTypeError, match=message):
        gg.constant(value)
    with pytest.raises(gg.DTypeError, match=rf"state\('s'\): .*{message}"):
        gg.state("s", value)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (300, "int8"),
        (-1, "uint8"),
        ([0, 2**32], "uint32"),
        (300.0, "int8"),
        (float("nan"), "int32"),
        (float("inf"), "int64"),
        (1e5, "float16"),
        (1e39, "bfloat16"),
        (2**200 * 1.0, "float32"),
        (np.uint64(2**63), "int64"),
        (np.array([-1]), "uint64"),
    ],
)
def test_a_dtype_that_does_not_hold_the_value_is_refused(value, dtype):
    for make in (gg.constant, lambda *a: gg.state("s", *a)):
        with pytest.raises(gg.DTypeError, match=f"does not fit in {dtype}"):
            make(value, dtype)


def test_what_a_dtype_holds_is_taken_up_to_its_limits():
    for dtype in INTEGERS:
        limits = np.iinfo(dtype)
        for value in (limits.min, limits.max):
            exact = np.array(value, dtype)
            assert int(gg.constant(exact, dtype).value) == value
    for dtype in FLOATS:
        largest = float(ml_dtypes.finfo(gg.constant(0, dtype).dtype).max)
        assert float(gg.constant(largest, dtype).value) == largest
    assert np.isnan(gg.constant(float("nan"), "float16").value)
    assert gg.constant([np.inf, -np.inf], "bfloat16").value.tolist() == [
        np.inf,
        -np.inf,
    ]
    assert gg.constant(2.7, "int32").value == 2  # as numpy.array(2.7, "int32")


def test_a_variable_is_no_value():
    x = gg.placeholder("x", ())
    for make in (gg.constant, lambda v: gg.parameter("w", v)):
        with pytest.raises(gg.DTypeError, match="expected a value, got a node: Placeh"):
            make(x)


# --- weak values


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_value_beside_a_variable_takes_its_dtype_unless_its_kind_is_higher(dtype):
    like = gg.placeholder("x", (), dtype).tensor
    floating, integer = dtype in FLOATS, dtype in INTEGERS
    for value in (True, np.ones(2, bool)):
        assert as_variable(value, like).dtype.name == dtype
    for value in (1, [1, 2], np.ones(2, "int8"), np.int64(1)):
        expected = dtype if floating or integer else "int64"
        assert as_variable(value, like).dtype.name == expected
    for value in (1.0, [1.0], np.ones(2), ones("bfloat16"), np.float16(1)):
        expected = dtype if floating else "float32"
        assert as_variable(value, like).dtype.name == expected


def test_a_variable_stays_what_it_is_whatever_it_meets():
    x = gg.placeholder("x", (), "float64")
    assert as_variable(x) is x
    assert as_variable(x, gg.placeholder("y", (), "int8").tensor) is x


def test_a_weak_value_that_overflows_is_refused_with_the_operation():
    x = gg.placeholder("x", (), "uint8")
    with pytest.raises(gg.DTypeError, match=r"add: 256 does not fit in uint8; created"):
        x + 256
    half = gg.placeholder("h", (), "float16")
    with pytest.raises(
        gg.DTypeError, match=r"multiply: 100000 does not fit in float16"
    ):
        half * 100000


# --- parameters and state


@pytest.mark.parametrize("make", STORED)
def test_stored_values_are_read_as_copies(make):
    made = make("w", [1.0, 2.0])
    made.value[:] = 7
    np.testing.assert_array_equal(made.value, [1, 2])
    assert made.value is not made.value


@pytest.mark.parametrize("make", STORED)
def test_setting_a_value_writes_in_place_and_counts_a_version(make):
    made = make("w", [1.0, 2.0])
    array = made.storage.array
    assert made.storage.version == 0
    for version, value in enumerate(([3, 4], np.array([5.0, 6.0]), (True, False)), 1):
        made.value = value
        assert made.storage.array is array
        assert made.storage.version == version
        np.testing.assert_array_equal(array, np.asarray(value))
    assert array.dtype == np.float32


def test_setting_a_value_takes_a_view_of_the_storage_itself():
    w = gg.parameter("w", [1.0, 2.0, 3.0])
    w.value = w.storage.array[::-1]
    np.testing.assert_array_equal(w.value, [3, 2, 1])


@pytest.mark.parametrize(
    ("dtype", "value", "message"),
    [
        ("float32", 1.0, r"expected shape \(2,\); got \(\)"),
        ("float32", [1.0], r"expected shape \(2,\); got \(1,\)"),
        ("float32", [[1.0, 2.0]], r"expected shape \(2,\); got \(1, 2\)"),
        ("int8", [1.0, 2.0], "expected int8; got float64"),
        ("bool", [1, 0], "expected bool; got int64"),
        ("int8", [1, 128], "got numbers that do not fit in int8"),
        ("uint16", [-1, 0], "got numbers that do not fit in uint16"),
        (
            "int64",
            np.array([0, 2**63], "uint64"),
            "got numbers that do not fit in int64",
        ),
        ("float32", [0.0, 1e300], "got numbers that do not fit in float32"),
        ("float16", np.array([0, 10**6]), "got numbers that do not fit in float16"),
        ("float32", [1j, 2], "expected float32: dtype .*complex128.* not supported"),
        ("float32", ["a", "b"], "expected float32: expected numbers; got"),
        ("float32", [1, None], "expected float32: expected numbers; got"),
        ("float32", [[1], [2, 3]], "expected float32: expected numbers; got"),
        ("float32", np.zeros(2, [("a", int)]), "expected float32: .* not supported"),
        ("float32", gg.constant([1.0, 2.0]), "expected float32: .* got a node"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_and_nothing_changes(
    dtype, value, message
):
    made = gg.state("s", [1, 0], dtype)
    with pytest.raises(gg.InputError, match=rf"^State 's' .*leaves\.py:\d+, {message}"):
        made.value = value
    np.testing.assert_array_equal(made.value, np.array([1, 0], made.dtype))
    assert made.storage.version == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_state_may_have_any_dtype_and_be_set_to_it(dtype):
    made = gg.state("s", [0, 0], dtype)
    made.value = ones(dtype)
    np.testing.assert_array_equal(made.value, ones(dtype))
    assert made.value.dtype.name == dtype


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_parameter_is_floating_point(dtype):
    assert gg.parameter("w", [1, 2], dtype).dtype.name == dtype


@pytest.mark.parametrize("value", [1, True, [1, 2], np.zeros(2, "uint8")])
def test_a_parameter_that_cannot_be_trained_is_refused_with_the_cure(value):
    message = r"parameter\('w'\): expected floating-point values.*; use gg\.state"
    with pytest.raises(gg.DTypeError, match=message):
        gg.parameter("w", value)


@pytest.mark.parametrize("make", STORED)
@pytest.mark.parametrize("name", ["", "a/b", None, 3])
def test_a_stored_name_is_a_word_without_a_slash(make, name):
    with pytest.raises(gg.GraphError, match="a name is a word without a slash; got "):
        make(name, 1.0)


@pytest.mark.parametrize("make", STORED)
def test_stored_values_may_be_empty_or_scalars(make):
    made = make("w", np.zeros((0, 3)))
    made.value = np.zeros((0, 3), "float32")
    assert made.value.shape == (0, 3)
    scalar = make("s", 1.5)
    scalar.value = 2
    assert scalar.value.shape == ()
    assert float(scalar.value) == 2


def test_the_run_key_is_a_leaf_that_nobody_sets():
    assert str(RUN_KEY.type) == "uint64[3]"
    assert RUN_KEY.operation is None
    assert not hasattr(RUN_KEY, "value")
