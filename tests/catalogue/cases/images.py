"""Convolution, pooling, resampling: functions and layers, by plain loops."""

import numpy as np
from case import Case
from image_references import (
    adaptive,
    correlated,
    depthwise,
    each,
    flipped,
    gained,
    in_turns,
    local,
    mean_of_all,
    motifs,
    pooled,
    resampled,
    separable,
    shuffled,
    transposed,
    unpooled,
    unshuffled,
)

import graphgpu as gg

RNG = np.random.default_rng(23)


def normal(*shape):
    return RNG.standard_normal(shape)


def distinct(*shape):
    """Numbers that are surely far apart, so that no maximum is near a kink."""
    return RNG.permutation(int(np.prod(shape))).reshape(shape) / 4.0 - 3.0


def scaled(*arrays):
    """Inputs that are very large; all of one sign, so that sums do not cancel."""
    first, *rest = map(np.abs, arrays)
    small = [a * 1e-20 for a in rest]
    return [
        [first * 1e4, *rest],
        [first * 1e10, *(a * 1e10 for a in rest)],
        [first * 1e30, *small],
    ]


# --- convolution


CONV = {
    "conv1d": ((2, 3, 6), (4, 3, 3), {"stride": 2, "padding": 1}),
    "conv2d": ((2, 4, 5, 4), (6, 2, 3, 2), {"padding": (1, (0, 1)), "groups": 2}),
    "conv3d": ((1, 2, 3, 4, 3), (2, 2, 2, 2, 2), {"padding": 1, "stride": 2}),
}
SAME = [
    ("conv1d, same", (2, 2, 5), (2, 2, 4), {"padding": "same", "dilation": 2}),
    ("conv1d, full", (2, 2, 5), (3, 2, 3), {"padding": "full"}),
    ("conv2d, same", (1, 2, 4, 5), (2, 2, 2, 3), {"padding": "same"}),
    ("conv2d, full", (1, 2, 3, 4), (2, 2, 2, 3), {"padding": "full"}),
    ("conv2d, dilated", (1, 1, 6, 5), (2, 1, 3, 2), {"dilation": (2, 3)}),
    ("conv3d, same", (1, 1, 3, 2, 3), (2, 1, 2, 1, 3), {"padding": "same"}),
    ("conv3d, full", (1, 1, 2, 2, 3), (1, 1, 2, 1, 2), {"padding": "full"}),
]


def convolution(name, function, reference, x, w, options, **others):
    """Return the case of a function of x, a weight and a bias."""
    inputs = [normal(*x), normal(*w), normal(w[0])]
    return Case(
        name=name,
        function=lambda *v: function(*v, **options),
        inputs=inputs,
        reference=lambda *a: reference(*a, **options),
        extremes=scaled(*inputs),
        **others,
    )


CONVOLUTIONS = [
    *(
        convolution(n, getattr(gg, n), correlated, *c, symbolic=n != "conv2d")
        for n, c in CONV.items()
    ),
    *(convolution(n, getattr(gg, n.split(",")[0]), correlated, *c) for n, *c in SAME),
    convolution(
        "true_conv1d",
        gg.true_conv1d,
        flipped,
        (2, 2, 5),
        (3, 2, 3),
        {"padding": "full"},
    ),
    convolution(
        "true_conv2d",
        gg.true_conv2d,
        flipped,
        (2, 2, 4, 5),
        (2, 2, 3, 2),
        {"stride": 2},
    ),
    convolution(
        "true_conv2d, same",
        gg.true_conv2d,
        lambda x, w, b, padding: flipped(x, w, b, padding=((1, 1), (1, 0))),
        (2, 2, 4, 5),
        (2, 2, 3, 2),
        {"padding": "same"},
    ),
    convolution(
        "true_conv3d", gg.true_conv3d, flipped, (1, 2, 3, 3, 2), (2, 2, 2, 1, 2), {}
    ),
    convolution(
        "depthwise_conv1d",
        gg.depthwise_conv1d,
        depthwise,
        (2, 3, 5),
        (6, 1, 3),
        {"padding": "same"},
        symbolic=False,
    ),
    convolution(
        "depthwise_conv2d",
        gg.depthwise_conv2d,
        depthwise,
        (2, 3, 4, 5),
        (3, 1, 2, 3),
        {"padding": "full"},
        symbolic=False,
    ),
]


def product_case(name, function, reference, shapes, options, **others):
    """Return the case of a function of some operands of shapes given."""
    inputs = [normal(*s) for s in shapes]
    return Case(
        name=name,
        function=lambda *v: function(*v, **options),
        inputs=inputs,
        reference=lambda *a: reference(*a, **options),
        extremes=scaled(*inputs)[:2],
        **others,
    )


