"""Layers over images: paddings, parameters, pooling with indices, messages."""

import re

import numpy as np
import pytest

import graphgpu as gg
from graphgpu import nn

RNG = np.random.default_rng(48)
F64 = {"dtype": "float64"}


def evaluate(layer, *arrays):
    return gg.evaluate(layer(*map(gg.constant, arrays)))


@pytest.mark.parametrize("padding", [1, (0, (1, 2)), "valid", "same", "full"])
def test_convolution_layers_take_every_padding(padding):
    x = RNG.standard_normal((2, 2, 6, 5))
    for layer in (
        nn.Conv2d(2, 4, (3, 2), padding=padding, **F64),
        nn.DepthwiseConv2d(2, (3, 2), padding=padding, multiplier=2, **F64),
        nn.SeparableConv2d(2, 4, (3, 2), padding=padding, **F64),
        nn.LocallyConnected2d(2, 4, (6, 5), (3, 2), padding=padding, **F64),
    ):
        plain = gg.conv2d(gg.constant(x), np.ones((4, 2, 3, 2)), padding=padding)
        assert evaluate(layer, x).shape == plain.shape


def test_the_maps_of_a_filter_bank_range_from_minus_to_plus_their_gain():
    gains = nn.init.constant([2.0, 0.5, 3.0])
    layer = nn.FilterBank2d(1, 3, 3, gain_init=gains, **F64)
    assert [p.path for p in layer.parameters()] == [
        "filter_bank2d/filters/weight",
        "filter_bank2d/filters/bias",
        "filter_bank2d/gain/gain",
    ]
    y = evaluate(layer, 1e3 * RNG.standard_normal((1, 1, 30, 30)))
    np.testing.assert_allclose(y.max((0, 2, 3)), [2, 0.5, 3], rtol=1e-6)
    np.testing.assert_allclose(y.min((0, 2, 3)), [-2, -0.5, -3], rtol=1e-6)


def test_an_encoder_and_a_decoder_restore_shapes():
    pool, unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)
    x = gg.placeholder("x", ("n", 3, 8, 12))
    y, indices = pool(x)
    assert y.type == nn.MaxPool2d(2)(x).type
    assert unpool(y, indices).type == x.type
    assert nn.Upsample(scale_factor=2)(y).type == x.type
    assert nn.PixelShuffle(2)(nn.PixelUnshuffle(2)(x)).type == x.type


@pytest.mark.parametrize(
    ("layer", "mode"),
    [
        (nn.ZeroPad2d, "constant"),
        (nn.ReflectionPad2d, "reflect"),
        (nn.ReplicationPad2d, "edge"),
    ],
)
def test_paddings_are_left_right_top_and_bottom(layer, mode):
    x = RNG.standard_normal((1, 2, 4, 5))
    expected = np.pad(x, [(0, 0), (0, 0), (3, 0), (1, 2)], mode)
    np.testing.assert_array_equal(evaluate(layer((1, 2, 3, 0)), x), expected)
    expected = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)], mode)
    np.testing.assert_array_equal(evaluate(layer(1), x), expected)


def test_initial_kernels_have_he_variance_for_their_own_fans():
    """A depthwise unit is fed by its window alone, a local one by all channels."""
    depthwise = nn.DepthwiseConv2d(500, 3).weight.value
    np.testing.assert_allclose(depthwise.var(), 2 / 9, rtol=0.1)
    local = nn.LocallyConnected2d(8, 8, 10, 3).weight.value
    np.testing.assert_allclose(local.var(), 2 / 72, rtol=0.1)
    pointwise = nn.SeparableConv2d(100, 100, 3).pointwise.value
    np.testing.assert_allclose(pointwise.var(), 2 / 100, rtol=0.1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: nn.ZeroPad2d((1, 2, 3)),
            "expected padding to be an int >= 0, or 4 ints (left, right, top, bottom); "
            "got (1, 2, 3)",
        ),
        (
            lambda: nn.ReflectionPad1d(-1),
            "expected padding to be an int >= 0, or 2 ints (left, right); got -1",
        ),
        (
            lambda: nn.LocallyConnected2d(3, 4, 4, 5),
            "axis H is 4 in input but the kernel spans 5",
        ),
        (
            lambda: nn.PixelShuffle(0),
            "expected upscale_factor to be an int > 0, got 0",
        ),
        (
            lambda: nn.SeparableConv2d(3, 4, (1, 2, 3)),
            "expected kernel_size to be an int or 2 ints >= 1",
        ),
        (
            lambda: nn.DepthwiseConv2d(3, 3, multiplier=0),
            "expected multiplier to be an int > 0, got 0",
        ),
        (
            lambda: nn.Subsampling2d(0),
            "expected channels to be an int > 0, got 0",
        ),
        (
            lambda: nn.MotifDetector1d(3, 0, 2),
            "expected motifs to be an int > 0, got 0",
        ),
    ],
)
def test_how_a_layer_cannot_be_made(make, message):
    with pytest.raises(gg.GraphError, match=re.escape(message)) as caught:
        make()
    assert str(caught.value).startswith("layer '")


X = gg.placeholder("x", ("n", 3, 9, 8))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            nn.ZeroPad1d(1),
            "expected an input with axes N, C, W; got float32[n,3,9,8]",
        ),
        (
            nn.LocallyConnected2d(3, 4, 8, 3),
            "expected 8 elements along axis 2, got 9; got float32[n,3,9,8]",
        ),
        (
            nn.SeparableConv2d(2, 4, 3),
            "expected 2 channels along axis 1, got 3; got float32[n,3,9,8]",
        ),
        (
            nn.Subsampling2d(2),
            "expected 2 channels along axis 1, got 3; got float32[n,3,9,8]",
        ),
        (
            nn.MapGain(2),
            "expected 2 channels along axis 1, got 3; got float32[n,3,9,8]",
        ),
    ],
)
def test_what_a_layer_cannot_take(layer, message):
    with pytest.raises(gg.ShapeError, match=re.escape(f": {message}; created at ")):
        layer(X)


@pytest.mark.parametrize("align", [False, True])
def test_upsampling_is_interpolation_with_the_same_arguments(align):
    x = gg.constant(np.random.default_rng(5).standard_normal((2, 3, 4, 5)))
    found = nn.Upsample((7, 9), mode="bilinear", align_corners=align)(x)
    expected = gg.interpolate(x, (7, 9), mode="bilinear", align_corners=align)
    np.testing.assert_array_equal(gg.evaluate(found), gg.evaluate(expected))


def test_the_weights_of_motif_detectors_are_normalised_by_motif():
    layer = nn.weight_norm(nn.MotifDetector1d(4, 10, 8))
    assert layer.weight_transform.g.shape == (10,)
