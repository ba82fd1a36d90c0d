import numpy as np
import pytest
from comparing import close, compare, kinds

import graphgpu as gg
from graphgpu.graph import Graph
from graphgpu.rewrite import rewrite

RNG = np.random.default_rng(3)


def array(*shape):
    return RNG.normal(size=shape).astype("float32")


def layers(bias=True, groups=1):
    """Return a convolution and a batch normalisation with statistics of their own."""
    conv = gg.nn.Conv2d(4, 6, 3, padding=1, bias=bias, groups=groups)
    norm = gg.nn.BatchNorm(6)
    norm.running_mean.value = array(6)
    norm.running_var.value = array(6) ** 2 + 0.5
    norm.weight.value, norm.bias.value = array(6), array(6)
    return conv, norm


def after_convolution(result):
    """Return the operations on whole images that follow the convolution."""
    return [
        v.operation.kind()
        for v in Graph(result.outputs)
        if v.operation and v.ndim == 4 and v.shape[2:] == (5, 5)
    ]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("groups", [1, 2])
def test_inference_has_one_scaled_convolution_and_one_sum(bias, groups):
    conv, norm = layers(bias, groups)
    x = gg.placeholder("x", ("n", 4, 5, 5))
    y = gg.relu(norm(conv(x), training=False))
    result = compare([x], [y], [array(2, 4, 5, 5)], None, close)
    assert after_convolution(result) == ["convolution", "add", "relu"]
    (folded,) = [v for v in Graph(result.outputs) if v.path.endswith("convolution")]
    assert folded.context.path == conv.weight.context.path


def test_a_stack_of_blocks_is_folded_throughout():
    x = gg.placeholder("x", ("n", 4, 5, 5))
    y = x
    for _ in range(3):
        conv, norm = layers(bias=False)
        y = gg.relu(norm(conv(y), training=False))[:, :4]
    result = compare([x], [y], [array(2, 4, 5, 5)], None, close)
    assert "multiply" not in after_convolution(result)
    assert result.log[-1].startswith("fold_batch_norm: 3 ")


def stays(outputs):
    result = rewrite(outputs, ("fold_batch_norm",), debug=True)
    return result.outputs == tuple(outputs)


def test_statistics_of_the_batch_are_not_folded():
    conv, norm = layers()
    x = gg.placeholder("x", ("n", 4, 5, 5))
    assert stays([norm(conv(x), training=True)])


def test_what_a_gradient_reads_is_not_folded():
    conv, norm = layers()
    x = gg.placeholder("x", ("n", 4, 5, 5))
    y = norm(conv(x), training=False)
    assert stays([y, *gg.gradients(y.sum(), norm.parameters())])


def test_a_convolution_that_is_an_output_is_not_folded():
    conv, norm = layers()
    x = gg.placeholder("x", ("n", 4, 5, 5))
    z = conv(x)
    assert stays([norm(z, training=False), z])


def test_scales_that_are_inputs_of_the_program_are_not_folded():
    conv, _ = layers()
    x, s = gg.placeholder("x", ("n", 4, 5, 5)), gg.placeholder("s", (6, 1, 1))
    assert stays([conv(x) * s])


def test_shifts_alone_stay():
    conv, _ = layers()
    x = gg.placeholder("x", ("n", 4, 5, 5))
    assert stays([conv(x) + gg.parameter("b", array(6, 1, 1))])


def test_numbers_and_quotients_are_folded():
    conv, _ = layers(bias=False)
    x = gg.placeholder("x", ("n", 4, 5, 5))
    w = gg.parameter("w", array(6, 1, 1) ** 2 + 1)
    y = 2.0 + (conv(x) * 3.0 - w) / w * 0.5
    result = compare([x], [y], [array(2, 4, 5, 5)], None, close)
    assert after_convolution(result) == ["convolution", "add"]
    y = conv(x) / w
    result = compare([x], [y], [array(2, 4, 5, 5)], ("fold_batch_norm",), close)
    assert kinds(result)[-1] == "convolution"


def test_what_differs_along_a_row_is_not_folded():
    conv, _ = layers()
    x = gg.placeholder("x", ("n", 4, 5, 5))
    assert stays([conv(x) * gg.parameter("w", array(6, 1, 5))])
    assert stays([3.0 - conv(x)])
