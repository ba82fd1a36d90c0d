"""Elementwise kernels against the operations' own ``numpy``."""

import itertools
import sys
from dataclasses import dataclass, fields

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.backends.cuda.rules import cones, elementwise, has_rule, kernels
from graphgpu.backends.cuda.rules.elementwise import elementwise_kernel
from graphgpu.dtypes import dtype, is_floating, kind
from graphgpu.graph import apply
from graphgpu.nodes import concrete
from graphgpu.ops.elementwise import Cast, Elementwise
from graphgpu.ops.expression import PRIMITIVES
from graphgpu.schedule import schedule

DTYPES = (
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 bfloat16 "
    "float32 float64"
).split()
FLOATS = DTYPES[9:]
GUARD = 0xA5
FIELDS = {
    "Balance": [(1e-30, 1e30)],
    "LeakyRelu": [(0.1,)],
    "Celu": [(1.5,)],
    "Elu": [(1.5,)],
    "Hardshrink": [(0.5,)],
    "Hardtanh": [(-1.0, 1.5)],
    "Huber": [(1.0,)],
    "SharpSoftplus": [(2.5,)],
    "Softshrink": [(0.5,)],
    "Swish": [(0.3,), (2.5,)],
    "Threshold": [(0.5, -3.0)],
    "RoundTo": [(100.0, 1.0), (1.0, 10.0)],
    "Among": [(0,), (3,)],
    "Chosen": [(0,), (3,)],
}
EXACT = (
    "Add Subtract Multiply Divide FloorDivide Remainder Maximum Minimum Negative Abs "
    "Sign Square Sqrt Relu Floor Ceil Trunc Round Where"
).split()


def operations():
    """Return every elementwise operation, with some values of its fields."""
    found, classes = [], [Elementwise]
    while classes:
        cls = classes.pop()
        classes += cls.__subclasses__()
        here = getattr(sys.modules[cls.__module__], cls.__name__, None)
        if here is not cls or not hasattr(cls, "expression"):
            continue  # abstract, or what a dataclass with slots was made of
        if cls.__module__.startswith("graphgpu."):
            names = FIELDS.get(cls.__name__, [()])
            assert all(len(n) == len(fields(cls)) for n in names), cls
            found += [cls(*n) for n in names]
    return sorted(found, key=repr)


@dataclass
class Case:
    """A kernel, the arrays that it reads, and what it should write."""

    label: str
    kernel: object
    given: list
    expected: list


def case(label, given, build, outputs=None):
    """Return the case of all that is built from placeholders like some arrays."""
    leaves = [
        gg.placeholder(f"x{k}", a.shape, a.dtype.name) for k, a in enumerate(given)
    ]
    made = build(*leaves)
    made = made if isinstance(made, tuple) else (made,)
    nodes = concrete(schedule(made), {})
    values = dict(zip(leaves, given, strict=True))
    with np.errstate(all="ignore"):
        for variable, node in nodes.items():
            if variable not in values and variable.operation is None:
                values[variable] = variable.value
            if variable not in values:
                inputs = [values[p.variable] for p in node.inputs]
                values[variable] = np.asarray(variable.operation.numpy(*inputs))
    computed = [n for n in nodes.values() if n.operation]
    kernel = elementwise_kernel(computed, [nodes[v] for v in made])
    reads = [values[o.node.variable] for o in kernel.reads]
    return Case(label, kernel, reads, [values[v] for v in made])


def run(driver, cases):
    """Compile the cases' kernels as one source; return what each writes."""
    sources = dict.fromkeys(c.kernel.source for c in cases)
    source = "\n".join(sources)
    stream, results = driver.stream(), []
    for one in cases:
        function = driver.compile(source, one.kernel.name)
        memory, written = [], []
        for array in one.given:
            memory.append(driver.allocate(max(array.nbytes, 1)))
            driver.upload(memory[-1].address, np.ascontiguousarray(array), stream)
        for array in one.expected:
            memory.append(driver.allocate(max(array.nbytes, 1)))
            driver.fill(memory[-1].address, GUARD, array.nbytes, stream)
            written.append((memory[-1], np.empty_like(array)))
        arguments = [np.uint64(m.address) for m in memory]
        driver.launch(function, one.kernel.grid, one.kernel.block, arguments, stream)
        for place, array in written:
            driver.download(place.address, array, stream)
        results.append([array for _, array in written])
    return results


def check(driver, cases, tolerance=None):
    """Compare what the cases' kernels write: exactly, or nearly."""
    for one, results in zip(cases, run(driver, cases), strict=True):
        for result, expected in zip(results, one.expected, strict=True):
            assert result.dtype == expected.dtype, one.label
            limit = tolerance(one.label) if tolerance else 0
            close(result, expected, limit, one.label)


