"""What docstrings say of functions is so: formula, slope, range, kinks, symmetries."""

import functools
import importlib
import inspect
import math

import numpy as np
import pytest
from catalogue import cases, public_name

import graphgpu as gg
from graphgpu.testing import assert_close

chapters = importlib.import_module("op_references.chapters")
said = importlib.import_module("op_references.properties")

ENTRIES = {e.name: e for c in chapters.chapters() for e in c.entries if e.properties}
SCALAR = [name for name, e in ENTRIES.items() if "monotone" in e.properties]
VECTOR = [name for name in ENTRIES if name not in SCALAR]

GRID = np.linspace(-12, 12, 24_001) + 1 / 3e4
"""Numbers that are no kinks, a thousandth apart."""
FAR = np.array([-1e6, -1e5, -1e4, -1e3, -100, -50, 50, 100, 1e3, 1e4, 1e5, 1e6])
RANDOM = np.random.default_rng(3)


def values(name, order=0):
    """Return a NumPy function: a function of one number, or a derivative of it."""
    x = gg.placeholder("x", ("n",), "float64")
    y = ENTRIES[name].value(x)
    for _ in range(order):
        (y,) = gg.gradients(gg.sum(y), [x], disconnected="zero")
    program = gg.compile([x], y, device="cpu")

    def function(numbers):
        flat = np.asarray(numbers, np.float64).reshape(-1)
        return program(flat).reshape(np.shape(numbers))

    return function


def defaults(function):
    """Return the parameters of a function that have numbers as defaults."""
    taken = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in taken if isinstance(p.default, int | float)}


def names_for(name, **more):
    return defaults(ENTRIES[name].value) | {"f": values(name)} | more


@pytest.mark.parametrize("name", SCALAR)
def test_all_is_said_in_order(name):
    keys = [key for key in ENTRIES[name].properties if key != "jumps"]
    assert tuple(keys) == said.KEYS


@pytest.mark.parametrize("name", SCALAR)
def test_formula_and_derivative(name):
    for key, order in (("formula", 0), ("derivative", 1)):
        text = ENTRIES[name].properties[key]
        expected = said.evaluated(text, names_for(name, x=GRID))
        expected = np.broadcast_to(np.asarray(expected, np.float64), GRID.shape)
        found = values(name, order)(GRID)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9, err_msg=key)


@pytest.mark.parametrize("name", SCALAR)
def test_range(name):
    interval = said.Interval.of(ENTRIES[name].properties["range"])
    found = values(name)(np.concatenate([GRID, FAR, [0.0]]))
    room = 1e-6
    for end, attained, extreme, sign in (
        (interval.low, interval.low_attained, found.min(), 1),
        (interval.high, interval.high_attained, found.max(), -1),
    ):
        if math.isinf(end):
            assert abs(extreme) > 5
            assert not attained
        else:
            assert sign * (extreme - end) >= -room
            assert sign * (extreme - end) <= (room if attained else 1e-2)


@pytest.mark.parametrize("name", SCALAR)
def test_monotonicity(name):
    near = GRID[np.abs(GRID) < 5]
    steps = np.diff(values(name)(near))
    match ENTRIES[name].properties["monotone"]:
        case "strictly increasing":
            assert (steps > 0).all()
        case "increasing":
            assert (steps >= 0).all()
            assert (steps == 0).any()
        case "no":
            assert (steps < -1e-12).any()
            assert (steps > 1e-12).any()
        case other:
            raise AssertionError(other)


def breaks(name):
    """Return where the slope or the function itself jumps."""
    stated = ENTRIES[name].properties
    listed = said.kinks(stated["kinks"]) + said.kinks(stated.get("jumps", "none"))
    return [kink.point for kink in listed]


@pytest.mark.parametrize("name", SCALAR)
@pytest.mark.parametrize("order", [0, 1])
def test_there_are_no_other_jumps(name, order):
    """Between neighbours of the grid, a thousandth apart, little changes elsewhere."""
    steps = np.abs(np.diff(values(name, order)(GRID)))
    for point in breaks(name):
        steps[(GRID[:-1] <= point) & (GRID[1:] >= point)] = 0
    assert steps.max() < 0.02


@pytest.mark.parametrize("name", SCALAR)
def test_kinks_have_the_slope_that_is_said(name):
    slope, function = values(name, 1), values(name)
    for kink in said.kinks(ENTRIES[name].properties["kinks"]):
        left, right = slope([kink.point - 1e-7, kink.point + 1e-7])
        assert abs(left - right) > 1e-3
        assert slope([kink.point])[0] == pytest.approx(kink.slope, rel=1e-12)
        assert min(left, right) - 1e-6 <= kink.slope <= max(left, right) + 1e-6
    for jump in said.kinks(ENTRIES[name].properties.get("jumps", "none")):
        left, right = function([jump.point - 1e-7, jump.point + 1e-7])
        assert abs(left - right) > 1e-3


