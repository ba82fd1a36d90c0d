"""while_loop: values, bounds, derivatives, random numbers, interrupts, errors."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.backends.numpy.lanes import Lanes, Part
from graphgpu.control import WhileLoop
from graphgpu.interrupts import raise_if_stopped
from graphgpu.testing import check_operation

RANDOM = np.random.default_rng(0)
ALL_FLOATS = ("float64", "float32", "float16", "bfloat16")
X = RANDOM.uniform(0.5, 1, (3,))
W = RANDOM.uniform(-1, 1, (3, 3))


def run(variable, values=None, seed=0, step=0, **options):
    given = dict(values or {})
    program = gg.compile(list(given), variable, device="cpu", seed=seed, **options)
    program.step = step
    return program(*given.values())


def node_of(variable):
    """Return the loop that a variable is computed by."""
    return variable.inputs[0]


def doubled(x, most=None):
    """Return x, doubled until its sum is 10 or more."""
    return gg.while_loop(
        lambda c: gg.sum(c) < 10, lambda c: c * 2, x, max_iterations=most
    )


def doubled_reference(x, most=100):
    for _ in range(most):
        if x.sum() >= 10:
            break
        x = x * 2
    return x


# --- values


def test_a_loop_ends_when_its_condition_does_not_hold():
    x = gg.placeholder("x", (3,), "float64")
    np.testing.assert_allclose(run(doubled(x), {x: X}), doubled_reference(X))
    ones = np.full(3, 5.0)  # no iteration
    assert run(doubled(x), {x: ones}).tolist() == ones.tolist()


def test_the_greatest_common_divisor_by_euclid():
    a, b = gg.placeholder("a", (), "int64"), gg.placeholder("b", (), "int64")
    divisor, rest = gg.while_loop(
        lambda c: gg.not_equal(c[1], 0),
        lambda c: (c[1], gg.remainder(c[0], c[1])),
        (a, b),
    )
    program = gg.compile([a, b], [divisor, rest], device="cpu")
    for left, right in ((48, 36), (17, 5), (0, 7), (7, 0), (2**40, 2**35 * 3)):
        assert [int(v) for v in program(left, right)] == [np.gcd(left, right), 0]


@pytest.mark.parametrize("most", [0, 1, 3, 100])
def test_a_bound_ends_the_loop_too(most):
    x = gg.placeholder("x", (3,), "float64")
    found = run(doubled(x, most), {x: X})
    np.testing.assert_allclose(found, doubled_reference(X, most))


def test_how_often_the_body_was_computed_is_known():
    x = gg.placeholder("x", (3,), "float64")
    for value, most, count in ((X, None, 3), (X * 0 + 5, None, 0), (X, 2, 2)):
        node = node_of(doubled(x, most))
        assert int(run(gg.item(node, 1), {x: value})) == count


def test_carries_of_all_kinds_go_side_by_side():
    def condition(c):
        return gg.logical_and(c[2], c[0] < 6)

    def body(c):
        number, total, _, swapped, other = c
        total = total + gg.cast(number, "float16")
        return number + 1, total, number < 4, other, swapped

    start = (0, gg.zeros((2,), "float16"), True, gg.constant([1.0]), gg.constant([2.0]))
    number, total, more, left, right = run(list(gg.while_loop(condition, body, start)))
    assert int(number) == 5
    assert total.tolist() == [10, 10]
    assert total.dtype == np.float16
    assert not more
    assert (left.item(), right.item()) == (2, 1)


def test_sizes_may_be_named():
    x = gg.placeholder("x", ("n",))
    y = doubled(x, 9)
    assert str(y.type) == "float32[n]"
    (slope,) = gg.gradients(gg.sum(y), [x])
    for size in (1, 4):
        value = np.ones(size, "f")
        times = doubled_reference(value)[0]
        assert run(y, {x: value}).tolist() == [times] * size
        assert run(slope, {x: value}).tolist() == [times] * size


def test_what_does_not_depend_on_the_carry_is_computed_once():
    x, w = gg.placeholder("x", (3,)), gg.placeholder("w", (3, 3))
    y = gg.while_loop(
        lambda c: gg.sum(c) < 10, lambda c: c + gg.exp(w) @ gg.ones((3,)), x
    )
    loop = node_of(y)
    kinds = {v.operation.kind() for v in loop.operation.body.variables if v.operation}
    assert "exp" not in kinds
    assert len(loop.inputs) == 2


# --- derivatives


@pytest.mark.parametrize("most", [2, 3, 10])
def test_derivatives_are_those_of_the_iterations_that_were_taken(most):
    check_operation(
        lambda x: doubled(x, most) ** 2,
        [X],
        lambda x: doubled_reference(x, most) ** 2,
        dtypes=ALL_FLOATS,
        order=3,
    )


def test_gradients_reach_what_the_functions_use_from_outside():
    def function(x, w, c):
        return gg.while_loop(
            lambda v: gg.sum(v[0] * v[0]) < 20 * c,
            lambda v: (gg.tanh(w @ v[0]) + v[0] * 2 * c, v[1] + 1),
            (x, gg.constant(0)),
            max_iterations=6,
        )[0]

    def reference(x, w, c):
        while (x * x).sum() < 20 * c:
            x = np.tanh(w @ x) + x * 2 * c
        return x

    check_operation(function, [X, W, np.array(0.9)], reference, order=2)


def test_newtons_iteration_has_the_derivatives_of_the_root():
    a = gg.placeholder("a", (), "float64")
    root = gg.while_loop(
        lambda x: gg.abs(x * x - a) > 1e-14 * a,
        lambda x: (x + a / x) / 2,
        gg.ones((), "float64") * a,
        max_iterations=12,
    )
    (first,) = gg.gradients(root, [a])
    (second,) = gg.gradients(first, [a])
    found = run([root, first, second], {a: 7.0})
    expected = [7**0.5, 0.5 * 7**-0.5, -0.25 * 7**-1.5]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_gradient_of_no_iterations_is_that_of_the_start():
    x = gg.placeholder("x", (3,))
    for most in (0, 4):
        (slope,) = gg.gradients(gg.sum(doubled(x, most)), [x])
        assert run(slope, {x: np.full(3, 5, "f")}).tolist() == [1, 1, 1]


def test_without_a_bound_there_is_no_gradient():
    x = gg.placeholder("x", (3,))
    with pytest.raises(gg.GradientError) as error:
        gg.gradients(gg.sum(doubled(x)), [x])
    assert str(error.value).startswith(
        "a while_loop has a gradient only if a bound of its iterations is known: give "
        "it max_iterations, or wrap its inputs in gg.stop_gradient; asked of "
    )


# --- random numbers, nesting


@pytest.mark.parametrize("most", [None, 20])
def test_each_iteration_has_random_numbers_of_its_own(most):
    with gg.root_scope(0):
        _, drawn = gg.while_loop(
            lambda c: c[0] < 5,
            lambda c: (c[0] + 1, gg.roll(c[1], 1) + _first(gg.random_uniform(()))),
            (0, gg.zeros((5,))),
            max_iterations=most,
        )
    values = run(drawn, seed=3)
    assert len(np.unique(values)) == 5
    assert not np.isclose(values, run(drawn, seed=3, step=1)).any()
    np.testing.assert_array_equal(values, run(drawn, seed=3))


def _first(value):
    return gg.stack([value, *[gg.zeros(())] * 4])


def test_the_gradient_sees_the_random_numbers_of_the_loop():
    x = gg.placeholder("x", (), "float64")
    with gg.root_scope(0):
        y = gg.while_loop(
            lambda c: c < 50,
            lambda c: c * (1 + gg.random_uniform((), dtype="float64")),
            x,
            max_iterations=40,
        )
    (slope,) = gg.gradients(y, [x])
    value, found = run([y, slope], {x: 1.0}, seed=2)
    np.testing.assert_allclose(found, value, rtol=1e-12)


def test_loops_within_loops_draw_different_numbers():
    def inner(carry):
        return gg.while_loop(
            lambda c: c[0] < 3,
            lambda c: (c[0] + 1, gg.roll(c[1], 1) + gg.random_uniform(()) * first),
            (0, carry),
        )[1]

    first = gg.constant(np.eye(1, 9, dtype="f")[0])
    with gg.root_scope(0):
        _, drawn = gg.while_loop(
            lambda c: c[0] < 3, lambda c: (c[0] + 1, inner(c[1])), (0, gg.zeros((9,)))
        )
    assert len(np.unique(run(drawn, seed=1))) == 9


def test_a_loop_within_a_branch_and_a_map():
    def function(x):
        def one(row):
            return gg.cond(row[0] > 0, lambda r: doubled(r, 8), lambda r: r * r, row)

        return gg.map(one, x)

    def reference(x):
        return np.stack([doubled_reference(r) if r[0] > 0 else r * r for r in x])

    rows = np.stack([X, -X, X / 3])
    check_operation(function, [rows], reference, dtypes=ALL_FLOATS)


def test_a_branch_and_a_scan_within_a_loop():
    def function(x):
        def body(c):
            total = gg.scan(lambda s, e: (s + e * e, None), gg.sum(c) * 0, c)[0]
            return gg.cond(total > 3, lambda: c * 1.5, lambda: c + total)

        return gg.while_loop(lambda c: gg.sum(c) < 20, body, x, max_iterations=9)

    def reference(x):
        while x.sum() < 20:
            total = (x * x).sum()
            x = x * 1.5 if total > 3 else x + total
        return x

    check_operation(function, [X], reference)


# --- errors while it runs


def test_an_error_says_in_which_iteration_it_happened():
    x = gg.placeholder("x", (), "int64")
    table = gg.placeholder("table", (3,))
    _, total = gg.while_loop(
        lambda c: c[0] < 9, lambda c: (c[0] + 1, c[1] + gg.take(table, c[0])), (x, 0.0)
    )
    values = np.ones(3, "f")
    assert run(total, {x: 9, table: values}) == 0  # where an index would be wrong
    with pytest.raises(gg.ComputeError, match="in iteration 2 of a while_loop"):
        run(total, {x: 1, table: values})


def test_check_finite_names_the_loop():
    x = gg.placeholder("x", (3,))
    y = gg.while_loop(lambda c: gg.sum(c) < 10, lambda c: c / (c - c), x)
    program = gg.compile([x], y, device="cpu", check_finite=True)
    assert program(np.full(3, 4, "f")).tolist() == [4, 4, 4]
    with pytest.raises(gg.NonFiniteError, match="while_loop"):
        program(np.ones(3, "f"))


_ENDLESS = """
    import numpy as np
    import graphgpu as gg

    x = gg.placeholder("x", ("batch", 64))
    state = gg.state("state", np.zeros((), "f"))
    y = gg.while_loop(lambda c: gg.sum(c) > 0, lambda c: c + 0, gg.sum(gg.exp(x)))
    program = gg.compile(
        [x], gg.exp(x * y), updates={state: y}, device="cpu", threads=THREADS
    )
    try:
        print("begun", flush=True)
        program(np.ones((256, 64), "f"))
    except KeyboardInterrupt:
        print("interrupted", float(state.value), flush=True)
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_a_loop_that_never_ends_can_be_interrupted(threads):
    source = textwrap.dedent(_ENDLESS).replace("THREADS", str(threads))
    child = subprocess.Popen(
        [sys.executable, "-c", source],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert child.stdout.readline() == "begun\n"
        time.sleep(0.5)  # for the loop to be entered: before it the same holds
        child.send_signal(signal.SIGINT)
        assert child.communicate(timeout=30)[0] == "interrupted 0.0\n"
    finally:
        child.kill()


def test_an_interrupt_reaches_a_loop_in_another_thread():
    first, begun = threading.Event(), threading.Event()

    def wait(lane):
        if lane == 0:
            first.set()
        else:  # which the other thread computes: it is the last to arrive
            first.wait()
            time.sleep(0.1)

    def loop():
        assert threading.current_thread() is not threading.main_thread()
        begun.set()
        while True:
            raise_if_stopped()
            time.sleep(0.001)

    def interrupt():
        begun.wait()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        Lanes(2, threads=2).run([Part(wait, loop)])
    raise_if_stopped()  # this thread is not told


# --- reports


def test_the_functions_are_rewritten_and_planned_and_drawn():
    x = gg.placeholder("x", ("n",))
    y = gg.while_loop(lambda c: gg.sum(c * 1) < 10, lambda c: c * 1 + c + 0, x)
    program = gg.compile([x], y, device="cpu")
    (became,) = program.rewritten.outputs
    before, after = node_of(y).operation, node_of(became).operation
    assert len(after.body.variables) < len(before.body.variables)
    assert len(after.condition.variables) < len(before.condition.variables)
    assert program.plan(n=3).peak_bytes > 0
    assert "while_loop" in str(program.explain(y, n=3))
    assert "while_loop" in str(program.profile(np.ones(3, "f"), repeat=1))
    assert "less" in gg.Graph(y).to_dot()


def test_the_loop_takes_the_operations_of_its_bound():
    x = gg.placeholder("x", ("n",))
    for most, times in ((None, 1), (7, 7)):
        node = node_of(doubled(x, most))
        types = [v.type for v in node.inputs]
        once = 2 * 5 + 1  # a sum, a comparison and a product
        at_five = node.operation.specialize({"n": 5})
        assert at_five.flops(types, node.type) == times * once


# --- errors


@pytest.mark.parametrize("most", [-1, 1.5, True, "3"])
def test_the_bound_is_a_whole_number(most):
    with pytest.raises(gg.GraphError) as error:
        doubled(gg.placeholder("x", (3,)), most)
    assert str(error.value).startswith(
        "while_loop: expected max_iterations to be a whole number from 0 on, or None; "
        f"got {most!r}; created at "
    )


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (
            lambda c: c < 10,
            "while_loop: expected the condition to return a variable of type bool[]; "
            "got bool[3]; reduce an array with gg.any or gg.all, and compare with "
            "gg.equal or gg.not_equal; created at ",
        ),
        (
            lambda c: c != 0,
            "while_loop: expected the condition to return a variable of type bool[]; "
            "got True; reduce an array with gg.any or gg.all, and compare with "
            "gg.equal or gg.not_equal; created at ",
        ),
    ],
)
def test_the_condition_is_a_bool_scalar(condition, message):
    with pytest.raises(gg.DTypeError) as error:
        gg.while_loop(condition, lambda c: c, gg.placeholder("x", (3,)))
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (
            lambda c: gg.cast(c, "float64"),
            gg.DTypeError,
            "while_loop: carry 0: expected the body to return the type of init, "
            "float32[3]; got float64[3]; use gg.cast on one of them; created at ",
        ),
        (
            lambda c: gg.concat([c, c]),
            gg.ShapeError,
            "while_loop: carry 0, axis 0, body and init: expected equal sizes, got 6 "
            "and 3; created at ",
        ),
        (
            lambda c: (c,),
            gg.GraphError,
            "while_loop: expected the body to return a variable, as init is one; "
            "created at ",
        ),
    ],
)
def test_the_carry_keeps_its_type(body, kind, message):
    with pytest.raises(kind) as error:
        gg.while_loop(lambda c: gg.sum(c) < 1, body, gg.placeholder("x", (3,)))
    assert str(error.value).startswith(message)


