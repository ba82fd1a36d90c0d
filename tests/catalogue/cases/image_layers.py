"""Layers over images: convolution, pooling, padding, resampling."""

import numpy as np
from case import Case
from image_references import (
    adaptive,
    correlated,
    depthwise,
    flipped,
    gained,
    in_turns,
    local,
    mean_of_all,
    motifs,
    pooled,
    put,
    resampled,
    separable,
    shuffled,
    transposed,
    unshuffled,
)

import graphgpu as gg
from graphgpu import nn

RNG = np.random.default_rng(24)
SPATIAL = {1: (7,), 2: (5, 6), 3: (3, 4, 4)}


def normal(*shape):
    return RNG.standard_normal(shape)


def distinct(*shape):
    """Numbers that are surely far apart, so that no maximum is near a kink."""
    return RNG.permutation(int(np.prod(shape))).reshape(shape) / 4.0 - 3.0


def layer_case(name, layer, reference, *shapes, inputs=None, **others):
    return Case(
        name=name,
        layer=layer,
        inputs=[normal(*s) for s in shapes] if inputs is None else inputs,
        reference=reference,
        **others,
    )


def conv_layer(name, layer, reference, shape, **options):
    """Return the case of a layer with a weight and a bias."""
    return layer_case(name, layer, lambda *a: reference(*a, **options), shape)


CASES = [
    conv_layer(
        "nn.Conv1d",
        lambda d: nn.Conv1d(2, 3, 3, 2, dtype=d),
        correlated,
        (2, 2, 7),
        stride=2,
    ),
    conv_layer(
        "nn.Conv2d",
        lambda d: nn.Conv2d(2, 4, 3, padding=1, groups=2, dtype=d),
        correlated,
        (1, 2, 4, 4),
        padding=1,
        groups=2,
    ),
    conv_layer(
        "nn.Conv2d, full",
        lambda d: nn.Conv2d(2, 2, (2, 3), padding="full", dtype=d),
        correlated,
        (1, 2, 2, 3),
        padding="full",
    ),
    conv_layer(
        "nn.Conv3d", lambda d: nn.Conv3d(1, 2, 2, dtype=d), correlated, (1, 1, 3, 3, 2)
    ),
    conv_layer(
        "nn.ConvTranspose1d",
        lambda d: nn.ConvTranspose1d(2, 3, 3, dtype=d),
        transposed,
        (2, 2, 4),
    ),
    conv_layer(
        "nn.ConvTranspose2d",
        lambda d: nn.ConvTranspose2d(2, 1, 3, 2, 1, 1, dtype=d),
        transposed,
        (1, 2, 2, 3),
        stride=2,
        padding=1,
        output_padding=1,
    ),
    conv_layer(
        "nn.ConvTranspose3d",
        lambda d: nn.ConvTranspose3d(1, 2, 2, dtype=d),
        transposed,
        (1, 1, 2, 3, 2),
    ),
    conv_layer(
        "nn.TrueConv1d",
        lambda d: nn.TrueConv1d(2, 3, 3, padding=1, dtype=d),
        flipped,
        (2, 2, 5),
        padding=1,
    ),
    conv_layer(
        "nn.TrueConv2d",
        lambda d: nn.TrueConv2d(2, 4, (2, 3), 2, groups=2, dtype=d),
        flipped,
        (2, 2, 4, 5),
        stride=2,
        groups=2,
    ),
    conv_layer(
        "nn.TrueConv3d",
        lambda d: nn.TrueConv3d(1, 2, 2, dtype=d),
        flipped,
        (1, 1, 3, 3, 2),
    ),
    conv_layer(
        "nn.DepthwiseConv1d",
        lambda d: nn.DepthwiseConv1d(3, 3, padding="same", multiplier=2, dtype=d),
        depthwise,
        (2, 3, 5),
        padding="same",
    ),
    conv_layer(
        "nn.DepthwiseConv2d",
        lambda d: nn.DepthwiseConv2d(2, (2, 3), 2, dtype=d),
        depthwise,
        (2, 2, 4, 5),
        stride=2,
    ),
    conv_layer(
        "nn.SeparableConv1d",
        lambda d: nn.SeparableConv1d(2, 3, 3, multiplier=2, dtype=d),
        separable,
        (2, 2, 5),
    ),
    conv_layer(
        "nn.SeparableConv2d",
        lambda d: nn.SeparableConv2d(2, 3, 3, padding="same", dtype=d),
        separable,
        (1, 2, 4, 4),
        padding="same",
    ),
    conv_layer(
        "nn.LocallyConnected1d",
        lambda d: nn.LocallyConnected1d(2, 3, 6, 3, 2, 1, dtype=d),
        local,
        (2, 2, 6),
        stride=2,
        padding=1,
    ),
    conv_layer(
        "nn.LocallyConnected2d",
        lambda d: nn.LocallyConnected2d(1, 2, (3, 4), 2, dtype=d),
        local,
        (2, 1, 3, 4),
    ),
    conv_layer(
        "nn.MotifDetector1d",
        lambda d: nn.MotifDetector1d(2, 3, 3, dtype=d),
        motifs,
        (2, 2, 7),
    ),
    conv_layer(
        "nn.MotifDetector2d",
        lambda d: nn.MotifDetector2d(1, 2, (2, 3), dtype=d),
        motifs,
        (2, 1, 4, 5),
    ),
    layer_case("nn.MapGain", lambda d: nn.MapGain(3, dtype=d), gained, (2, 3, 4)),
    layer_case(
        "nn.FilterBank2d",
        lambda d: nn.FilterBank2d(2, 3, 2, dtype=d),
        lambda x, w, b, g: gained(np.tanh(correlated(x, w, b)), g),
        (2, 2, 3, 4),
    ),
    layer_case(
        "nn.Subsampling1d",
        lambda d: nn.Subsampling1d(2, 3, 2, dtype=d),
        lambda x, w, b: gained(pooled(np.mean, x, 3, 2), w, b),
        (2, 2, 7),
    ),
    layer_case(
        "nn.Subsampling2d",
        lambda d: nn.Subsampling2d(2, activation=gg.tanh, dtype=d),
        lambda x, w, b: np.tanh(gained(pooled(np.mean, x, 2), w, b)),
        (2, 2, 4, 4),
    ),
]


