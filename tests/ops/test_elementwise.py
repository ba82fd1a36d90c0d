"""What all elementwise operations share: dtypes, broadcasting, casts, extremes."""

import itertools
import math
import operator
from dataclasses import dataclass

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.testing import assert_close, check_gradient, check_operation

ALL_FLOATS = ("float64", "float32", "float16", "bfloat16")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
NAN, INF = math.nan, math.inf


def values_of(dtype, numbers):
    """Return a constant of some dtype."""
    return gg.cast(gg.constant(numbers, "float64"), dtype)


# --- special values

POINTS = [NAN, INF, -INF, 0.0, -0.0, 2.0, -2.0]
UNARY = {
    "negative": [NAN, -INF, INF, -0.0, 0.0, -2, 2],
    "abs": [NAN, INF, INF, 0.0, 0.0, 2, 2],
    "sign": [NAN, 1, -1, 0.0, 0.0, 1, -1],
    "square": [NAN, INF, INF, 0.0, 0.0, 4, 4],
    "sqrt": [NAN, INF, NAN, 0.0, -0.0, 2**0.5, NAN],
    "rsqrt": [NAN, 0.0, NAN, INF, -INF, 0.5**0.5, NAN],
    "reciprocal": [NAN, 0.0, -0.0, INF, -INF, 0.5, -0.5],
    "exp": [NAN, INF, 0.0, 1, 1, math.e**2, math.e**-2],
    "isnan": [True, False, False, False, False, False, False],
    "isinf": [False, True, True, False, False, False, False],
    "isfinite": [False, False, False, True, True, True, True],
    "logical_not": [False, False, False, True, True, False, False],
}


@pytest.mark.parametrize("dtype", ALL_FLOATS)
@pytest.mark.parametrize("name", UNARY)
def test_unary_operations_of_special_values(name, dtype):
    expected = np.array(UNARY[name])
    got = gg.evaluate(getattr(gg, name)(values_of(dtype, POINTS)))
    assert_close(got, expected)
    if expected.dtype != bool:
        number = ~np.isnan(expected)
        np.testing.assert_array_equal(
            np.signbit(got.astype(float))[number], np.signbit(expected)[number]
        )


def extreme(choose):
    """Return a function that chooses, NaN before all."""
    return lambda x, y: NAN if math.isnan(x) or math.isnan(y) else choose(x, y)


def quotient(x, y):
    """Return x / y as IEEE 754 has it, where Python raises."""
    if y:
        return x / y
    if math.isnan(x) or x == 0:
        return NAN
    return math.copysign(INF, x) * math.copysign(1, y)


BINARY = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": quotient,
    "maximum": extreme(max),
    "minimum": extreme(min),
    "equal": operator.eq,
    "not_equal": operator.ne,
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
    "logical_and": lambda x, y: bool(x) and bool(y),
    "logical_or": lambda x, y: bool(x) or bool(y),
    "logical_xor": lambda x, y: bool(x) != bool(y),
}


@pytest.mark.parametrize("dtype", ALL_FLOATS)
@pytest.mark.parametrize("name", BINARY)
def test_binary_operations_of_special_values(name, dtype):
    pairs = list(itertools.product(POINTS, POINTS))
    left, right = (values_of(dtype, column) for column in zip(*pairs, strict=True))
    got = gg.evaluate(getattr(gg, name)(left, right))
    assert_close(got, np.array([BINARY[name](x, y) for x, y in pairs]))


POWERS = [  # C99, F.9.4.4
    (0.0, -1.0, INF),
    (-0.0, -1.0, -INF),
    (0.0, -2.0, INF),
    (0.0, 3.0, 0.0),
    (-1.0, INF, 1.0),
    (1.0, NAN, 1.0),
    (NAN, 0.0, 1.0),
    (0.5, -INF, INF),
    (2.0, -INF, 0.0),
    (2.0, INF, INF),
    (-INF, 3.0, -INF),
    (-INF, -3.0, -0.0),
    (INF, -1.0, 0.0),
    (-8.0, 1 / 3, NAN),
    (-2.0, 3.0, -8.0),
]


@pytest.mark.parametrize("dtype", ALL_FLOATS)
def test_powers_of_special_values_are_those_of_c99(dtype):
    x, y, expected = zip(*POWERS, strict=True)
    got = gg.evaluate(gg.power(values_of(dtype, x), values_of(dtype, y)))
    assert_close(got, np.array(expected))


REMAINDERS = [  # as Python: of the sign of the divisor
    (7.0, 3.0, 2.0, 1.0),
    (-7.0, 3.0, -3.0, 2.0),
    (7.0, -3.0, -3.0, -2.0),
    (-7.0, -3.0, 2.0, -1.0),
    (1.5, 0.5, 3.0, 0.0),
]