@pytest.mark.parametrize("name", SCALAR)
def test_saturation(name):
    left, right = np.abs(values(name, 1)([-1e5, 1e5])) < 1e-4
    found = {(0, 0): "none", (1, 0): "left", (0, 1): "right", (1, 1): "both"}
    assert ENTRIES[name].properties["saturates"] == found[int(left), int(right)]


CANONICAL = {
    "scale": ["f(a * x) == a * f(x)", "f(a * x) == f(x)"],
    "shift": ["f(x + c) == f(x)", "f(x + c) == f(x) + c"],
    "symmetry": ["f(-x) == f(x)", "f(-x) == -f(x)", "f(-x) == 1 - f(x)"],
}


def sides(text, names):
    equation = said.Equation.of(text)
    return [said.evaluated(side, names) for side in (equation.left, equation.right)]


@pytest.mark.parametrize("name", SCALAR)
@pytest.mark.parametrize("key", CANONICAL)
def test_equations_hold_and_no_simple_one_is_left_unsaid(name, key):
    numbers = {
        "x": RANDOM.uniform(-4, 4, 50),
        "a": RANDOM.uniform(0.1, 5, 50),
        "c": RANDOM.uniform(-3, 3, 50),
    }
    names = names_for(name, **numbers)
    text = ENTRIES[name].properties[key]
    if text != "none":
        np.testing.assert_allclose(*sides(text, names), rtol=1e-9, atol=1e-12)
        return
    for equation in CANONICAL[key]:
        left, right = sides(equation, names)
        assert np.abs(left - right).max() > 1e-3, equation


# --- losses, and functions of vectors


def operands(name):
    """Return the inputs of the function's first case, classes as integers."""
    case = next(c for c in cases() if public_name(c) == name and c.function)
    return [np.asarray(x) for x in case.inputs]


def function_of_variables(name):
    """Return the function; of a loss, each loss for itself."""
    function = ENTRIES[name].value
    if "reduction" in inspect.signature(function).parameters:
        return functools.partial(function, reduction="none")
    return function


def function_of_arrays(name):
    """Return a NumPy function; of a loss, each loss for itself."""
    function = function_of_variables(name)
    return lambda *arrays: gg.evaluate(
        function(*(gg.constant(np.array(a)) for a in arrays))
    )


def array_names(name):
    given = operands(name)
    names = defaults(ENTRIES[name].value) | {"f": function_of_arrays(name)}
    return names | dict(zip(("x", "y", "z"), given, strict=False))


@pytest.mark.parametrize("name", VECTOR)
def test_properties_of_functions_of_arrays(name):
    stated, names = ENTRIES[name].properties, array_names(name)
    given = [names[n] for n in ("x", "y", "z") if n in names]
    value = names["f"](*given)
    if "formula" in stated:
        assert_close(value, said.evaluated(stated["formula"], names))
    if "derivative" in stated:
        assert_close(_slope(name, given), said.evaluated(stated["derivative"], names))
    if "range" in stated:
        interval = said.Interval.of(stated["range"])
        assert interval.low - 1e-9 <= value.min()
        assert value.max() <= interval.high + 1e-9
    for key in ("scale", "shift", "symmetry"):
        if stated.get(key, "none") != "none":
            more = {"a": 2.5, "c": -0.75}
            left, right = sides(stated[key], names | more)
            np.testing.assert_allclose(left, right, rtol=1e-8, atol=1e-10)


def _slope(name, given):
    """Return the gradient of the sum of the losses by the first operand."""
    variables = [gg.placeholder(f"x{i}", a.shape, a.dtype) for i, a in enumerate(given)]
    options = {}
    if "reduction" in inspect.signature(ENTRIES[name].value).parameters:
        options["reduction"] = "none"
    y = ENTRIES[name].value(*variables, **options)
    (slope,) = gg.gradients(gg.sum(y), variables[:1])
    return gg.compile(variables, slope, device="cpu")(*given)


@pytest.mark.parametrize(
    "name",
    [n for n in VECTOR if ENTRIES[n].properties.get("minimum", "none") != "none"],
)
def test_losses_are_least_where_they_say(name):
    names = array_names(name)
    x, y = names["x"], names["y"]
    left, right = ENTRIES[name].properties["minimum"].split("==")
    assert left.strip() == "x"
    best = np.broadcast_to(said.evaluated(right, names), x.shape)
    assert (names["f"](best, y) <= names["f"](x, y) + 1e-9).all()


@pytest.mark.parametrize(
    "name", [n for n in VECTOR if "convex" in ENTRIES[n].properties]
)
def test_losses_are_convex_where_they_say(name):
    x, y = operands(name)[:2]
    given = gg.placeholder("x", x.shape, x.dtype)
    loss = function_of_variables(name)(given, gg.constant(y))
    f = gg.compile([given], loss, device="cpu")
    apart = []
    for _ in range(200):
        other = RANDOM.permutation(x.reshape(-1)).reshape(x.shape)
        other = np.where(RANDOM.random(x.shape) < 0.5, other, x)
        apart.append(np.max(f((x + other) / 2) - (f(x) + f(other)) / 2))
    convex = ENTRIES[name].properties["convex"] == "yes"
    assert (max(apart) <= 1e-9) == convex
