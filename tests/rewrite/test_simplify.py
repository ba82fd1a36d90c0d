import numpy as np
import pytest
from comparing import SPECIAL, close, compare, kinds, same_bits

import graphgpu as gg
from graphgpu.graph import Constant, Graph
from graphgpu.rewrite import rewrite

EXACT = ("fold", "merge", "simplify")


def vector(dtype="float32"):
    return gg.placeholder("x", ("n",), dtype)


SAME = {
    "x + (-0)": (lambda x: x + -0.0, []),
    "x - 0": (lambda x: x - 0.0, []),
    "x + (-x)": (lambda x: x + (-gg.abs(x)), ["abs", "subtract"]),
    "-x + x": (lambda x: -gg.abs(x) + x, ["abs", "subtract"]),
    "x - (-y)": (lambda x: x - (-gg.abs(x)), ["abs", "add"]),
    "--x": (lambda x: gg.negative(-x), []),
    "-(x c)": (lambda x: -(x * 3.0), ["multiply"]),
    "-(c x)": (lambda x: -(3.0 * x), ["multiply"]),
    "-(x / c)": (lambda x: -(x / 3.0), ["divide"]),
    "-(c / x)": (lambda x: -(3.0 / x), ["divide", "negative"]),
    "(-x) c": (lambda x: (-x) * 3.0, ["multiply"]),
    "c / (-x)": (lambda x: 3.0 / (-x), ["divide"]),
    "(-x) (-y)": (lambda x: (-x) * (-gg.abs(x)), ["abs", "multiply"]),
    "|-x|": (lambda x: gg.abs(-x), ["abs"]),
    "|x²|": (lambda x: gg.abs(x * x), ["square"]),
    "|eˣ|": (lambda x: gg.abs(gg.exp(x)), ["exp"]),
    "(-x)²": (lambda x: gg.square(-x), ["square"]),
    "|x|²": (lambda x: gg.square(gg.abs(x)), ["square"]),
    "x 1": (lambda x: x * 1.0, []),
    "1 x": (lambda x: 1.0 * x, []),
    "x (-1)": (lambda x: x * -1.0, ["negative"]),
    "x x": (lambda x: x * x, ["square"]),
    "x / 1": (lambda x: x / 1.0, []),
    "x / (-1)": (lambda x: x / -1.0, ["negative"]),
    "x / 8": (lambda x: x / 8.0, ["multiply"]),
    "x / -2^-20": (lambda x: x / -(2.0**-20), ["multiply"]),
    "1 / x": (lambda x: 1.0 / x, ["reciprocal"]),
    "1 / √x": (lambda x: 1.0 / gg.sqrt(x), ["rsqrt"]),
    "x¹": (lambda x: gg.power(x, 1.0), []),
    "x⁰": (lambda x: gg.power(x, 0.0), ["broadcast_to"]),
    "cast of cast": (lambda x: x.cast("float64").cast("float32"), []),
    "widened twice": (
        lambda x: x.cast("float16").cast("float32").cast("float64"),
        ["cast", "cast"],
    ),
    "stop_gradient": (lambda x: gg.stop_gradient(gg.exp(x)), ["exp"]),
}


@pytest.mark.parametrize("name", SAME)
def test_an_expression_is_simplified_and_no_bit_changes(name):
    build, expected = SAME[name]
    x = vector()
    result = compare([x], [build(x)], [SPECIAL], EXACT)
    assert sorted(kinds(result)) == sorted(expected)


STAYS = {
    "x 0": lambda x: x * 0.0,
    "0 - x": lambda x: 0.0 - x,
    "x + 0": lambda x: x + 0.0,
    "x - (-0)": lambda x: x - -0.0,
    "x - x": lambda x: x - x,
    "x / x": lambda x: x / x,
    "√x": lambda x: gg.power(x, 0.5),
    "-(x - y)": lambda x: -(x - gg.abs(x)),
    "|relu|": lambda x: gg.abs(gg.relu(x)),
    "x / 3": lambda x: x / 3.0,
    "x / 2^-149": lambda x: x / 2.0**-149,
    "x / 2^127": lambda x: x / 2.0**127,
    "√x squared": lambda x: gg.square(gg.sqrt(x)),
    "rounded": lambda x: x.cast("float16").cast("float32"),
    "truncated": lambda x: gg.clip(x, -9, 9).cast("int64").cast("float32"),
}


