"""Depthwise and separable convolution, gains and subsampling of feature maps."""

import re

import numpy as np
import pytest

import graphgpu as gg

RNG = np.random.default_rng(46)


def normal(*shape):
    return gg.constant(RNG.standard_normal(shape))


def test_depthwise_convolution_does_not_mix_channels():
    x, w = normal(2, 3, 6, 5), normal(3, 1, 3, 2)
    y = gg.evaluate(gg.depthwise_conv2d(x, w, padding="same"))
    for c in range(3):
        alone = gg.conv2d(x[:, c : c + 1], w[c : c + 1], padding="same")
        np.testing.assert_allclose(y[:, c : c + 1], gg.evaluate(alone), rtol=1e-12)


@pytest.mark.parametrize("multiplier", [1, 2])
def test_a_separable_convolution_has_kernels_that_are_sums_of_products(multiplier):
    x, b = normal(2, 3, 5, 6), normal(4)
    d, p = normal(3 * multiplier, 1, 3, 2), normal(4, 3 * multiplier, 1, 1)
    separable = gg.separable_conv2d(x, d, p, b, stride=2, padding=1)
    split = d.reshape((3, multiplier, 3, 2)), p.reshape((4, 3, multiplier))
    w = gg.einsum("cmrs,ocm->ocrs", *split)
    plain = gg.conv2d(x, w, b, stride=2, padding=1)
    np.testing.assert_allclose(
        gg.evaluate(separable), gg.evaluate(plain), rtol=1e-11, atol=1e-13
    )


def test_lenet_subsampling_is_a_weight_times_the_sum_of_four():
    x, w, b = normal(2, 3, 4, 6), normal(3), normal(3)
    y = gg.evaluate(gg.sigmoid(gg.subsample2d(x, 4 * w, b)))
    four = gg.evaluate(x).reshape(2, 3, 2, 2, 3, 2).sum((3, 5))
    z = gg.evaluate(w)[:, None, None] * four + gg.evaluate(b)[:, None, None]
    np.testing.assert_allclose(y, 1 / (1 + np.exp(-z)), rtol=1e-12)


X = gg.placeholder("x", ("n", 3, 8, 8))


def weight(*shape):
    return gg.placeholder("w", shape)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: gg.depthwise_conv2d(X, weight(4, 1, 3, 3)),
            "depthwise_conv2d(stride=1, padding=0): expected a multiple of 3 kernels, "
            "one or more for each channel, got 4; got float32[n,3,8,8] and "
            "float32[4,1,3,3]; created at ",
        ),
        (
            lambda: gg.separable_conv2d(X, weight(6, 3, 3, 3), weight(4, 6, 1, 1)),
            "separable_conv2d(stride=1, padding=0): expected a depthwise weight with "
            "axes C m, 1, R, S; got float32[n,3,8,8] and float32[6,3,3,3] and "
            "float32[4,6,1,1]; created at ",
        ),
        (
            lambda: gg.depthwise_conv1d(
                gg.placeholder("s", (1, "c", 9)), weight(4, 1, 3)
            ),
            "depthwise_conv1d(stride=1, padding=0): expected a known number of "
            "channels, got c along axis 1; got float32[1,c,9] and "
            "float32[4,1,3]; created at ",
        ),
        (
            lambda: gg.map_gain(X, weight(4)),
            "map_gain: expected a gain of shape [3]; got float32[4]; created at ",
        ),
        (
            lambda: gg.map_gain(weight(4), weight(4)),
            "map_gain: expected an input with axes N, C and any others; got float32[4] "
            "and float32[4]; created at ",
        ),
        (
            lambda: gg.subsample2d(X, weight(3), weight(2)),
            "subsample2d(kernel_size=2, stride=None, padding=0): expected a bias of "
            "shape [3]; got float32[n,3,8,8] and float32[3] and float32[2]; "
            "created at ",
        ),
    ],
)
def test_the_messages_are_exactly_these(build, message):
    with pytest.raises(gg.ShapeError, match=f"^{re.escape(message)}"):
        build()
