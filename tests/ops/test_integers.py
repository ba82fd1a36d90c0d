"""Arithmetic of integers and bools: exact, in their dtype, or refused."""

import itertools
import operator

import numpy as np
import pytest

import graphgpu as gg

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
ARITHMETIC = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "floor_divide": operator.floordiv,
    "remainder": operator.mod,
    "maximum": max,
    "minimum": min,
}


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", ARITHMETIC)
def test_integer_arithmetic_is_exact_and_wraps(name, dtype):
    limits = np.iinfo(dtype)
    numbers = [limits.max, limits.max - 1, 1, 2, 7]
    pairs = list(itertools.product(numbers, numbers))
    left, right = (gg.constant(np.array(c, dtype)) for c in zip(*pairs, strict=True))
    got = gg.evaluate(getattr(gg, name)(left, right))
    span = 2**limits.bits
    expected = [ARITHMETIC[name](x, y) % span for x, y in pairs]
    assert got.dtype == dtype
    assert [int(v) % span for v in got] == expected


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integer_powers_signs_and_squares_are_integers(dtype):
    low = 0 if dtype.startswith("u") else -3
    numbers = [low, 0, 1, 3]
    x = gg.constant(np.array(numbers, dtype))
    for result, reference in (
        (gg.power(x, 2), lambda v: v**2),
        (x**3, lambda v: v**3),
        (x**0, lambda v: 1),
        (gg.abs(x), abs),
        (gg.sign(x), lambda v: (v > 0) - (v < 0)),
        (gg.square(x), lambda v: v * v),
        (gg.clip(x, 1, 2), lambda v: min(max(v, 1), 2)),
    ):
        assert result.dtype == dtype
        assert gg.evaluate(result).tolist() == [reference(v) for v in numbers]
    powers = gg.power(2, gg.abs(x))
    assert gg.evaluate(powers).tolist() == [2 ** abs(v) for v in numbers]
    for real in (gg.power(x, 2.0), gg.power(x, 0.5), gg.sqrt(x), gg.reciprocal(x)):
        assert real.dtype == "float32"


def test_integers_have_no_negative_powers():
    x = gg.constant([1, 2])
    for exponent in (-1, [3, -2], gg.constant([0, -1])):
        with pytest.raises(gg.DTypeError, match="an integer has no negative integer"):
            gg.power(x, exponent)
    y = gg.placeholder("y", (2,), "int64")
    with pytest.raises(gg.ComputeError, match="negative integer powers"):
        gg.evaluate(gg.power(x, y), {y: [1, -1]})
    assert gg.evaluate(gg.power(x, -1.0)).tolist() == [1, 0.5]


@pytest.mark.parametrize("name", ["negative", "sign", "square"])
def test_bools_are_no_numbers_to_unary_operations(name):
    message = rf"{name}\(\): expected an integer or floating-point dtype; use gg.cast "
    with pytest.raises(gg.DTypeError, match=message):
        getattr(gg, name)(gg.constant([True]))


@pytest.mark.parametrize("name", ["subtract", "floor_divide", "remainder", "power"])
def test_bools_are_no_numbers_to_binary_operations(name):
    x = gg.constant([True, False])
    message = rf"{name}\(\): expected an integer or floating-point dtype; use gg.cast "
    with pytest.raises(gg.DTypeError, match=message):
        getattr(gg, name)(x, x)
    assert getattr(gg, name)(x, 2).dtype == "int64"


def test_bools_add_and_multiply_as_logic():
    x, y = gg.constant([True, True, False]), gg.constant([True, False, False])
    for result, expected in (
        (x + y, [True, True, False]),
        (x * y, [True, False, False]),
        (gg.maximum(x, y), [True, True, False]),
        (gg.minimum(x, y), [True, False, False]),
        (gg.abs(x), [True, True, False]),
    ):
        assert result.dtype == bool
        assert gg.evaluate(result).tolist() == expected
    assert gg.evaluate(x**2).tolist() == [1, 1, 0]
    assert gg.evaluate(x / 2).tolist() == [0.5, 0.5, 0]


@pytest.mark.parametrize(
    ("dtype", "number"),
    [("uint8", 300), ("uint8", -1), ("int8", 128), ("int32", 2**31), ("uint64", -1)],
)
def test_a_weak_integer_must_fit(dtype, number):
    x = gg.placeholder("x", (2,), dtype)
    for function in (gg.add, gg.equal, gg.maximum):
        with pytest.raises(gg.DTypeError, match=f"{number} does not fit in {dtype}"):
            function(x, number)
    with pytest.raises(gg.DTypeError, match=f"does not fit in {dtype}"):
        gg.constant([number], dtype)
    assert (x + float(number)).dtype == "float32"


def test_large_python_numbers_keep_their_value():
    x = gg.placeholder("x", (), "float64")
    assert gg.evaluate(x + 1e300, {x: 0.0}) == 1e300
    n = gg.placeholder("n", (), "uint64")
    assert gg.evaluate(n + (2**64 - 1), {n: 0}) == 2**64 - 1
    with pytest.raises(gg.DTypeError, match="does not fit in int64"):
        gg.constant(2**63)
    with pytest.raises(gg.DTypeError, match="expected numbers; got 36893488147419103"):
        gg.constant(2**65)