def test_the_body_returns_as_many_variables_as_it_is_given():
    x = gg.placeholder("x", (3,))
    with pytest.raises(gg.GraphError, match="to return 2 variables, as many as init"):
        gg.while_loop(lambda c: c[0][0] < 1, lambda c: (c[0],), (x, x))


def test_a_state_cannot_be_updated_in_a_loop():
    count = gg.state("count", np.zeros((), "f"))

    def body(c):
        return gg.with_state_update(c * 2, count, count + 1)

    with pytest.raises(gg.GraphError, match="which while_loop cannot do"):
        gg.while_loop(lambda c: gg.sum(c) < 9, body, gg.placeholder("x", (3,)))


def test_the_operation_refuses_bodies_that_do_not_fit_together():
    x = gg.placeholder("x", (3,))
    node = node_of(doubled(x))
    loop = node.operation
    assert isinstance(loop, WhileLoop)
    with pytest.raises(gg.DTypeError, match="computes one bool"):
        gg.apply(WhileLoop(loop.body, loop.body, 1), x)
    with pytest.raises(gg.ShapeError, match="expected 1 inputs; got 2"):
        gg.apply(loop, x, x)


def test_condition_and_body_take_the_carry():
    start = (gg.zeros(()), gg.ones(()))
    with pytest.raises(gg.GraphError) as caught:
        gg.while_loop(lambda a, b: a < b, lambda c: c, start)
    assert str(caught.value).startswith(
        "while_loop: expected condition to take 1 argument, the carry; got one that "
        "takes (a, b); created at "
    )
    with pytest.raises(gg.GraphError, match="expected body to take 1 argument"):
        gg.while_loop(lambda c: c[0] < c[1], lambda a, b: (a, b), start)
