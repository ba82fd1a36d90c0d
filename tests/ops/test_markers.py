"""Operations that compute nothing: gradients stopped, state to be updated."""

import re

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.testing import check_operation

X = np.array([[0.5, -1.0], [2.0, 3.0]])


def counting(x, state):
    """Return x, counting how often a program computes it."""
    return gg.with_state_update(x, state, state + 1)


# --- stop_gradient


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16", "int8"])
def test_stop_gradient_is_the_identity(dtype):
    x = gg.cast(gg.constant(X), dtype)
    got = gg.evaluate(gg.stop_gradient(x))
    assert got.dtype == x.dtype
    np.testing.assert_array_equal(got, gg.evaluate(x))
    for shape in ((), (0, 2)):
        check_operation(gg.stop_gradient, [np.zeros(shape)], np.copy, order=0)


def test_stop_gradient_is_a_constant_to_differentiation():
    x = gg.placeholder("x", (2, 2), "float64")
    y = gg.sum(x * gg.stop_gradient(x * x))
    (dx,) = gg.gradients(y, [x])
    np.testing.assert_array_equal(gg.evaluate(dx, {x: X}), X * X)
    (ddx,) = gg.gradients(gg.sum(dx * dx), [x], disconnected="zero")
    assert not gg.evaluate(ddx, {x: X}).any()


def test_stop_gradient_says_that_it_blocks_the_path():
    x = gg.placeholder("x", ())
    with pytest.raises(gg.GradientError, match=r"stop_gradient\(\).*blocks the path"):
        gg.gradients(gg.stop_gradient(x * x), [x])


def test_an_output_that_passes_an_input_on_is_a_copy():
    x = gg.placeholder("x", (2, 2), "float64")
    value = X.copy()
    got = gg.evaluate(gg.stop_gradient(x), {x: value})
    got[...] = 0
    np.testing.assert_array_equal(value, X)


# --- with_state_update


def test_a_mark_changes_neither_value_nor_gradient():
    n = gg.state("n", 0)
    x = gg.placeholder("x", (2, 2), "float64")
    y = counting(x, n)
    np.testing.assert_array_equal(gg.evaluate(y, {x: X}), X)
    (dx,) = gg.gradients(gg.sum(y * y), [x])
    np.testing.assert_array_equal(gg.evaluate(dx, {x: X}), 2 * X)


def test_the_update_is_not_computed_unless_it_is_asked_for():
    n = gg.state("n", 0.0)
    never = gg.placeholder("never", ())
    y = gg.with_state_update(gg.constant(2.0), n, never)
    assert gg.evaluate(y) == 2


def test_no_gradient_flows_through_the_update():
    s = gg.state("s", 0.0)
    x = gg.placeholder("x", ())
    y = gg.with_state_update(gg.constant(1.0), s, x * x)
    with pytest.raises(gg.GradientError, match=r"with_state_update\(\).*blocks"):
        gg.gradients(y, [x])


def test_state_updates_collects_what_outputs_depend_on():
    a, b, c = (gg.state(name, 0) for name in "abc")
    x = gg.placeholder("x", ())
    y, z = counting(x, a), counting(x, b)
    counting(x, c)
    assert gg.state_updates(x) == {}
    assert list(gg.state_updates(y * 2)) == [a]
    assert list(gg.state_updates([z, y])) == [a, b]
    program = gg.compile([x], y * z, updates=gg.state_updates([y, z]), device="cpu")
    program(1.0)
    program(1.0)
    assert [int(s.value) for s in (a, b, c)] == [2, 2, 0]


def test_updates_of_one_state_follow_each_other_as_written():
    s = gg.state("s", 1.0)
    x = gg.placeholder("x", ())
    first = gg.with_state_update(x, s, s * 10 + 1)
    second = gg.with_state_update(first, s, s * 10 + 2)
    third = gg.with_state_update(second + first, s, s * 10 + 3)
    program = gg.compile([x], third, updates=gg.state_updates(third), device="cpu")
    program(0.0)
    assert s.value == 1123


