"""Single modules: forward and gradient, at sizes as they are met in nets.

A module is a function of arrays.  Its gradient is taken with respect to all of them
that are floats, and to the parameters of a layer, for a gradient of the output that
is given: what is timed is one call that returns the output and the gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

import graphgpu as gg
from graphgpu.dtypes import Array

Arrays: TypeAlias = dict[str, Array]
Step: TypeAlias = Callable[[], object]
THREADS = 1
"""Of every peer: a module is part of a step, which deals out the work to threads."""


@dataclass(frozen=True)
class Module:
    """A row: what is computed of which arrays, and PyTorch's twin in torch_modules."""

    name: str
    arrays: Callable[[np.random.Generator], Arrays]
    function: Callable[..., gg.Variable]
    """Of the arrays in their order, as placeholders; or of these and the layer."""
    layer: Callable[[], gg.nn.Layer] | None = None
    fixed: tuple[str, ...] = ()
    """Floats that no gradient is wanted of."""


def floats(*shapes: Sequence[int], scale: float = 1.0) -> Callable[..., Arrays]:
    """Return what draws an array of each shape: x, then y, z and w."""

    def draw(generator: np.random.Generator) -> Arrays:
        return {
            name: (scale * generator.standard_normal(shape)).astype(np.float32)
            for name, shape in zip("xyzwv", shapes, strict=False)
        }

    return draw


def step(module: Module) -> Step:
    """Return graphgpu's call: a compiled program with its arrays."""
    arrays = module.arrays(np.random.default_rng(0))
    with gg.root_scope(0):
        inputs = {
            name: gg.placeholder(name, array.shape, array.dtype)
            for name, array in arrays.items()
        }
        layer = module.layer() if module.layer else None
        y = module.function(*inputs.values(), *([layer] if layer else []))
        wanted = [v for n, v in inputs.items() if differentiable(module, arrays, n)]
        wanted += layer.parameters() if layer else []
        given = gg.placeholder("gradient", y.shape, y.dtype)
        slopes = gg.gradients(None, wanted, known={y: given})
        program = gg.compile(
            [*inputs.values(), given], [y, *slopes], device="cpu", threads=THREADS
        )
    sizes = [int(str(size)) for size in y.shape]
    slope = np.random.default_rng(1).standard_normal(sizes).astype(np.float32)
    values = [*arrays.values(), slope]
    return lambda: program(*values)


def differentiable(module: Module, arrays: Mapping[str, Array], name: str) -> bool:
    """Whether a gradient with respect to an array is wanted."""
    return arrays[name].dtype.kind == "f" and name not in module.fixed


# --- arrays that are not plain noise


def scores(generator: np.random.Generator) -> Arrays:
    """Return scores of 1,000 classes, and labels."""
    return floats((256, 1000))(generator) | {"labels": generator.integers(0, 1000, 256)}


def distributions(generator: np.random.Generator) -> Arrays:
    """Return logarithms of probabilities, and probabilities."""
    x, y = floats((256, 1000), (256, 1000))(generator).values()
    parts = np.exp(y)
    return {
        "x": x - np.log(np.exp(x).sum(1, keepdims=True)),
        "y": parts / parts.sum(1, keepdims=True),
    }


def tokens(generator: np.random.Generator) -> Arrays:
    """Return a table of 10,000 vectors, and 32 lines of 64 indices."""
    return floats((10_000, 128))(generator) | {
        "indices": generator.integers(0, 10_000, (32, 64))
    }


def speech(generator: np.random.Generator) -> Arrays:
    """Return scores of 100 frames, 16 lines, 30 labels; targets of 15 to 20."""
    return floats((100, 16, 30))(generator) | {
        "targets": generator.integers(1, 30, (16, 20)),
        "frames": np.full(16, 100),
        "lengths": generator.integers(15, 21, 16),
    }


IMAGE = (32, 64, 28, 28)
TEXT = (32, 64, 256)


def _batch_norm_l1(x: gg.Variable, w: gg.Variable, b: gg.Variable) -> gg.Variable:
    return gg.batch_norm(x, None, None, w, b, training=True, norm="l1")


def _unpool(x: gg.Variable) -> gg.Variable:
    y, places = gg.max_pool2d(x, 2, return_indices=True)
    return gg.max_unpool2d(y, places, 2)


def _attend(x: gg.Variable, layer: Any) -> gg.Variable:
    found = layer(x, x, x)
    return found[0] if isinstance(found, tuple) else found


def _unroll(x: gg.Variable, layer: Any) -> gg.Variable:
    found = layer(x, training=True)
    return found[0] if isinstance(found, tuple) else found