CONVOLUTIONS += [
    product_case(
        "conv_transpose1d",
        gg.conv_transpose1d,
        transposed,
        [(2, 2, 4), (2, 3, 3), (3,)],
        {"stride": 2},
    ),
    product_case(
        "conv_transpose2d",
        gg.conv_transpose2d,
        transposed,
        [(2, 2, 3, 2), (2, 2, 3, 2), (4,)],
        {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2},
        symbolic=False,
    ),
    product_case(
        "conv_transpose3d",
        gg.conv_transpose3d,
        transposed,
        [(1, 2, 2, 3, 2), (2, 1, 2, 1, 2), (1,)],
        {},
    ),
    product_case(
        "separable_conv1d",
        gg.separable_conv1d,
        separable,
        [(2, 2, 6), (4, 1, 3), (3, 4, 1), (3,)],
        {"dilation": 2},
        symbolic=False,
    ),
    product_case(
        "separable_conv2d",
        gg.separable_conv2d,
        separable,
        [(2, 2, 4, 3), (2, 1, 3, 2), (3, 2, 1, 1), (3,)],
        {"padding": "same"},
        symbolic=False,
    ),
    product_case(
        "local_conv1d",
        gg.local_conv1d,
        local,
        [(2, 2, 6), (3, 3, 2, 3), (3, 3)],
        {"stride": 2, "padding": 1},
        symbolic=False,
    ),
    product_case(
        "local_conv2d",
        gg.local_conv2d,
        local,
        [(2, 2, 4, 5), (3, 2, 2, 2, 2, 3), (2, 3, 2)],
        {"stride": (1, 2)},
        symbolic=False,
    ),
    product_case(
        "local_conv2d, dilated, same",
        gg.local_conv2d,
        local,
        [(2, 1, 3, 4), (3, 4, 2, 1, 2, 2)],
        {"dilation": 2, "padding": "same"},
        symbolic=False,
    ),
    product_case("map_gain", gg.map_gain, gained, [(2, 3, 2, 2), (3,), (3,)], {}),
    product_case(
        "detect_motifs",
        lambda *v, **options: gg.detect_motifs(*v, **options)[0],
        motifs,
        [(2, 2, 6), (3, 2, 3), (3,)],
        {"padding": 1},
    ),
    product_case(
        "detect_motifs, 2d",
        lambda *v, **options: gg.detect_motifs(*v, **options)[0],
        motifs,
        [(2, 2, 4, 4), (2, 2, 2, 3)],
        {"stride": 2, "padding": "full"},
    ),
]

# --- pooling


def pool_case(name, function, reference, x, **others):
    return Case(
        name=name,
        function=function,
        inputs=[x],
        reference=reference,
        extremes=[[x * 1e4], [x * 1e35], [x * 1e-30]],
        **others,
    )


SPATIAL = {1: (7,), 2: (5, 6), 3: (3, 4, 4)}


def poolings(axes):
    """Return the cases of all kinds of pooling over so many axes."""
    shape, few = (2, 2, *SPATIAL[axes]), (2, 3, 2)[:axes]
    largest, average, most, mean, unpool = (
        getattr(gg, f"{name}{axes}d")
        for name in (
            "max_pool",
            "avg_pool",
            "adaptive_max_pool",
            "adaptive_avg_pool",
            "max_unpool",
        )
    )

    def there_and_back(x):
        y, indices = largest(x, 2, return_indices=True)
        return unpool(y, indices, 2, output_size=x.shape[2:])

    return [
        pool_case(
            f"max_pool{axes}d",
            lambda x: largest(x, 3, 2, 1),
            lambda x: pooled(np.nanmax, x, 3, 2, 1),
            distinct(*shape),
        ),
        pool_case(
            f"avg_pool{axes}d",
            lambda x: average(x, 3, 2, 1),
            lambda x: pooled(mean_of_all, x, 3, 2, 1),
            normal(*shape),
        ),
        pool_case(
            f"adaptive_avg_pool{axes}d",
            lambda x: mean(x, few),
            lambda x: adaptive(np.mean, x, few),
            normal(*shape),
        ),
        pool_case(
            f"adaptive_max_pool{axes}d",
            lambda x: most(x, few),
            lambda x: adaptive(np.max, x, few),
            distinct(*shape),
        ),
        pool_case(
            f"max_unpool{axes}d",
            there_and_back,
            lambda x: unpooled(x, 2, x.shape),
            distinct(*shape),
        ),
    ]


