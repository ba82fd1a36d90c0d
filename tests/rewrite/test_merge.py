from dataclasses import dataclass

import numpy as np
import pytest
from comparing import compare, kinds

import graphgpu as gg
from graphgpu.graph import Graph
from graphgpu.rewrite import rewrite


def merged(*outputs):
    return rewrite(outputs, ("merge",), debug=True)


def test_equal_expressions_are_computed_once():
    x = gg.placeholder("x", ("n",))
    y = gg.exp(x * 2.0) + gg.exp(x * 2.0)
    result = compare([x], [y], [np.float32([1, 2])], ("merge",))
    assert sorted(kinds(result)) == ["add", "exp", "multiply"]
    assert result.log == ("merge: 3 equal variables",)


def test_the_first_of_equal_variables_stays_as_it_is():
    x = gg.placeholder("x", ("n",))
    first, second = gg.exp(x), gg.exp(x)
    result = merged(second, first)
    assert result.outputs == (first, first)
    assert result.became[second] is first


def test_forward_and_backward_share_what_is_equal():
    x = gg.placeholder("x", ("n",))
    y = gg.sum(gg.square(gg.sin(x)))
    (dx,) = gg.gradients(y, [x])
    (ddx,) = gg.gradients(gg.sum(dx), [x])
    written = len(Graph([y, dx, ddx]))
    result = compare([x], [y, dx, ddx], [np.float32([1, 2])], ("merge",))
    assert len(Graph(result.outputs)) < written


def test_sums_and_products_are_equal_in_either_order():
    x, y = gg.placeholder("x", ("n",)), gg.placeholder("y", ("n",))
    a, b = x + y, y + x
    assert merged(a, b).outputs == (a, a)
    a, b = x - y, y - x
    assert merged(a, b).outputs == (a, b)
    a, b = gg.maximum(x, y), gg.maximum(y, x)  # of 0 and -0 either may be given
    assert merged(a, b).outputs == (a, b)


def test_sums_of_other_sizes_by_name_are_two():
    x, y = gg.placeholder("x", ("n",)), gg.placeholder("y", ("m",))
    a, b = x + y, y + x
    assert merged(a, b).outputs == (a, b)


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        (1.0, 1.0, True),
        (0.0, -0.0, False),
        (np.nan, np.nan, True),
        (np.float32(1), np.float64(1), False),
        (np.float32([1]), np.float32(1), False),
        (np.zeros(500), np.zeros(500), False),
    ],
    ids=str,
)
def test_constants_are_equal_by_dtype_shape_and_bits(left, right, equal):
    a, b = gg.constant(left), gg.constant(right)
    assert (merged(a, b).outputs == (a, a)) == equal


def test_fields_that_are_equal_as_numbers_but_not_alike_are_told_apart():
    a, b, c = gg.full(("n",), 0.0), gg.full(("n",), -0.0), gg.full(("n",), 0.0)
    assert merged(a, b, c).outputs == (a, b, a)
    x = gg.placeholder("x", ("n",))
    a, b = gg.leaky_relu(x, 0.0), gg.leaky_relu(x, -0.0)
    assert merged(a, b).outputs == (a, b)


def test_random_nodes_are_never_merged():
    a = gg.random_normal((3,), key="a")
    b = gg.random_normal((3,), key="a")
    x = gg.ones((3,))
    c, d = gg.dropout(x), gg.dropout(x)
    result = compare([], [a, b, c, d], [], ("merge",))
    assert result.outputs[:2] == (a, b)
    assert result.outputs[2] is not result.outputs[3]


def test_reductions_that_differ_in_keeping_axes_are_one():
    x = gg.placeholder("x", ("n", 3))
    outputs = [x.sum(0), x.sum(0, keepdims=True), x.mean(), x.mean(keepdims=True)]
    array = np.arange(6, dtype="float32").reshape(2, 3)
    result = compare([x], outputs, [array], ("merge",))
    assert sorted(kinds(result)) == ["mean", "reshape", "reshape", "sum"]


@dataclass(frozen=True)
class Listed(gg.Operation):
    """x, with a field that has no hash."""

    numbers: list

    def infer(self, guards, x):
        return x

    def numpy(self, x):
        return x


def test_operations_without_a_hash_are_left_alone():
    x = gg.placeholder("x", ())
    a, b = gg.apply(Listed([1]), x), gg.apply(Listed([1]), x)
    assert merged(a, b).outputs == (a, b)


def test_merging_follows_through_what_was_merged():
    x = gg.placeholder("x", ())
    left, right = x, x
    for _ in range(50):
        left, right = gg.sin(left), gg.sin(right)
    result = merged(left, right)
    assert result.outputs[0] is result.outputs[1]
    assert len(Graph(result.outputs)) == 51