def _ctc(
    x: gg.Variable, targets: gg.Variable, frames: gg.Variable, lengths: gg.Variable
) -> gg.Variable:
    return gg.ctc_loss(gg.log_softmax(x), targets, frames, lengths)


def _layer(*inputs: Any) -> gg.Variable:
    *given, layer = inputs
    return layer(*given)  # type: ignore[no-any-return]


def _interpolated(mode: str) -> Callable[..., gg.Variable]:
    return lambda x: gg.interpolate(x, scale_factor=2, mode=mode)


CHANNELS = ((64,), (64,))
MODULES = {
    module.name: module
    for module in (
        Module("relu", floats(TEXT), gg.relu),
        Module("gelu", floats(TEXT), gg.gelu),
        Module("gelu-tanh", floats(TEXT), lambda x: gg.gelu(x, approximate="tanh")),
        Module("silu", floats(TEXT), gg.silu),
        Module("mish", floats(TEXT), gg.mish),
        Module("softplus", floats(TEXT), gg.softplus),
        Module("elu", floats(TEXT), gg.elu),
        Module("softmax", floats((256, 1000)), gg.softmax),
        Module("log_softmax", floats((256, 1000)), gg.log_softmax),
        Module(
            "layer_norm",
            floats(TEXT, (256,), (256,)),
            lambda x, w, b: gg.layer_norm(x, 256, w, b),
        ),
        Module(
            "rms_norm",
            floats(TEXT, (256,)),
            lambda x, w: gg.rms_norm(x, 256, w),
        ),
        Module(
            "group_norm",
            floats(IMAGE, *CHANNELS),
            lambda x, w, b: gg.group_norm(x, 8, w, b),
        ),
        Module("instance_norm", floats(IMAGE, *CHANNELS), gg.instance_norm),
        Module("batch_norm-l1", floats(IMAGE, *CHANNELS), _batch_norm_l1),
        Module(
            "local_response_norm",
            floats((32, 64, 14, 14)),
            lambda x: gg.local_response_norm(x, 5),
        ),
        Module("dropout", floats(TEXT), lambda x: gg.dropout(x, 0.5, True)),
        Module("alpha_dropout", floats(TEXT), lambda x: gg.alpha_dropout(x, 0.5, True)),
        Module("maxout", floats((128, 1024)), lambda x: gg.maxout(x, 4)),
        Module(
            "attention",
            floats(*[(8, 8, 64, 64)] * 3),
            gg.scaled_dot_product_attention,
        ),
        Module(
            "MultiHeadAttention",
            floats((8, 64, 256)),
            _attend,
            lambda: gg.nn.MultiHeadAttention(256, 8),
        ),
        Module("bilinear", floats((128, 64), (128, 64), (32, 64, 64)), gg.bilinear),
        Module("embedding", tokens, lambda x, i: gg.take(x, i, axis=0)),
        Module("bilinear x2", floats((16, 32, 28, 28)), _interpolated("bilinear")),
        Module("bicubic x2", floats((16, 32, 28, 28)), _interpolated("bicubic")),
        Module("nearest x2", floats((16, 32, 28, 28)), _interpolated("nearest")),
        Module("max_unpool2d", floats((16, 32, 28, 28)), _unpool),
        Module(
            "pixel_shuffle", floats((16, 64, 28, 28)), lambda x: gg.pixel_shuffle(x, 2)
        ),
        Module(
            "depthwise_conv2d",
            floats((16, 64, 28, 28), (64, 1, 3, 3)),
            lambda x, w: gg.depthwise_conv2d(x, w, padding=1),
        ),
        Module(
            "separable_conv2d",
            floats((16, 64, 28, 28), (64, 1, 3, 3), (64, 64, 1, 1)),
            lambda x, w, p: gg.separable_conv2d(x, w, p, padding=1),
        ),
        Module(
            "locally connected",
            floats((32, 16, 14, 14)),
            _layer,
            lambda: gg.nn.LocallyConnected2d(16, 16, 14, 3),
        ),
        Module(
            "conv_transpose2d",
            floats((16, 64, 14, 14), (64, 32, 4, 4)),
            lambda x, w: gg.conv_transpose2d(x, w, stride=2, padding=1),
        ),
        Module("cross_entropy", scores, gg.cross_entropy),
        Module(
            "kl_div",
            distributions,
            lambda x, y: gg.kl_div(x, y, reduction="batchmean"),
            fixed=("y",),
        ),
        Module("triplet", floats(*[(128, 256)] * 3), gg.triplet_margin_loss),
        Module("ctc_loss", speech, _ctc),
        Module("LSTM", floats((32, 50, 128)), _unroll, lambda: gg.nn.LSTM(128, 128)),
        Module("GRU", floats((32, 50, 128)), _unroll, lambda: gg.nn.GRU(128, 128)),
    )
}
