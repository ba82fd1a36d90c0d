"""The promotion table: as published, commutative, and its weak values."""

import itertools

import ml_dtypes
import numpy as np
import pytest

import graphgpu as gg
from graphgpu.dtypes import (
    accumulator,
    dtype,
    is_floating,
    is_integer,
    kind,
    promote,
    weak_dtype,
)

NAMES = (
    "bool uint8 uint16 uint32 uint64 int8 int16 int32 int64 "
    "float16 bfloat16 float32 float64"
).split()
DTYPES = [dtype(n) for n in NAMES]

# Row with column; b bool, u1..u8 unsigned, i1..i8 signed, f2 float16, bf bfloat16.
TABLE = """
b  u1 u2 u4 u8 i1 i2 i4 i8 f2 bf f4 f8
u1 u1 u2 u4 u8 i2 i2 i4 i8 f2 bf f4 f8
u2 u2 u2 u4 u8 i4 i4 i4 i8 f2 bf f4 f8
u4 u4 u4 u4 u8 i8 i8 i8 i8 f2 bf f4 f8
u8 u8 u8 u8 u8 f8 f8 f8 f8 f2 bf f4 f8
i1 i2 i4 i8 f8 i1 i2 i4 i8 f2 bf f4 f8
i2 i2 i4 i8 f8 i2 i2 i4 i8 f2 bf f4 f8
i4 i4 i4 i8 f8 i4 i4 i4 i8 f2 bf f4 f8
i8 i8 i8 i8 f8 i8 i8 i8 i8 f2 bf f4 f8
f2 f2 f2 f2 f2 f2 f2 f2 f2 f2 f4 f4 f8
bf bf bf bf bf bf bf bf bf f4 bf f4 f8
f4 f4 f4 f4 f4 f4 f4 f4 f4 f4 f4 f4 f8
f8 f8 f8 f8 f8 f8 f8 f8 f8 f8 f8 f8 f8
"""
SHORT = dict(zip("b u1 u2 u4 u8 i1 i2 i4 i8 f2 bf f4 f8".split(), NAMES, strict=True))
PUBLISHED = {
    (row, column): SHORT[entry]
    for row, line in zip(NAMES, TABLE.split("\n")[1:-1], strict=True)
    for column, entry in zip(NAMES, line.split(), strict=True)
}


@pytest.mark.parametrize("left", NAMES)
def test_promotion_is_as_published(left):
    for right in NAMES:
        assert promote(dtype(left), dtype(right)).name == PUBLISHED[left, right]


def test_promotion_is_commutative_and_idempotent():
    for left, right in itertools.product(DTYPES, DTYPES):
        assert promote(left, right) == promote(right, left)
        assert promote(left, left) == left
        assert promote(promote(left, right), right) == promote(left, right)


def test_promotion_is_associative_among_floats_signed_integers_and_bool():
    table = [d for d in DTYPES if d.kind != "u" or d.itemsize < 8]
    for group in (
        [d for d in DTYPES if is_floating(d)],
        [d for d in table if not is_floating(d)],
    ):
        for x, y, z in itertools.product(group, repeat=3):
            assert promote(promote(x, y), z) == promote(x, promote(y, z))


def test_operators_promote_by_the_table():
    for left, right in itertools.product(NAMES, NAMES):
        x, y = gg.placeholder("x", (2,), left), gg.placeholder("y", (2,), right)
        assert (x + y).dtype.name == PUBLISHED[left, right], (left, right)


@pytest.mark.parametrize("name", NAMES)
def test_python_numbers_and_arrays_are_weak(name):
    x = gg.placeholder("x", (1,), name)
    floating = "float" in name
    assert (x + True).dtype == x.dtype
    assert (x + 1).dtype.name == ("int64" if name == "bool" else name)
    for real in (1.0, np.float64(1.0), np.ones(1), [1.0], np.ones(1, "float16")):
        assert gg.add(x, real).dtype.name == (name if floating else "float32")
        assert gg.add(real, x).dtype.name == (name if floating else "float32")


def test_a_weak_number_keeps_all_its_digits_beside_float64():
    x = gg.placeholder("x", (), "float64")
    assert float(gg.evaluate(x * 0.1, {x: 1.0})) == 0.1
    assert float(gg.evaluate(x + 1 / 3, {x: 0.0})) == 1 / 3


def test_weak_dtypes():
    for value, other in itertools.product(DTYPES, DTYPES):
        found = weak_dtype(value, other)
        if kind(value) <= kind(other):
            assert found == other
        else:
            assert found.name == ("float32" if is_floating(value) else "int64")


def test_integers_divide_to_float32():
    x, y = gg.placeholder("x", (), "int32"), gg.placeholder("y", (), "int64")
    assert (x / y).dtype == "float32"
    assert (x / 2).dtype == "float32"
    assert gg.exp(y).dtype == "float32"


def test_dtypes_are_found_by_name_dtype_or_scalar_type():
    assert dtype("float32") == dtype(np.float32) == dtype(np.dtype("f4"))
    assert dtype("bfloat16") == dtype(ml_dtypes.bfloat16) == gg.bfloat16
    assert dtype(float) == np.dtype("float64")
    assert dtype(bool) == dtype("bool") == np.dtype(bool)


def test_the_order_of_bytes_does_not_matter():
    swapped = np.array([1.0, 2.0], np.dtype("float32").newbyteorder("S"))
    assert dtype(swapped.dtype) == np.dtype("float32")
    assert dtype(swapped.dtype).isnative
    x = gg.placeholder("x", (2,))
    np.testing.assert_array_equal(
        gg.evaluate(x + gg.constant(swapped), {x: swapped}), [2, 4]
    )


@pytest.mark.parametrize("bad", ["complex64", "float8", "U3", object, "datetime64", 3])
def test_other_dtypes_are_refused_with_those_that_there_are(bad):
    with pytest.raises(gg.DTypeError, match=r"is not supported; use one of bool, int8"):
        dtype(bad)


def test_kinds_are_in_the_order_of_promotion():
    assert [kind(d) for d in DTYPES] == [0] + [1] * 8 + [2] * 4
    assert [is_integer(d) for d in DTYPES] == [kind(d) == 1 for d in DTYPES]
    assert [is_floating(d) for d in DTYPES] == [kind(d) == 2 for d in DTYPES]


def test_halves_are_accumulated_in_float32():
    for d in DTYPES:
        expected = "float32" if d.name in ("float16", "bfloat16") else d.name
        assert accumulator(d).name == expected
