"""check_finite: the first node that turned NaN or infinite, and what it read."""

import inspect
from pathlib import Path

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.finite import Range


def line():
    """Return the place of the caller's line, as messages write it."""
    frame = inspect.currentframe().f_back
    return f"{__file__}:{frame.f_lineno}"


def caught(program, *args):
    with pytest.raises(gg.NonFiniteError) as found:
        program(*args)
    return found.value


ONES = np.ones(3, "float32")


# --- forward


def test_the_first_node_that_turns_infinite_is_named_with_its_line_and_inputs():
    x = gg.placeholder("x", ("batch",))
    shifted, _ = x - 1, line()
    logs, made = gg.log(shifted), line()
    program = gg.compile([x], gg.exp(gg.sqrt(logs)), check_finite=True)
    error = caught(program, [2.0, 1.0, 3.0])
    name = Path(__file__).name
    assert str(error) == (
        f"check_finite: log() float32[batch], created at {made}, computed 0 NaN and 1 "
        "infinite of 3 elements; the first is -inf at [1]; its inputs: subtract "
        f"({name}:{shifted.trace.line}) float32[3]: min 0, max 2, 0 NaN, 0 infinite; "
        "no state was changed"
    )
    assert error.variable.operation == logs.operation
    assert error.index == (1,)
    (given,) = error.inputs
    assert (given.least, given.greatest) == (0, 2)


@pytest.mark.parametrize("passes", [None, (), ("simplify",)])
def test_a_nan_is_found_with_rewriting_on_or_off(passes):
    x = gg.placeholder("x", (2, 2))
    y = gg.sum(gg.sqrt(x).named("root") * 2 + 1)
    program = gg.compile([x], y, passes=passes, check_finite=True)
    error = caught(program, [[1.0, 4.0], [9.0, -1.0]])
    assert error.variable.path == "root"
    assert error.index == (1, 1)
    assert "sqrt() 'root' float32[2,2]" in str(error)
    assert program([[1, 4], [9, 1]]) == 18


