import numpy as np
import pytest
from comparing import close, compare, kinds

import graphgpu as gg
from graphgpu.graph import Graph
from graphgpu.ops.reduction import Sum
from graphgpu.rewrite import rewrite

PASSES = ("fold", "merge", "simplify", "factors")


def kind(v):
    return v.operation.kind() if v.operation else None


def array(*shape):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


X = ("n", 3, 4)

TAKEN_OUT = {
    "a number": lambda x: (x * 3.0).sum(),
    "a number divides": lambda x: (x / 3.0).sum((0, 2)),
    "a negative": lambda x: (-gg.exp(x)).sum(0),
    "by channel": lambda x: (x * x[0, :, :1]).sum((0, 2)),
    "by channel, kept": lambda x: (x * x[0, :, :1]).sum((0, 2), keepdims=True),
    "on the left": lambda x: (gg.expand_dims(x[0, :, :1], 0) * x).sum((0, 2)),
    "of lower rank": lambda x: (x * x[0, 0, :]).sum((0, 1)),
    "divides by channel": lambda x: (x / gg.exp(x[0, :, :1])).sum((0, 2)),
    "with more axes": lambda x: (x[0] * x[:, :1, :1]).sum((1, 2)),
    "of a mean": lambda x: gg.mean(x * x[0, :, :1], (0, 2)),
    "twice": lambda x: (x * x[0, :, :1] / 5.0).sum((0, 2)),
}


@pytest.mark.parametrize("name", TAKEN_OUT)
def test_a_factor_is_taken_out_of_a_sum(name):
    x = gg.placeholder("x", X)
    result = compare([x], [TAKEN_OUT[name](x)], [array(2, 3, 4)], PASSES, close)
    for v in Graph(result.outputs):
        if isinstance(v.operation, Sum):
            assert kind(v.inputs[0]) not in ("multiply", "divide", "negative")


STAYS = {
    "not the same along the axes": lambda x: (x * x[0]).sum((0, 2)),
    "divided by x": lambda x: (x[0, :, :1] / x).sum((0, 2)),
}


@pytest.mark.parametrize("name", STAYS)
def test_other_factors_stay_in_the_sum(name):
    x = gg.placeholder("x", X)
    y = STAYS[name](x)
    assert rewrite([y], ("factors",)).outputs == (y,)


def test_a_reduction_over_axes_of_size_1_is_a_reshape():
    x = gg.placeholder("x", (1, 3, 1))
    outputs = [
        x.sum(0),
        x.mean((0, 2), keepdims=True),
        gg.max(x, 2),
        gg.logsumexp(x, 0),
        x.sum(()),
    ]
    result = compare([x], outputs, [array(1, 3, 1)], ("factors",))
    assert set(kinds(result)) <= {"reshape"}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int32"])
def test_sums_of_halves_and_integers_stay(dtype):
    x = gg.placeholder("x", X, dtype)
    y = (x * x[0, :, :1]).sum((0, 2))
    assert rewrite([y], ("factors",)).outputs == (y,)


def test_a_sum_of_sums_is_one_sum():
    x = gg.placeholder("x", X)
    outputs = [
        x.sum(2).sum(0),
        x.sum((0, 2), keepdims=True).sum(1, keepdims=True),
        x.sum(1).sum(1),
    ]
    result = compare([x], outputs, [array(2, 3, 4)], PASSES, close)
    assert kinds(result) == ["sum"] * 3
    assert [v.operation.axes for v in result.outputs] == [(0, 2), (0, 1, 2), (1, 2)]


def test_a_sum_over_what_is_repeated_is_a_product_with_a_number():
    x = gg.placeholder("x", (3, 1))
    y = gg.broadcast_to(x, (5, 3, 4))
    outputs = [y.sum(), y.sum(0), y.sum((1, 2)), y.sum((0, 2), keepdims=True)]
    result = compare([x], outputs, [array(3, 1)], PASSES, close)
    for v in Graph(result.outputs):
        if isinstance(v.operation, Sum):
            assert 4 not in v.inputs[0].shape


def test_a_sum_over_a_named_number_of_repetitions_stays_as_there_may_be_none():
    x = gg.placeholder("x", ())
    n = gg.placeholder("n", ("n",))
    y = gg.broadcast_to(x, ("n",)).sum() + n.sum()
    inputs = [np.float32(np.inf), np.zeros(0, "float32")]
    result = compare([x, n], [y], inputs, PASSES)
    assert kinds(result).count("sum") == 2


def test_scales_that_are_smaller_are_multiplied_first():
    x = gg.placeholder("x", X)
    scale = gg.parameter("s", array(3, 1))
    y = scale * (x[0, 0, 0] * gg.exp(x))
    result = compare([x], [y], [array(2, 3, 4)], PASSES, close)
    products = [
        v
        for v in Graph(result.outputs)
        if v.operation and v.operation.kind() == "multiply"
    ]
    assert [p.ndim for p in products] == [2, 3]


def test_a_product_that_others_read_is_not_scaled_anew():
    x = gg.placeholder("x", X)
    inner = 3.0 * gg.exp(x)
    y = x[0, 0, 0] * inner
    result = rewrite([y, inner], ("factors",))
    assert result.outputs == (y, inner)


def batch_norm_graph():
    x = gg.placeholder("x", ("n", 3, 8, 8))
    mean, var = gg.state("mean", np.zeros(3, "f4")), gg.state("var", np.ones(3, "f4"))
    w = gg.parameter("w", np.arange(1.0, 4, dtype="f4"))
    b = gg.parameter("b", np.zeros(3, "f4"))
    y = gg.relu(gg.batch_norm(x, mean, var, w, b, training=True))
    loss = gg.mean(gg.square(y - 0.3))
    outputs = [loss, *gg.gradients(loss, [x, w, b]), *gg.state_updates(y).values()]
    return x, outputs


def test_the_backward_pass_of_a_batch_norm_has_two_sums_over_the_batch():
    x, outputs = batch_norm_graph()

    def sums(variables):
        kinds = [v for v in Graph(variables) if isinstance(v.operation, Sum)]
        return sum(v.operation.axes == (0, 2, 3) for v in kinds)

    assert sums(outputs) == 3
    result = compare([x], outputs, [array(5, 3, 8, 8)], None, close)
    assert sums(result.outputs) == 2
