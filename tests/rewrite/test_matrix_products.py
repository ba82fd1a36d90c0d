import numpy as np
from comparing import close, compare, kinds

import graphgpu as gg
from graphgpu.graph import Graph
from graphgpu.ops.matrix_product import Matmul

RNG = np.random.default_rng(2)


def array(*shape):
    return RNG.normal(size=shape).astype("float32")


def ranks(result):
    return [v.ndim for v in Graph(result.outputs) if isinstance(v.operation, Matmul)]


def test_a_layer_over_a_sequence_is_one_product_forward_and_backward():
    x = gg.placeholder("x", ("batch", "time", 5))
    w = gg.parameter("w", array(5, 4))
    y = gg.tanh(x @ w)
    outputs = [y, *gg.gradients(gg.sum(y * y), [x, w])]
    result = compare([x], outputs, [array(3, 7, 5)], None, close)
    assert ranks(result) == [2, 2, 2]
    assert "sum" not in kinds(result)


def test_stacks_of_more_axes_are_one_product_too():
    x = gg.placeholder("x", ("a", "b", 6, 5))
    w = gg.parameter("w", array(1, 5, 4))
    outputs = [x @ w, *gg.gradients(gg.sum(gg.sin(x @ w)), [w])]
    result = compare([x], outputs, [array(2, 3, 6, 5)], None, close)
    assert set(ranks(result)) == {2}


def test_stacks_of_both_operands_stay():
    x, y = gg.placeholder("x", ("n", 3, 4)), gg.placeholder("y", ("n", 4, 2))
    result = compare([x, y], [x @ y], [array(2, 3, 4), array(2, 4, 2)], None, close)
    assert ranks(result) == [3]


def test_transposed_stacks_stay_as_their_rows_are_apart():
    x, w = gg.placeholder("x", ("n", 4, 3)), gg.parameter("w", array(4, 2))
    result = compare([x], [x.mT @ w], [array(2, 4, 3)], None, close)
    assert ranks(result) == [3]


def test_a_sum_over_part_of_the_stack_stays():
    x, y = gg.placeholder("x", ("a", "b", 3, 4)), gg.placeholder("y", ("a", "b", 4, 2))
    z = (x @ y).sum(0)
    arrays = [array(2, 3, 3, 4), array(2, 3, 4, 2)]
    assert ranks(compare([x, y], [z], arrays, None, close)) == [4]


def test_a_sum_over_the_stack_is_one_product_whatever_is_transposed():
    x, y = gg.placeholder("x", ("n", 3, 4)), gg.placeholder("y", ("n", 4, 2))
    outputs = [(x @ y).sum(0), (x @ y).sum(0, keepdims=True)]
    result = compare([x, y], outputs, [array(5, 3, 4), array(5, 4, 2)], None, close)
    assert set(ranks(result)) == {2}