PLACES = {
    1: np.array([[[1, 3]]]),
    2: np.array([[[[4, 2], [9, 11]]]]),
    3: np.array([[[[[0]], [[13]]]]]),
}


def pooling_layers(axes):
    """Return the cases of the layers that pool over so many axes."""
    shape, few = (2, 2, *SPATIAL[axes]), (2, 3, 2)[:axes]
    places = PLACES[axes]
    sizes = tuple(2 * n for n in places.shape[2:])

    def layer(name, *options):
        return lambda dtype: getattr(nn, f"{name}{axes}d")(*options)

    return [
        layer_case(
            f"nn.MaxPool{axes}d",
            layer("MaxPool", 2),
            lambda x: pooled(np.max, x, 2),
            inputs=[distinct(*shape)],
        ),
        layer_case(
            f"nn.AvgPool{axes}d",
            layer("AvgPool", 3, 1, 1),
            lambda x: pooled(mean_of_all, x, 3, 1, 1),
            shape,
        ),
        layer_case(
            f"nn.AdaptiveAvgPool{axes}d",
            layer("AdaptiveAvgPool", few),
            lambda x: adaptive(np.mean, x, few),
            shape,
        ),
        layer_case(
            f"nn.AdaptiveMaxPool{axes}d",
            layer("AdaptiveMaxPool", few),
            lambda x: adaptive(np.max, x, few),
            inputs=[distinct(*shape)],
        ),
        layer_case(
            f"nn.MaxUnpool{axes}d",
            layer("MaxUnpool", 2),
            lambda x, i: put(x, i, sizes),
            inputs=[normal(*places.shape), places],
        ),
    ]


def padding_layers(name, mode):
    """Return the cases of a kind of padding along one axis and along two."""

    def layer(axes, widths):
        return lambda dtype: getattr(nn, f"{name}{axes}d")(widths)

    return [
        layer_case(
            f"nn.{name}1d",
            layer(1, (2, 1)),
            lambda x: np.pad(x, [(0, 0), (0, 0), (2, 1)], mode),
            (2, 1, 4),
        ),
        layer_case(
            f"nn.{name}2d",
            layer(2, (2, 1, 0, 1)),
            lambda x: np.pad(x, [(0, 0), (0, 0), (0, 1), (2, 1)], mode),
            (2, 1, 3, 4),
        ),
    ]


CASES += [case for axes in SPATIAL for case in pooling_layers(axes)]
CASES += padding_layers("ZeroPad", "constant")
CASES += padding_layers("ReflectionPad", "reflect")
CASES += padding_layers("ReplicationPad", "edge")
CASES += [
    layer_case(
        "nn.GlobalAvgPool",
        lambda d: nn.GlobalAvgPool(),
        lambda x: x.mean((2, 3), keepdims=True),
        (2, 3, 2, 2),
    ),
    layer_case(
        "nn.GlobalMaxPool",
        lambda d: nn.GlobalMaxPool(),
        lambda x: x.max((2, 3), keepdims=True),
        inputs=[distinct(2, 3, 2, 2)],
    ),
    layer_case(
        "nn.Flatten",
        lambda d: nn.Flatten(),
        lambda x: x.reshape(len(x), -1),
        (2, 3, 2),
    ),
    layer_case(
        "nn.Upsample",
        lambda d: nn.Upsample(scale_factor=2, mode="bilinear"),
        lambda x: resampled(x, (6, 4), "bilinear"),
        (1, 2, 3, 2),
    ),
    layer_case(
        "nn.PixelShuffle",
        lambda d: nn.PixelShuffle(2),
        lambda x: shuffled(x, 2),
        (1, 4, 2, 3),
    ),
    layer_case(
        "nn.PixelUnshuffle",
        lambda d: nn.PixelUnshuffle(2),
        lambda x: unshuffled(x, 2),
        (1, 1, 4, 2),
    ),
    layer_case(
        "nn.ChannelShuffle",
        lambda d: nn.ChannelShuffle(2),
        lambda x: in_turns(x, 2),
        (2, 4, 3),
    ),
]