def close(result, expected, ulps, label):
    """Require equal values, NaN, infinities, and signs of zeros, or some ulps apart."""
    if not is_floating(result.dtype):
        np.testing.assert_array_equal(result, expected, err_msg=label)
        return
    got, want = result.astype(float), expected.astype(float)
    digits = {"float64": 52, "float32": 23, "float16": 10, "bfloat16": 7}
    epsilon = 2.0 ** -digits[result.dtype.name]
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want), err_msg=label)
    number = ~np.isnan(want)
    tiny = {"float16": 2.0**-24, "bfloat16": 2.0**-133}.get(result.dtype.name, 2e-45)
    np.testing.assert_allclose(
        got, want, rtol=ulps * epsilon, atol=ulps and tiny, err_msg=label
    )
    if not label.startswith(("Maximum", "Minimum", "Relu")):  # of zeros, NumPy's any
        same = np.signbit(got[number]) == np.signbit(want[number])
        assert same.all(), f"{label}: {want[number][~same]}"


def numbers(name):
    """Return the special values of a dtype, and some ordinary ones."""
    d = dtype(name)
    if name == "bool":
        return np.array([False, True])
    if not is_floating(d):
        limits = np.iinfo(d)
        low, high = limits.min, limits.max
        values = {low, low + 1, low // 2, 0, 1, 2, 3, 7, high // 2, high - 1, high}
        return np.array(sorted(values | ({-1, -2, -7} if low else set())), d)
    values = "nan inf -inf 0 -0 1 -1 2 -2.5 0.5 1.5 -0.5 3 0.1 9 -7 30 1e2 1e-3".split()
    limits = {"float16": (65504, 2**-24), "bfloat16": (3.38e38, 2**-130)}
    high, low = limits.get(name, (3.4e38, 1e-40))
    if name == "float64":
        high, low = 1.7e308, 5e-320
    return np.array([*map(float, values), high, -high, low, -low]).astype(d)


def pairs(name):
    """Return all pairs of numbers, an odd number of them."""
    values = numbers(name)
    x, y = (np.array(c) for c in zip(*itertools.product(values, values), strict=True))
    x, y = x.astype(values.dtype), y.astype(values.dtype)
    more = 1 + len(x) % 2
    return np.concatenate([x, x[-1:].repeat(more)]), np.concatenate([y, y[:more]])


def arrays_for(operation, name):
    """Return operands for an operation."""
    x, y = pairs(name)
    if type(operation).__name__ == "Power" and dtype(name).kind == "i":
        y = np.where(y < 0, 5, y).astype(y.dtype)
    given = {"x": x, "y": y, "condition": np.arange(len(x)) % 3 == 0}
    given |= {"index": x, "place": y, "value": x}
    return [given[n] for n in operation.operands]


def ulps(label):
    """Return how far a result may be from NumPy's, in units of the last place."""
    name = label.split("(")[0].split(" ")[0]
    if name == "GeluTanh" and label.endswith("32"):  # e^v of a v = -40, rounded
        return 40
    return 0 if name in EXACT else 8 if label.endswith(("32", "64")) else 1


@pytest.mark.parametrize("name", DTYPES)
def test_every_operation_agrees_with_numpy(driver, name):
    cases = [
        case(
            f"{operation!r} of {name}",
            arrays_for(operation, name),
            lambda *x, o=operation: apply(o, *x),
        )
        for operation in operations()
        if operation.lowest_kind <= kind(dtype(name))
        # gg.round leaves integers alone, where NumPy takes them to float64 and back
        and (type(operation).__name__ != "Round" or not name.endswith("int64"))
    ]
    check(driver, cases, ulps)


def test_every_elementwise_operation_has_a_rule():
    assert all(has_rule(o) for o in [*operations(), Cast(dtype("int8"))])


# --- primitives that no operation uses yet, and kinds that none gives them

UNARY = (
    "negative abs sign exp expm1 exp2 log log1p log2 log10 sqrt square reciprocal sin "
    "cos tan asin acos atan sinh cosh tanh asinh acosh atanh floor ceil rint trunc "
    "logical_not isnan isinf isfinite signbit"
).split()
SPECIAL = ["erf", "erfc", "normcdf"]
MATHEMATICS = {n for n in UNARY if isinstance(PRIMITIVES[n], np.ufunc)} - set(
    "negative abs sign sqrt square reciprocal floor ceil rint trunc logical_not isnan "
    "isinf isfinite signbit".split()
)


class Formula(Elementwise):
    """An operation of x and y that is given as text."""

    operands = ("x", "y")

    def __init__(self, expression, result):
        self.expression, self.result = expression, dtype(result)

    __dataclass_fields__ = {}  # noqa: RUF012

    def result_dtype(self, operand):
        return self.result


def formula(expression, x, y):
    """Return the case of an expression; its dtype is the one that NumPy gives it."""
    scope = {"x": x[:1], "y": y[:1], **PRIMITIVES}
    with np.errstate(all="ignore"):
        result = eval(expression, scope).dtype
    label = f"{expression} of {x.dtype}"
    return case(label, [x, y], lambda a, b: apply(Formula(expression, result), a, b))


@pytest.mark.parametrize("name", ["bool", "int8", "uint16", "int64", "float32"])
def test_every_primitive_has_numpy_meaning_for_every_kind(driver, name):
    x, y = pairs(name)
    if dtype(name).kind == "i":
        y = np.where(y < 0, 5, y).astype(y.dtype)
    cases = []
    for primitive in sorted(PRIMITIVES):
        arguments = "(x)" if primitive in [*UNARY, *SPECIAL] else "(x, y)"
        if primitive == "where":
            arguments = "(x, y, x)"
        expression = primitive + arguments
        if primitive in SPECIAL and kind(x.dtype) < 2:
            continue
        left = x[x != 0] if primitive == "reciprocal" and name != "float32" else x
        right = y[: len(left)]
        if primitive == "power" and name == "bool":
            continue
        try:
            cases.append(formula(expression, left, right))
        except TypeError:  # NumPy has none for this kind
            continue
    assert len(cases) > 30
    near = {*MATHEMATICS, *SPECIAL, "power", "hypot", "atan2"}
    check(driver, cases, lambda label: 8 * (label.split("(")[0] in near))


def test_integers_divided_by_zero_are_zero_and_overflow_wraps(driver):
    x = np.array([-128, -1, 0, 1, 2, 127], np.int8)
    cases = []
    for text, y in itertools.product(("x // y", "x % y", "fmod(x, y)"), (0, -1)):
        cases.append(formula(text, x, np.full(6, y, np.int8)))
    check(driver, cases)


def test_integer_powers_below_zero_are_truncated(driver):
    x, y = np.array([-2, -1, -1, 0, 1, 2], np.int8), np.array([-3, -3, -2, -1, -5, -1])
    one = formula("power(x, y)", x, np.abs(y).astype(np.int8))
    one.given[1] = y.astype(np.int8)
    ((result,),) = run(driver, [one])
    assert result.tolist() == [0, -1, 1, 0, 1, 0]


# --- shapes

SHAPES = [
    [(5,), (5,)],
    [(4096,), ()],
    [(4099,), (1,)],
    [(3, 5, 8), (5, 1)],
    [(3, 5, 8), (8,)],
    [(2, 3, 4, 16), (3, 1, 1), (2, 1, 1, 16)],
    [(2, 1, 7), (1, 3, 1)],
    [(2, 6, 1), (1, 1, 33)],
    [(1,), (1, 1)],
    [(), ()],
    [(4, 1, 5, 1, 6), (1, 3, 1, 2, 1)],
    [(31, 257), (31, 1)],
    [(257, 31), (31,)],
    [(6, 4, 4), (1, 4, 4), (6, 1, 1)],
]


def ramp(shape, name="float32"):
    """Return numbers that differ from their neighbours."""
    numbers = np.arange(np.prod(shape, dtype=int)) % 251 - 100
    return numbers.reshape(shape).astype(name)


def add_all(*variables):
    """Return one elementwise group: 3 x - y + ..."""
    total = variables[0] * 3
    for v in variables[1:]:
        total = total - v
    return total


@pytest.mark.parametrize("name", ["float16", "float32", "int8"])
def test_operands_are_broadcast(driver, name):
    cases = [
        case(f"{shapes}", [ramp(s, name) for s in shapes], add_all) for shapes in SHAPES
    ]
    check(driver, cases)


@pytest.mark.parametrize("setting", [(elementwise, "_BLOCKS"), (cones, "_WIDE")])
def test_few_blocks_and_wide_indices_give_the_same(driver, monkeypatch, setting):
    monkeypatch.setattr(*setting, 1)
    cases = [case(f"{s}", [ramp(x) for x in s], add_all) for s in SHAPES]
    check(driver, cases)


def test_contiguous_arrays_move_sixteen_bytes_at_once():
    for name, count in (("float32", 4), ("bfloat16", 8), ("int8", 16), ("float64", 2)):
        x = gg.placeholder("x", (1003,), name)
        source = elementwise_kernel([node_of(x + x)]).source
        assert f"{count}> p0 = " in source
        assert "unsigned long long" not in source


def test_vectors_are_as_long_as_what_is_repeated_allows():
    x = gg.placeholder("x", (4, 6), "float32")
    for shape, width in (((6,), "float, 2>"), ((4, 1), "float, 2>"), ((1, 1), "4>")):
        source = elementwise_kernel([node_of(x + gg.placeholder("y", shape))]).source
        assert width in source


def test_indices_have_64_bits_from_2_to_the_31_elements():
    for size, wide in ((2**31 - 1, False), (2**31, True)):
        node = node_of(-gg.placeholder("x", (size,), "int8"))
        assert ("unsigned long long" in elementwise_kernel([node]).source) == wide


def test_empty_arrays_take_no_kernel():
    x = gg.placeholder("x", (3, 0))
    assert kernels(node_of(x + 1)) == []


def test_equal_work_has_equal_source_and_other_work_another_name():
    x, y = gg.placeholder("x", (8, 3)), gg.placeholder("y", (24,))
    one, same = (elementwise_kernel([node_of(gg.exp(v))]) for v in (x, y))
    other = elementwise_kernel([node_of(gg.exp(gg.placeholder("z", (25,))))])
    assert (one.source, one.name) == (same.source, same.name)
    assert one.name != other.name


def node_of(variable):
    """Return the node of a variable."""
    return concrete(schedule([variable]), {})[variable]


# --- groups, constants, casts


def test_a_group_writes_what_its_nodes_would_alone(driver):
    def build(x, b):
        y = gg.sigmoid(x) * b + 0.1
        positive = gg.greater(y, 0.3)
        z = gg.where(positive, gg.cast(y, "float32"), 2.0)
        return y, positive, z

    for name in FLOATS:
        x = np.linspace(-4, 4, 7 * 33).reshape(7, 33).astype(dtype(name))
        b = np.linspace(0.5, 1.5, 33).astype(dtype(name))
        group = case(name, [x, b], build)
        assert len(group.kernel.reads) == 2
        assert len(group.kernel.writes) == 3
        check(driver, [group], lambda label: 8 if label[-2:] in ("32", "64") else 1)


def test_halves_between_nodes_are_rounded_as_if_stored(driver):
    for name in ("float16", "bfloat16"):
        x = np.linspace(1, 2, 257).astype(dtype(name))
        check(driver, [case(name, [x, x[::-1].copy()], lambda x, y: (x + y) * x - y)])


@pytest.mark.parametrize("name", DTYPES)
def test_constants_of_one_number_are_in_the_source(driver, name):
    values = numbers(name)
    x = np.resize(values, 33)
    condition = np.arange(33) % 2 == 0
    cases = [
        case(f"Where {v}", [condition, x], lambda c, x, v=v: gg.where(c, x, leaf(v)))
        for v in values
    ]
    assert all(len(c.kernel.reads) == 2 for c in cases)
    check(driver, cases)


def leaf(number):
    """Return a constant of exactly a number."""
    return gg.constant(np.asarray(number))


@pytest.mark.parametrize("source", DTYPES)
def test_casts_agree_with_numpy_where_it_defines_them(driver, source):
    cases = []
    for target in DTYPES:
        d, values = dtype(target), pairs(source)[0]
        if is_floating(values.dtype) and not is_floating(d) and target != "bool":
            limits, wide = np.iinfo(d), values.astype(float)
            inside = (wide > float(limits.min) - 1) & (wide < float(limits.max))
            if d.kind == "i" and d.itemsize == 8:
                inside = np.abs(wide) < 2.0**63
            values = values[inside]
        label = f"Cast {source} to {target}"
        cases.append(case(label, [values], lambda x, d=d: apply(Cast(d), x)))
    check(driver, cases)


def test_a_double_is_rounded_to_a_half_once(driver):
    x = np.array([1 + 2.0**-11 + 2.0**-40, 1 + 2.0**-11, 65519.99999999, 2.0**-25.0])
    check(driver, [case("Cast", [x], lambda x: apply(Cast(dtype("float16")), x))])


@pytest.mark.parametrize("target", DTYPES[1:9])
def test_numbers_that_an_integer_cannot_hold_become_the_nearest(driver, target):
    limits = np.iinfo(target)
    x = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30], np.float32)
    one = case("cast", [x], lambda x: apply(Cast(dtype(target)), x))
    ((result,),) = run(driver, [one])
    low, high = limits.min, limits.max
    assert result.tolist() == [0, high, low, high, low]
