"""Loops on the CPU: code for an iteration, the memory it takes, and its errors."""

import numpy as np
import pytest

import graphgpu as gg

RANDOM = np.random.default_rng(0)


def array(*shape, dtype="f"):
    return RANDOM.uniform(-1, 1, shape).astype(dtype)


def agree(inputs, outputs, arrays):
    """Require the values of operations called one by one, in each of two calls."""
    f = gg.compile(inputs, outputs, device="cpu", debug=True)
    g = gg.compile(inputs, outputs, device="cpu", check_finite=True, passes=())
    for _ in range(2):
        for left, right in zip(f(*arrays), g(*arrays), strict=True):
            assert left.dtype == right.dtype
            np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)
    return f


@pytest.mark.parametrize("length", [0, 1, 2, 5])
@pytest.mark.parametrize("reverse", [False, True])
def test_results_of_any_kind_lie_where_they_belong(length, reverse):
    x, h = gg.placeholder("x", ("n", 2, 3)), gg.placeholder("h", (2, 3))

    def step(carry, e):
        a, _, _, count = carry
        new = gg.tanh(a + e)
        flat = gg.reshape(new * 2, (6,))
        after = new, a, gg.reshape(flat, (2, 3)), count + 2
        return after, (new, new, flat, e, a, gg.transpose(new), gg.ones(2), count)

    start = h, h * 2, gg.zeros((2, 3)), gg.constant(1)
    last, y = gg.scan(step, start, x, reverse=reverse)
    agree([x, h], [*last, *y], [array(length, 2, 3), array(2, 3)])


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_sums_are_added_to_where_they_are(dtype):
    x = gg.placeholder("x", ("n", 3), dtype)
    total, _ = gg.scan(lambda c, e: (c + gg.exp(e), None), gg.ones(3, dtype), x)
    agree([x], [total], [array(5, 3, dtype=dtype)])


def test_sequences_and_matrices_may_lie_in_any_order():
    x, w = gg.placeholder("x", (2, 5, 3)), gg.placeholder("w", (3, 3))

    def step(c, e):
        return gg.tanh(c @ gg.transpose(w) + gg.reshape(e, (3, 2)).T), c[:, ::-1]

    last, y = gg.scan(step, gg.zeros((2, 3)), gg.transpose(x, (1, 0, 2))[::-1])
    agree([x, w], [last, y], [array(2, 5, 3), array(3, 3)])


def test_loops_within_loops():
    x, w = gg.placeholder("x", (3, 4, 5)), gg.placeholder("w", (5,))

    def outer(c, block):
        last, y = gg.scan(lambda a, e: (gg.sin(a * w + e), a), c, block)
        return last, (y, gg.map(gg.sum, block))

    last, (y, sums) = gg.scan(outer, gg.zeros(5), x)
    loss = gg.sum(y) + gg.sum(last)
    outputs = [last, y, sums, *gg.gradients(loss, [x, w])]
    agree([x, w], outputs, [array(3, 4, 5), array(5)])


def test_the_memory_of_iterations_is_in_the_plan():
    x = gg.placeholder("x", (100, 1000))

    def step(c, e):
        a = gg.exp(c) * gg.sin(e)
        return gg.cumsum(a) - a, None

    last, _ = gg.scan(step, gg.zeros(1000), x)
    program = gg.compile([x], last, device="cpu")
    plan = program.plan()
    assert 4 * 4000 <= plan.arena_bytes <= 12 * 4000
    assert any(p.buffer.label.startswith("loop") for p in plan.buffers)


def test_other_sizes_are_bound_anew():
    x = gg.placeholder("x", ("n", "k"))
    last, y = gg.scan(lambda c, e: (gg.sin(c) + e, c), gg.sum(x, axis=0), x)
    f = gg.compile([x], [last, y], device="cpu")
    for n, k in [(3, 4), (5, 2), (3, 4), (0, 4), (4, 0)]:
        value = array(n, k)
        c, seen = value.sum(0), []
        for row in value:
            seen.append(c)
            c = np.sin(c) + row
        result, stacked = f(value)
        np.testing.assert_allclose(result, c, rtol=1e-5)
        np.testing.assert_allclose(stacked, np.reshape(seen, (n, k)), rtol=1e-5)


def test_parameters_that_are_replaced_are_read_anew():
    w = gg.parameter("w", np.ones(3))
    last, _ = gg.scan(lambda c, e: (c * w + e, None), gg.zeros(3, "float64"), np.eye(3))
    step = gg.compile([], gg.sum(last), updates={w: w + 1}, device="cpu")
    first, second = float(step()), float(step())
    assert first == 3
    assert second == 1 + 2 + 4


def test_the_iteration_that_is_not_finite_is_named():
    x = gg.placeholder("x", ("n", 3))
    last, _ = gg.scan(lambda c, e: (gg.log(e) + c, None), gg.zeros(3), x)
    program = gg.compile([x], last, device="cpu", check_finite=True)
    value = np.ones((4, 3), "f")
    value[2, 1] = -1
    with pytest.raises(gg.NonFiniteError) as caught:
        program(value)
    text = str(caught.value)
    assert text.startswith("check_finite: log() float32[3], created at ")
    assert text.endswith("in iteration 2 of a scan of 4")


def test_the_source_has_the_code_of_an_iteration():
    x = gg.placeholder("x", (3, 4, 5))

    def outer(c, block):
        return gg.scan(lambda a, e: (gg.sin(a) * e, None), c, block)[0], None

    last, _ = gg.scan(outer, gg.ones(5), x)
    source = gg.compile([x], last, device="cpu").source()
    assert source.count("(rows):") == 2
    assert source.count("sin(") == 1


def test_a_loop_is_explained_and_timed():
    x = gg.placeholder("x", ("n", 4))
    last, _ = gg.scan(lambda c, e: (gg.cumsum(c + e), None), gg.zeros(4), x)
    f = gg.compile([x], last, device="cpu")
    assert "scan" in str(f.explain(last, n=3))
    f(array(3, 4))
    assert "scan" in str(f.profile(array(3, 4), repeat=1))