@pytest.mark.parametrize("dtype", [*ALL_FLOATS, "int8", "int64"])
def test_floor_division_and_remainder_have_the_sign_of_the_divisor(dtype):
    rows = REMAINDERS[: None if dtype in ALL_FLOATS else -1]
    x, y, quotient, rest = zip(*rows, strict=True)
    left, right = values_of(dtype, x), values_of(dtype, y)
    assert gg.evaluate(left // right).tolist() == list(quotient)
    assert gg.evaluate(left % right).tolist() == list(rest)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_divided_by_zero_give_zero_as_in_numpy(dtype):
    x, zero = values_of(dtype, [3, 0]), values_of(dtype, [0, 0])
    assert gg.evaluate(x // zero).tolist() == [0, 0]
    assert gg.evaluate(x % zero).tolist() == [0, 0]


# --- casts


@pytest.mark.parametrize("source", ALL_FLOATS)
@pytest.mark.parametrize("target", ALL_FLOATS)
def test_casting_back_and_forth_has_a_gradient(source, target):
    x = gg.placeholder("x", (3,), source)
    (dx,) = gg.gradients(gg.sum(gg.cast(x, target) ** 2), [x])
    assert dx.dtype == x.dtype
    got = gg.evaluate(dx, {x: np.array([1.0, -2.0, 0.5]).astype(x.dtype)})
    assert got.tolist() == [2, -4, 1]


def test_casting_to_the_same_dtype_is_the_same_variable():
    x = gg.placeholder("x", (3,), "bfloat16")
    assert gg.cast(x, "bfloat16") is x
    assert gg.cast(x, gg.bfloat16) is x


def test_casts_truncate_toward_zero_and_see_truth_in_all_but_zero():
    x = gg.constant([-1.7, -0.0, 0.5, NAN])
    assert gg.evaluate(gg.cast(x[:3], "int32")).tolist() == [-1, 0, 0]
    assert gg.evaluate(gg.cast(x, bool)).tolist() == [True, False, True, True]
    assert gg.evaluate(gg.cast(gg.constant([True, False]), "bfloat16")).tolist() == [
        1,
        0,
    ]
    check_operation(lambda x: gg.cast(x, "int8"), [np.array([1.9, -1.9])], np.trunc)
    check_operation(lambda x: gg.cast(x, "float64"), [np.zeros((0, 2))], np.copy)


def test_a_cast_to_integers_blocks_the_gradient():
    x = gg.placeholder("x", (3,))
    y = gg.sum(gg.cast(gg.cast(x, "int32"), "float32"))
    with pytest.raises(gg.GradientError, match=r"cast\(dtype=int32\).*blocks"):
        gg.gradients(y, [x])


def test_an_unknown_dtype_is_named():
    with pytest.raises(gg.DTypeError, match="dtype 'float8' is not supported; use one"):
        gg.cast(gg.constant([1.0]), "float8")


# --- broadcasting

SHAPES = [
    ((3, 4), (4,)),
    ((3, 1), (1, 4)),
    ((), (3, 4)),
    ((2, 1, 4), (3, 1)),
    ((0,), ()),
]


@pytest.mark.parametrize(("left", "right"), SHAPES)
def test_broadcasting_is_undone_in_gradients(left, right):
    random = np.random.default_rng(2)
    x, y = random.standard_normal(left), random.standard_normal(right)
    check_operation(
        lambda x, y: x * y + gg.exp(x - y), [x, y], lambda x, y: x * y + np.exp(x - y)
    )
    check_operation(gg.maximum, [x, y], np.maximum, order=1)


def test_names_that_meet_must_agree_when_called():
    x, y = gg.placeholder("x", ("n",)), gg.placeholder("y", ("m",))
    (dx, dy) = gg.gradients(gg.sum(x * y * y), [x, y])
    assert (dx.shape, dy.shape) == (x.shape, y.shape)
    values = {x: [1.0, 2.0], y: [3.0, 5.0]}
    program = gg.compile([x, y], [dx, dy], device="cpu")
    got = program(*values.values())
    assert [g.tolist() for g in got] == [[9, 25], [6, 20]]
    with pytest.raises(gg.InputError, match="broadcast along axis -1"):
        program([1.0, 2.0], [1.0, 2.0, 3.0])


def test_sizes_that_cannot_meet_are_refused_with_the_line():
    x, y = gg.placeholder("x", (2, 3)), gg.placeholder("y", (4,))
    with pytest.raises(gg.ShapeError) as caught:
        x + y
    text = str(caught.value)
    assert text.startswith("add(): broadcast along axis -1: expected equal sizes, got ")
    assert "got float32[2,3] and float32[4]" in text
    assert __file__ in text


def test_what_is_no_number_is_refused_with_the_operation():
    x = gg.placeholder("x", (2,))
    for value in ("a", None, [1, [2]], {}):
        with pytest.raises(gg.DTypeError, match=r"add: expected numbers; got .*; cre"):
            gg.add(x, value)
        with pytest.raises(gg.DTypeError, match=r"exp: expected numbers; got .*; cre"):
            gg.exp(value)
    with pytest.raises(gg.DTypeError, match=r"complex128.* is not supported"):
        x * 1j


# --- gradients where they are delicate


def slopes(function, *values):
    """Return the derivatives of a function of scalars, first and second in x."""
    variables = [gg.placeholder(f"x{i}", (), "float64") for i in range(len(values))]
    y = function(*variables)
    first = gg.gradients(y, variables)
    (second,) = gg.gradients(first[0], variables[:1], disconnected="zero")
    return gg.compile(variables, [*first, second], device="cpu")(*values)


def test_powers_have_derivatives_at_zero():
    assert [float(v) for v in slopes(gg.power, 0.0, 0.0)] == [0, 0, 0]
    assert [float(v) for v in slopes(gg.power, 0.0, 1.0)] == [1, 0, 0]
    assert [float(v) for v in slopes(gg.power, 0.0, 2.0)] == [0, 0, 2]
    assert [float(v) for v in slopes(gg.power, 0.0, 3.0)] == [0, 0, 0]
    dx, dy, _ = slopes(gg.power, -2.0, 3.0)
    assert dx == 12
    assert np.isnan(dy)


def test_powers_have_mixed_derivatives_where_the_exponent_is_zero():
    check_gradient(gg.power, [np.array([0.5, 2.0]), np.array([0.0, 0.0])], order=3)


def test_the_choice_of_the_larger_leaves_the_other_exactly_zero():
    for function, larger in ((gg.maximum, 0), (gg.minimum, 1)):
        x, y = gg.placeholder("x", ()), gg.placeholder("y", ())
        cost = gg.sqrt(function(x, y))
        grads = gg.gradients(cost, [x, y])
        values = (0.0, -1.0) if larger == 0 else (1.0, 0.0)
        got = gg.compile([x, y], grads, device="cpu")(*values)
        assert got[larger] == INF
        assert got[1 - larger] == 0


def test_equal_operands_share_the_gradient():
    for function in (gg.maximum, gg.minimum):
        first, second, _ = slopes(function, 1.5, 1.5)
        assert (float(first), float(second)) == (0.5, 0.5)
    inside, _ = slopes(lambda x: gg.clip(x, -1, 1), 0.3)
    at_the_bound, _ = slopes(lambda x: gg.clip(x, -1, 1), 1.0)
    outside, _ = slopes(lambda x: gg.clip(x, -1, 1), 1.2)
    assert [float(inside), float(at_the_bound), float(outside)] == [1, 0.5, 0]


def test_the_derivative_of_abs_is_zero_at_zero():
    assert [float(v) for v in slopes(gg.abs, 0.0)] == [0, 0]


# --- an operation from outside


@dataclass(frozen=True, slots=True)
class Scaled(gg.Unary):
    """factor x² + 1/2."""

    factor: float

    expression = "factor * square(x) + 0.5"
    lowest_kind = 2

    def derivative(self, x, y):
        """Return 2 factor x."""
        return 2 * self.factor * x


def test_numbers_in_an_expression_are_weak_and_halves_are_rounded_once():
    check_operation(
        lambda x: gg.apply(Scaled(0.3), x),
        [np.array([[0.3, -1.7], [2.5, 0.1]])],
        lambda x: 0.3 * x * x + 0.5,
        dtypes=ALL_FLOATS,
    )
    x = gg.constant(np.linspace(-3, 3, 101))
    for dtype in ("float16", "bfloat16"):
        half = gg.cast(x, dtype)
        got = gg.apply(Scaled(0.3), half)
        wide = gg.apply(Scaled(0.3), gg.cast(half, "float32"))
        np.testing.assert_array_equal(
            gg.evaluate(got), gg.evaluate(gg.cast(wide, dtype))
        )


def test_an_operation_without_a_derivative_says_so():
    @dataclass(frozen=True, slots=True)
    class Opaque(gg.Unary):
        """x + 1, of unknown derivative."""

        expression = "x + 1"

    x = gg.placeholder("x", ())
    with pytest.raises(gg.GradientError, match=r"opaque.*defines no derivative"):
        gg.gradients(gg.apply(Opaque(), x), [x])
