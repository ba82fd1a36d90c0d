"""Loops made one, their sums that go on, and products taken out of them."""

import numpy as np
import pytest
from comparing import compare, kinds

import graphgpu as gg
from graphgpu.control import Scan
from graphgpu.graph import Graph
from graphgpu.rewrite import PASSES

RANDOM = np.random.default_rng(0)
UP_TO_PRODUCTS = tuple(name for name in PASSES if name != "loop_products")


def close(left, right):
    np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)


def array(*shape):
    return RANDOM.uniform(-1, 1, shape).astype("f")


def loops(result):
    return [v.operation for v in Graph(result.outputs) if isinstance(v.operation, Scan)]


def names(loop):
    return [v.operation.kind() for v in loop.body.variables if v.operation]


def recurrent(length=5, vector=False):
    """A recurrent layer and the gradients of what it is made of."""
    x = gg.placeholder("x", (length, 3) if vector else (length, 2, 3))
    w, u, b = (
        gg.placeholder(n, s) for n, s in (("w", (3, 4)), ("u", (4, 4)), ("b", 4))
    )

    def step(state, element):
        state = gg.tanh(element @ w + state @ u + b)
        return state, state

    _, y = gg.scan(step, gg.zeros(4 if vector else (2, 4)), x)
    loss = gg.sum(gg.square(y))
    inputs = [x, w, u, b]
    return inputs, [loss, *gg.gradients(loss, inputs)]


@pytest.mark.parametrize("length", [0, 1, 5])
@pytest.mark.parametrize("vector", [False, True])
def test_only_what_comes_from_the_iteration_before_is_multiplied_inside(length, vector):
    inputs, outputs = recurrent(length, vector)
    arrays = [array(*v.shape) for v in inputs]
    result = compare(inputs, outputs, arrays, None, close)
    forward, backward = loops(result)
    assert names(forward).count("matmul") == names(backward).count("matmul") == 1
    assert backward.carries == 1
    assert "sum" not in names(backward)


def test_without_that_pass_the_products_stay():
    inputs, outputs = recurrent()
    arrays = [array(*v.shape) for v in inputs]
    forward, backward = loops(compare(inputs, outputs, arrays, UP_TO_PRODUCTS, close))
    assert names(forward).count("matmul") == 2
    assert names(backward).count("matmul") == 4
    assert backward.carries == 4


def test_products_that_nothing_goes_on_from_leave_no_loop():
    x, w = gg.placeholder("x", (5, 2, 3)), gg.placeholder("w", (3, 4))
    y = gg.map(lambda e: e @ w, x)
    result = compare([x, w], [y], [array(5, 2, 3), array(3, 4)], None, close)
    assert not loops(result)
    assert kinds(result).count("matmul") == 1
    z = gg.map(lambda e: w @ e, gg.placeholder("v", ("n", 4)))
    (v,) = [p for p in Graph(z) if p.name == "v"]
    result = compare([v, w], [z], [array(5, 4), array(3, 4)], None, close)
    assert not loops(result)


def test_a_product_that_is_read_inside_too_stays():
    x, w = gg.placeholder("x", (5, 2, 3)), gg.placeholder("w", (3, 3))

    def step(c, e):
        product = gg.tanh(c + e) @ w
        return product, product

    _, y = gg.scan(step, gg.zeros((2, 3)), x)
    result = compare([x, w], [y], [array(5, 2, 3), array(3, 3)], None, close)
    (loop,) = loops(result)
    assert "matmul" in names(loop)


def test_a_weight_that_is_used_twice_has_one_gradient_outside():
    x, w = gg.placeholder("x", (5, 2, 3)), gg.placeholder("w", (3, 3))

    def step(c, e):
        return gg.tanh(gg.tanh(c @ w) @ w + e), None

    last, _ = gg.scan(step, gg.zeros((2, 3)), x)
    outputs = gg.gradients(gg.sum(last), [w])
    result = compare([x, w], outputs, [array(5, 2, 3), array(3, 3)], None, close)
    _, backward = loops(result)
    assert backward.carries == 1


def test_the_sum_of_halves_is_formed_in_float32():
    x = gg.placeholder("x", (64, 2, 3), "float16")
    w = gg.placeholder("w", (3, 3), "float16")
    y = gg.map(lambda e: gg.tanh(e @ w) @ w, x)
    outputs = gg.gradients(gg.sum(gg.cast(y, "float32")), [w])
    given = [array(64, 2, 3).astype("f2"), array(3, 3).astype("f2")]
    compare(
        [x, w],
        outputs,
        given,
        None,
        lambda left, right: np.testing.assert_allclose(left, right, rtol=0.02),
    )


def test_a_sum_goes_on_from_what_it_is_added_to():
    x, start = gg.placeholder("x", (6, 3)), gg.placeholder("start", (3,))

    def total(part):
        return gg.scan(lambda c, e: (c + gg.exp(e), None), gg.zeros(3), part)[0]

    first = start + total(x[:3])
    y = total(x[3:]) + first
    result = compare([x, start], [y], [array(6, 3), array(3)], None, close)
    assert len(loops(result)) == 2
    assert "add" not in kinds(result)
    assert any("a sum that goes on" in line for line in result.log)


def test_a_sum_whose_terms_are_seen_does_not_begin_elsewhere():
    x, start = gg.placeholder("x", (6, 3)), gg.placeholder("start", (3,))
    last, sums = gg.scan(lambda c, e: (c + e, c), gg.zeros(3), x)
    given = [array(6, 3), array(3)]
    result = compare([x, start], [start + last, sums], given, None, close)
    assert "add" in kinds(result)


def test_loops_in_opposite_directions_are_not_one():
    x = gg.placeholder("x", (6, 3))
    there = gg.scan(lambda c, e: (gg.tanh(c + e), None), gg.zeros(3), x)[0]
    back = gg.scan(lambda c, e: (gg.tanh(c + e), None), gg.zeros(3), x, reverse=True)[0]
    assert len(loops(compare([x], [there, back], [array(6, 3)], None, close))) == 2


def test_second_derivatives_share_the_forward_pass():
    x, w = gg.placeholder("x", (5, 2, 3)), gg.placeholder("w", (3, 3))
    last, _ = gg.scan(lambda c, e: (gg.sin(c @ w + e), None), gg.zeros((2, 3)), x)
    (first,) = gg.gradients(gg.sum(last), [w])
    (second,) = gg.gradients(gg.sum(gg.square(first)), [w])
    given = [array(5, 2, 3), array(3, 3)]
    result = compare([x, w], [last, first, second], given, None, close)
    assert sum("sin" in names(loop) for loop in loops(result)) == 1


def test_bodies_of_bodies_are_rewritten():
    x, w = gg.placeholder("x", (4, 5, 2, 3)), gg.placeholder("w", (3, 3))

    def outer(c, block):
        return gg.scan(lambda a, e: (gg.tanh(a + e @ w), None), c, block)

    last, _ = gg.scan(outer, gg.zeros((2, 3)), x)
    given = [array(4, 5, 2, 3), array(3, 3)]
    result = compare([x, w], [last], given, None, close)
    (loop,) = loops(result)
    (inner,) = [
        v.operation for v in loop.body.variables if isinstance(v.operation, Scan)
    ]
    assert "matmul" not in names(inner)