POOLINGS = [case for axes in SPATIAL for case in poolings(axes)]
POOLINGS += [
    pool_case(
        "avg_pool2d, without padding",
        lambda x: gg.avg_pool2d(x, 3, 1, 1, count_include_pad=False),
        lambda x: pooled(np.nanmean, x, 3, 1, 1),
        normal(1, 2, 4, 4),
    ),
    pool_case(
        "max_pool2d, dilated",
        lambda x: gg.max_pool2d(x, 2, 1, dilation=2),
        lambda x: pooled(np.max, x, 2, 1, 0, 2),
        distinct(1, 2, 5, 4),
    ),
    pool_case(
        "global_avg_pool",
        gg.global_avg_pool,
        lambda x: x.mean((2, 3), keepdims=True),
        normal(2, 3, 3, 4),
    ),
    pool_case(
        "global_max_pool",
        gg.global_max_pool,
        lambda x: x.max((2, 3), keepdims=True),
        distinct(2, 3, 3, 4),
    ),
    product_case(
        "subsample1d",
        lambda x, w, b: gg.subsample1d(x, w, b, 3, 2),
        lambda x, w, b: gained(pooled(np.mean, x, 3, 2), w, b),
        [(2, 3, 7), (3,), (3,)],
        {},
    ),
    product_case(
        "subsample2d",
        gg.subsample2d,
        lambda x, w, b: gained(pooled(np.mean, x, 2), w, b),
        [(2, 3, 4, 5), (3,), (3,)],
        {},
    ),
]

MODES = ("constant", "edge", "reflect", "symmetric", "wrap")
POOLINGS += [
    pool_case(
        "pad" if mode == "constant" else f"pad, {mode}",
        lambda x, m=mode: gg.pad(x, [(1, 0), (2, 1)], m),
        lambda x, m=mode: np.pad(x, [(1, 0), (2, 1)], m),
        normal(2, 3),
    )
    for mode in MODES
]

# --- resampling


def resampling(name, x, counts, mode, corners=False, factor=None):
    """Return the case of a size, or of a factor that gives it."""
    steps = None if factor is None else [1 / f for f in each(factor, len(counts))]
    given = {"size": counts} if factor is None else {"scale_factor": factor}
    return pool_case(
        name,
        lambda x: gg.interpolate(x, mode=mode, align_corners=corners, **given),
        lambda x: resampled(x, counts, mode, corners, steps),
        normal(*x),
    )


RESAMPLINGS = [
    resampling("interpolate", (2, 2, 3, 2), (6, 6), "nearest", factor=(2, 3)),
    resampling("interpolate, nearest, to a size", (1, 2, 5, 4), (3, 7), "nearest"),
    resampling("interpolate, nearest-exact", (1, 2, 5, 4), (3, 7), "nearest-exact"),
    resampling("interpolate, linear", (2, 2, 4), (7,), "linear"),
    resampling("interpolate, linear, corners", (2, 2, 4), (7,), "linear", True),
    resampling("interpolate, linear, down", (2, 2, 7), (4,), "linear", factor=0.6),
    resampling("interpolate, bilinear", (1, 2, 3, 4), (5, 3), "bilinear"),
    resampling(
        "interpolate, bilinear, by 2", (1, 2, 3, 2), (6, 4), "bilinear", factor=2
    ),
    resampling(
        "interpolate, bilinear, corners", (1, 2, 3, 4), (5, 3), "bilinear", True
    ),
    resampling("interpolate, trilinear", (1, 1, 2, 3, 2), (3, 4, 4), "trilinear"),
    resampling("interpolate, bicubic", (1, 2, 4, 3), (6, 5), "bicubic"),
    resampling("interpolate, bicubic, corners", (1, 2, 4, 3), (6, 5), "bicubic", True),
    pool_case(
        "interpolate, area",
        lambda x: gg.interpolate(x, (2, 3), mode="area"),
        lambda x: adaptive(np.mean, x, (2, 3)),
        normal(1, 2, 5, 4),
    ),
]


RESAMPLINGS += [
    pool_case(
        "pixel_shuffle",
        lambda x: gg.pixel_shuffle(x, 2),
        lambda x: shuffled(x, 2),
        normal(1, 8, 2, 3),
    ),
    pool_case(
        "pixel_unshuffle",
        lambda x: gg.pixel_unshuffle(x, 2),
        lambda x: unshuffled(x, 2),
        normal(1, 2, 4, 6),
    ),
    pool_case(
        "channel_shuffle",
        lambda x: gg.channel_shuffle(x, 3),
        lambda x: in_turns(x, 3),
        normal(2, 6, 2),
    ),
]


CASES = [*CONVOLUTIONS, *POOLINGS, *RESAMPLINGS]
