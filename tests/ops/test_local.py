"""Locally connected units: convolution where weights are equal, and else not."""

import re

import numpy as np
import pytest

import graphgpu as gg
from graphgpu import nn
from graphgpu.testing import check_operation

RNG = np.random.default_rng(44)


def normal(*shape):
    return RNG.standard_normal(shape)


def test_equal_kernels_at_all_positions_are_a_convolution():
    x, w, b = normal(2, 3, 6, 5), normal(4, 3, 3, 2), normal(4)
    for options in ({}, {"stride": 2, "padding": 1}, {"padding": "same"}):
        shared = gg.conv2d(*map(gg.constant, (x, w, b)), **options)
        counts = shared.shape[2:]
        weight = np.broadcast_to(w, (*counts, *w.shape))
        bias = np.broadcast_to(b[:, None, None], (4, *counts))
        local = gg.local_conv2d(*map(gg.constant, (x, weight, bias)), **options)
        np.testing.assert_allclose(
            gg.evaluate(local), gg.evaluate(shared), rtol=1e-12, atol=1e-13
        )


def test_the_gradient_of_a_shared_kernel_is_the_sum_over_positions():
    x, w = normal(2, 2, 5), normal(3, 2, 3)
    weight = gg.placeholder("w", w.shape, "float64")
    everywhere = gg.broadcast_to(weight, (3, *w.shape))
    cost = gg.sum(gg.square(gg.local_conv1d(gg.constant(x), everywhere)))
    shared = gg.sum(gg.square(gg.conv1d(gg.constant(x), weight)))
    (one,), (other,) = gg.gradients(cost, [weight]), gg.gradients(shared, [weight])
    np.testing.assert_allclose(
        gg.evaluate(one, {weight: w}), gg.evaluate(other, {weight: w}), rtol=1e-12
    )


def test_each_position_has_its_own_weights():
    """A unit is the dot product of its patch and its kernel alone."""
    x, w, b = normal(1, 2, 4, 4), normal(3, 3, 2, 2, 2, 2), normal(2, 3, 3)
    y = gg.evaluate(gg.local_conv2d(*map(gg.constant, (x, w, b))))
    for o, p, q in np.ndindex(2, 3, 3):
        patch = x[0, :, p : p + 2, q : q + 2]
        np.testing.assert_allclose(
            y[0, o, p, q], (patch * w[p, q, o]).sum() + b[o, p, q]
        )


def test_halves_are_summed_in_float32():
    check_operation(
        lambda x, w: gg.local_conv1d(x, w, stride=2),
        [normal(2, 2, 6), normal(2, 3, 2, 3)],
        lambda x, w: np.stack(
            [
                np.einsum("nck,ock->no", x[:, :, 2 * p : 2 * p + 3], w[p])
                for p in (0, 1)
            ],
            axis=2,
        ),
        dtypes=("float64", "float32", "float16", "bfloat16"),
        symbolic=False,
    )


def test_named_batches_and_images():
    w = normal(3, 4, 2, 1, 2, 2)
    x = normal(5, 1, 4, 5)
    expected = gg.evaluate(gg.local_conv2d(gg.constant(x), gg.constant(w)))
    for shape in (("n", 1, 4, 5), ("n", "c", "h", "w")):
        named = gg.placeholder("x", shape, "float64")
        y = gg.local_conv2d(named, gg.constant(w))
        found = gg.compile([named], y, device="cpu")(x)
        np.testing.assert_allclose(found, expected, rtol=1e-13)


def count(layer):
    return sum(int(np.prod(p.shape)) for p in layer.parameters())


def test_sharing_divides_the_number_of_parameters_by_that_of_positions():
    """An image of 28 x 28 and 6 maps of 5 x 5: 156 shared, 89856 local, more dense."""
    shared = nn.Conv2d(1, 6, 5)
    local = nn.LocallyConnected2d(1, 6, 28, 5)
    positions = 24 * 24
    assert count(shared) == 6 * 26 == 156
    assert count(local) == positions * count(shared) == 89856
    assert local.output_size == (24, 24)
    assert (28 * 28 + 1) * 6 * positions == 2712960
    separable, plain = nn.SeparableConv2d(32, 64, 3), nn.Conv2d(32, 64, 3)
    assert count(separable) == 32 * 9 + 64 * 32 + 64 == 2400
    assert count(plain) == 64 * 32 * 9 + 64 == 18496
    assert count(nn.DepthwiseConv2d(32, 3)) == 32 * 9 + 32
    assert count(nn.Subsampling2d(6)) == 12


X = gg.placeholder("x", ("n", 3, 8, 8))


@pytest.mark.parametrize(
    ("weight", "bias", "message"),
    [
        (
            (5, 6, 4, 3, 3, 3),
            None,
            "expected a weight of shape [6,6,4,3,3,3]; got float32[n,3,8,8] and "
            "float32[5,6,4,3,3,3]; created at ",
        ),
        (
            (6, 6, 4, 2, 3, 3),
            None,
            "expected a weight of shape [6,6,4,3,3,3]; got float32[n,3,8,8] and "
            "float32[6,6,4,2,3,3]; created at ",
        ),
        (
            (4, 3, 3, 3),
            None,
            "expected a weight with axes P, Q, O, C, R, S; got float32[n,3,8,8] and "
            "float32[4,3,3,3]; created at ",
        ),
        (
            (6, 6, 4, 3, 3, 3),
            (4,),
            "expected a bias of shape [4,6,6]; got float32[n,3,8,8] and "
            "float32[6,6,4,3,3,3] and float32[4]; created at ",
        ),
        (
            (6, 6, 4, 3, 3, "s"),
            None,
            "expected a weight with a known number of taps along axis W, got s; got "
            "float32[n,3,8,8] and float32[6,6,4,3,3,s]; created at ",
        ),
        (
            (1, 1, 4, 3, 9, 9),
            None,
            "axis H is 8 in input but the kernel spans 9; got float32[n,3,8,8] and "
            "float32[1,1,4,3,9,9]; created at ",
        ),
    ],
)
def test_the_messages_are_exactly_these(weight, bias, message):
    w = gg.placeholder("w", weight)
    b = None if bias is None else gg.placeholder("b", bias)
    start = "local_conv2d(stride=1, padding=0, dilation=1): "
    with pytest.raises(gg.ShapeError, match=f"^{re.escape(start + message)}"):
        gg.local_conv2d(X, w, b)