def test_updates_of_one_state_follow_the_calls_and_not_the_order_of_outputs():
    x, s = gg.placeholder("x", ()), gg.state("s", 1.0)
    first = gg.with_state_update(x, s, s * 10 + 1)
    second = gg.with_state_update(x, s, s * 10 + 2)
    updates = gg.state_updates([second, first])
    gg.compile([x], [second, first], updates, device="cpu")(0.0)
    assert s.value == 112


def test_what_an_update_computes_from_earlier_layers_is_shared_not_repeated():
    s = gg.state("s", 0.0)
    x = gg.placeholder("x", ())
    first = gg.with_state_update(gg.exp(x), s, s + 1)
    deep = gg.exp(first)
    second = gg.with_state_update(deep, s, s + deep)
    update = gg.state_updates(second)[s]
    kinds = [v.operation.kind() for v in gg.Graph([update, second]) if v.operation]
    assert kinds.count("exp") == 2
    got = gg.evaluate(update, {x: 0.0})
    np.testing.assert_allclose(got, 1 + np.exp(1.0), rtol=1e-6)


def test_what_was_computed_before_an_update_read_the_old_state():
    s = gg.state("s", 2.0)
    x = gg.placeholder("x", ())
    first = gg.with_state_update(x * s, s, s * 3)
    second = gg.with_state_update(first, s, s + first)
    program = gg.compile([x], second, updates=gg.state_updates(second), device="cpu")
    assert program(1.0) == 2
    assert s.value == 2 * 3 + 2


def test_a_program_that_forgets_an_update_warns():
    n = gg.state("n", 0)
    w = gg.parameter("w", 1.0)
    y = counting(w * 2, n)
    with pytest.warns(UserWarning, match="but not the state n; add gg.state_updates"):
        gg.compile([], y, updates={w: w - 1}, device="cpu")


@pytest.mark.parametrize("scaled", [None, 8.0])
@pytest.mark.parametrize("swapped", [False, True])
def test_a_program_that_has_one_of_two_updates_of_a_state_warns(scaled, swapped):
    n, w = gg.state("n", 0), gg.parameter("w", 1.0)
    y, z = counting(w * 2, n), counting(w * 3, n)
    outputs = [z, y] if swapped else [y, z]
    adam, sgd = gg.optim.Adam(), gg.optim.SGD(0.1)
    merged = sgd.updates(
        y + z,
        [w],
        loss_scale=scaled,
        also={k: v for o in outputs for k, v in gg.state_updates(o).items()},
    )
    expected = (
        "the program has several updates of the state n and makes one of them; ask for "
        "all at once: gg.state_updates([output, another])"
    )
    with pytest.warns(UserWarning, match=f"^{re.escape(expected)}$") as caught:
        gg.compile([], y + z, merged, device="cpu")
    assert caught[0].filename == __file__
    both = adam.updates(y + z, [w], loss_scale=scaled, also=gg.state_updates(outputs))
    gg.compile([], y + z, both, device="cpu")()
    assert n.value == 2


def test_of_updates_that_do_not_read_the_state_the_last_is_enough():
    x, s = gg.placeholder("x", ()), gg.state("s", 0.0)
    y = gg.with_state_update(x, s, x + 1)
    z = gg.with_state_update(y, s, x + 2)
    program = gg.compile([x], z, gg.state_updates(z), device="cpu")
    program(1.0)
    assert s.value == 3


def test_bad_updates_are_refused():
    x = gg.placeholder("x", ())
    n = gg.state("n", 0)
    with pytest.raises(
        gg.DTypeError, match=r"expected an update of the state's type in"
    ):
        gg.with_state_update(x, n, x)
    with pytest.raises(gg.DTypeError, match="expected an update of the state's type"):
        gg.with_state_update(x, n, gg.constant([1]))
    w = gg.parameter("w", 1.0)
    with pytest.raises(
        gg.GraphError, match=r"with_state_update: only gg\.state is upda"
    ):
        gg.with_state_update(x, w, w + 1)