def test_values_that_are_finite_are_those_of_the_program_without_checks():
    x = gg.placeholder("x", ("batch", 5))
    w = gg.parameter("w", np.linspace(-1, 1, 15, dtype="float32").reshape(5, 3))
    loss = gg.cross_entropy(x @ w, gg.constant([0, 1, 2]))
    (dw,) = gg.gradients(loss, [w])
    given = np.random.default_rng(0).normal(size=(3, 5)).astype("float32")
    plain = gg.compile([x], [loss, dw], passes=())(given)
    found = gg.compile([x], [loss, dw], passes=(), check_finite=True)(given)
    for a, b in zip(plain, found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_it_is_not_fused_and_checks_stand_after_each_node():
    x = gg.placeholder("x", (4,))
    program = gg.compile(
        [x], gg.exp(x) + gg.cast(gg.argmax(x), "float32"), check_finite=True
    )
    lines = program.source().splitlines()
    checks = [t.strip().split("(")[0] for t in lines if "check_" in t]
    assert checks == ["check_0", "check_1", "check_3", "check_4"]  # 2 is an integer


def test_a_component_of_a_tuple_is_checked():
    x = gg.placeholder("x", (2, 2))
    program = gg.compile([x], gg.var(x), check_finite=True)
    error = caught(program, [[1e30, -1e30], [1e30, 1e30]])
    assert isinstance(error.variable.type, gg.TupleType)
    assert error.inputs[0].greatest == pytest.approx(1e30)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_every_floating_dtype_is_checked(dtype):
    x = gg.placeholder("x", (3,), dtype)
    program = gg.compile([x], gg.reciprocal(x), check_finite=True)
    assert caught(program, [1.0, 0.0, 2.0]).index == (1,)


# --- infinities that are meant


def test_an_infinity_of_a_constant_or_an_input_may_pass_on():
    x = gg.placeholder("x", (3,))
    mask = gg.constant([0.0, -np.inf, 0.0], "float32")
    program = gg.compile([x], gg.softmax(x + mask, axis=0), check_finite=True)
    np.testing.assert_allclose(program(ONES), [0.5, 0, 0.5])
    best = gg.state("best", np.float32(np.inf))
    tracked = gg.compile(
        [x], None, {best: gg.minimum(best, gg.sum(x))}, check_finite=True
    )
    tracked([np.inf, 1, 1])
    tracked([1, 1, 1])
    assert best.value == 3


def test_what_is_made_of_a_meant_infinity_must_still_not_be_nan():
    x = gg.placeholder("x", (2,))
    error = caught(gg.compile([x], x - x, check_finite=True, passes=()), [np.inf, 1.0])
    assert error.index == (0,)
    assert str(error.inputs[0]).endswith("min 1, max 1, 0 NaN, 1 infinite")


def test_fill_values_may_be_infinite_and_not_nan():
    program = gg.compile([], gg.full((2,), -np.inf), passes=(), check_finite=True)
    assert (program() == -np.inf).all()
    with pytest.raises(gg.NonFiniteError, match="its inputs: it has none"):
        gg.compile([], gg.full((2,), np.nan), passes=(), check_finite=True)()


# --- leaves


def test_an_input_that_is_nan_is_named_as_such():
    x, made = gg.placeholder("x", ("batch",)), line()
    program = gg.compile([x], gg.exp(x), check_finite=True)
    error = caught(program, [1.0, np.nan])
    assert str(error) == (
        f"check_finite: Placeholder 'x' float32[batch], created at {made}, holds 1 NaN "
        "and 0 infinite of 2 elements; the first is nan at [1]; it did so before the "
        "program ran; no state was changed"
    )
    assert error.variable is x


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_parameter_that_is_not_finite_is_named_as_such(value):
    w = gg.parameter("w", np.array([1, value], "float32"))
    error = caught(gg.compile([], gg.sum(w), check_finite=True))
    assert error.variable is w
    assert error.index == (1,)


def test_what_is_not_read_is_not_checked():
    w = gg.parameter("w", np.array([np.nan], "float32"))
    gg.compile([], None, {w: gg.constant([1.0])}, check_finite=True)()
    assert w.value == 1


# --- backward, and updates


def test_a_nan_of_the_backward_pass_names_the_line_of_its_forward_node():
    x = gg.placeholder("x", (2,))
    w = gg.parameter("w", np.ones(2, "float32"))
    roots, made = gg.sqrt(x * w), line()  # 0 ** -0.5 is infinite, times 0 is NaN
    loss = gg.sum(gg.where(x * w > 0, roots, 0))
    (dw,) = gg.gradients(loss, [w])
    program = gg.compile([x], loss, {w: w - dw}, check_finite=True)
    error = caught(program, [1.0, 0.0])
    assert error.variable.phase == "gradient"
    assert "(gradient)" in str(error)
    assert f"created at {made}," in str(error)
    np.testing.assert_array_equal(w.value, [1, 1])
    assert program.step == 0


def test_nothing_is_committed_when_an_update_overflows():
    x = gg.placeholder("x", ())
    a = gg.parameter("a", np.float32(1))
    b = gg.parameter("b", np.float32(2))
    program = gg.compile([x], None, {a: a + x, b: b * x * 1e30}, check_finite=True)
    error = caught(program, 1e10)
    assert (a.value, b.value) == (1, 2)
    assert program.step == 0
    assert error.inputs
    program(2.0)
    assert a.value == 3


def test_the_error_is_a_compute_error():
    x = gg.placeholder("x", ())
    with pytest.raises(gg.ComputeError, match="check_finite"):
        gg.compile([x], gg.log(x), check_finite=True)(-1.0)
    assert np.isnan(gg.compile([x], gg.log(x))(-1.0))


# --- ranges


def test_ranges_are_of_the_finite_elements():
    found = Range.of("x", np.array([1, np.nan, -3, np.inf, -np.inf], "float32"))
    assert (found.least, found.greatest) == (-3, 1)
    assert (found.nans, found.infinities) == (1, 2)
    assert str(found) == "x float32[5]: min -3, max 1, 1 NaN, 2 infinite"


def test_ranges_of_nothing_finite_and_of_integers():
    empty = Range.of("e", np.zeros((0, 2), "float32"))
    assert str(empty) == "e float32[0,2]: no finite element, 0 NaN, 0 infinite"
    assert str(Range.of("i", np.array([3, 5]))) == (
        "i int64[2]: min 3, max 5, 0 NaN, 0 infinite"
    )


def test_the_range_of_a_tuple_is_that_of_all_its_arrays():
    both = Range.of("t", (np.zeros(2, "float32"), np.full(2, np.nan, "float32")))
    assert (both.least, both.nans) == (0, 2)