@pytest.mark.parametrize("name", STAYS)
def test_what_would_change_a_special_value_stays(name):
    x = vector()
    y = STAYS[name](x)
    arrays = [np.nan_to_num(SPECIAL)] if name == "truncated" else [SPECIAL]
    result = compare([x], [y], arrays, EXACT)
    assert kinds(result) == [v.operation.kind() for v in Graph(y) if v.operation]


@pytest.mark.parametrize("exponent", [-1.0, 2.0, 3.0, 4.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_small_powers_are_products(exponent, dtype):
    x = vector(dtype)
    result = compare(
        [x],
        [gg.power(x, gg.constant(exponent, dtype))],
        [SPECIAL.astype(dtype)],
        EXACT,
        close,
    )
    assert "power" not in kinds(result)


def test_small_powers_of_halves_stay_as_each_product_would_be_rounded():
    x = vector("float16")
    assert kinds(rewrite([gg.power(x, 3.0)])) == ["power"]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "bool", "float16"])
def test_rules_hold_in_every_dtype(dtype):
    x = vector(dtype)
    ones, zeros = gg.full(("n",), 1, dtype), gg.full(("n",), 0, dtype)
    outputs = [x * ones, x + zeros, gg.maximum(x, x)]
    if dtype != "bool":
        outputs += [x * x, gg.negative(-x), x + (-x), gg.abs(-x), x - zeros, (-x) * 3]
        outputs += [
            gg.power(x, gg.constant(np.asarray(e, dtype))) for e in (0, 1, 2, 3)
        ]
    arrays = [np.array([0, 1, 2, 127, 100, 255, -1, -128]).astype(dtype)]
    compare([x], outputs, arrays, EXACT, same_bits)


def test_a_neutral_operand_that_is_larger_leaves_a_broadcast():
    x = gg.placeholder("x", (3,))
    y = x * gg.ones((2, 3))
    result = compare([x], [y, y + 1.0], [np.arange(3, dtype="float32")], EXACT)
    assert sorted(kinds(result)) == ["add", "broadcast_to", "broadcast_to"]


def test_a_power_whose_gradient_has_choices_becomes_products():
    x = vector()
    (dx,) = gg.gradients(gg.sum(gg.power(x, 3.0)), [x])
    result = compare([x], [dx], [SPECIAL], EXACT, same_bits)
    assert sorted(kinds(result)) == ["multiply", "square"]


@pytest.mark.parametrize(
    ("narrow", "wide", "exact"),
    [
        ("float16", "float32", True),
        ("bfloat16", "float32", True),
        ("bfloat16", "float16", False),
        ("int8", "bfloat16", True),
        ("uint8", "bfloat16", True),
        ("int16", "bfloat16", False),
        ("int32", "float32", False),
        ("int32", "float64", True),
        ("uint16", "float32", True),
        ("int64", "float64", False),
        ("bool", "int8", True),
        ("int8", "uint8", False),
        ("uint8", "int16", True),
    ],
)
def test_a_cast_back_is_dropped_only_where_the_first_lost_nothing(narrow, wide, exact):
    x = vector(narrow)
    y = x.cast(wide).cast(narrow) if narrow != "bool" else x.cast(wide).cast("int64")
    found = kinds(rewrite([y], EXACT))
    floating_to_integer = "float" in wide and "float" not in narrow
    if narrow == "bool":
        assert found == ["cast"]
    else:
        assert found == ([] if exact and not floating_to_integer else ["cast", "cast"])


def test_a_float_outside_an_integers_range_is_not_converted_from_elsewhere():
    x = vector("uint8")
    y = x.cast("float32").cast("int8")
    assert kinds(rewrite([y])) == ["cast", "cast"]


def test_constants_that_rules_make_have_the_place_of_what_they_stand_for():
    x = vector()
    with gg.scope("layer"):
        y = -(x * 3.0)
    (new,) = rewrite([y]).outputs
    (made,) = [v for v in Graph(new) if isinstance(v, Constant)]
    assert made.context.path == new.context.path == "layer"
    assert made.trace.line == y.trace.line
