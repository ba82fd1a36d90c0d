"""Functions of networks: convolution, pooling, losses, normalisation."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import graphgpu as gg
from cross_checks.case import Array, Case, Function, Pair, Random, call, peer, same

BOTH = (False, True)


def convolution(random: Random) -> Iterator[Case]:
    """Stride, dilation, groups, padding that differs before and after an axis."""
    draw, normal = random.integers, random.standard_normal
    for axes, _ in product((1, 2, 3), range(16)):
        groups, kernel, dilation = _groups(random), draw(1, 4, axes), draw(1, 3, axes)
        channels, kernels = groups * draw(1, 3, 2)
        padding = [_ints(p) for p in draw(0, 3, (axes, 2))]
        options = {
            "stride": _ints(draw(1, 4, axes)),
            "dilation": _ints(dilation),
            "groups": groups,
        }
        sizes = dilation * (kernel - 1) + draw(1, 6, axes)
        x = normal((draw(3), channels, *sizes))
        w = normal((kernels, channels // groups, *kernel))
        name, arrays = f"conv{axes}d", [x, w, normal(kernels)][: draw(2, 4)]
        f = partial(getattr(gg, name), padding=padding, **options)
        g = partial(_padded, peer(name), padding, **options)
        yield call(f"{name} {x.shape} {w.shape} {padding} {options}", f, g, *arrays)
    for axes, padding in product((1, 2, 3), ("same", "valid")):
        x, w = normal((2, 2, *[7, 6, 5][:axes])), normal((3, 2, *[3, 1, 5][:axes]))
        yield same(f"conv{axes}d", x, w, padding=padding)


def transposed_convolution(random: Random) -> Iterator[Case]:
    """Stride, padding, output padding, dilation, groups."""
    draw, normal = random.integers, random.standard_normal
    for axes, _ in product((1, 2, 3), range(16)):
        groups, stride, dilation = _groups(random), draw(1, 4, axes), draw(1, 3, axes)
        channels, kernels = draw(1, 3, 2)
        options = {
            "stride": _ints(stride),
            "padding": _ints(draw(0, 2, axes)),
            "output_padding": _ints(draw(0, np.maximum(stride, dilation))),
            "groups": groups,
            "dilation": _ints(dilation),
        }
        x = normal((2, groups * channels, *draw(2, 5, axes)))
        w = normal((groups * channels, kernels, *draw(2, 4, axes)))
        arrays = [x, w, normal(groups * kernels)][: draw(2, 4)]
        yield same(f"conv_transpose{axes}d", *arrays, **options)


def pooling(random: Random) -> Iterator[Case]:
    """Windows of all kinds, and adaptive ones."""
    draw = random.integers
    for kind, axes, _ in product(("max", "avg"), (1, 2, 3), range(14)):
        kernel, dilation = draw(1, 4, axes), draw(1, 3, axes)
        options: dict[str, Any] = {
            "kernel_size": _ints(kernel),
            "stride": _ints(draw(1, 4, axes)),
            "padding": _ints(draw(0, kernel // 2 + 1)),
            "ceil_mode": bool(draw(2)),
        }
        if kind == "max":
            options["dilation"] = _ints(dilation)
        else:
            options["count_include_pad"] = bool(draw(2))
        sizes = dilation * (kernel - 1) + 1 + draw(0, 6, axes)
        # With ties, of which the first has the gradient of a maximum.
        x = draw(0, 9, (2, 2, *sizes)).astype(float)
        yield same(f"{kind}_pool{axes}d", x, **options)
    x = [[1, np.nan, 2, 3], [-np.inf] * 4, [2, 2, np.inf, 2], [0, 0, -0.0, 0]]
    for name, stride, padding in product(("max_pool2d", "avg_pool2d"), (1, 2), (0, 1)):
        options = {"kernel_size": 2, "stride": stride, "padding": padding}
        yield same(name, [[x]], **options, order=1)
    for kind, axes, _ in product(("max", "avg"), (1, 2, 3), range(4)):
        x, size = random.standard_normal((2, 2, *draw(1, 8, axes))), draw(1, 6, axes)
        yield same(f"adaptive_{kind}_pool{axes}d", x, output_size=_ints(size))


def _groups(random: Random) -> int:
    return int(random.choice([1, 1, 2, 3]))


def _ints(array: Array) -> tuple[int, ...]:
    return tuple(array.tolist())


def _padded(
    f: Function, padding: list[tuple[int, ...]], x: Any, *rest: Any, **options: Any
) -> Any:
    """Pad first: PyTorch's convolutions pad alike before and after."""
    around = [p for pair in reversed(padding) for p in pair]
    return f(functional.pad(x, around), *rest, **options)


# --- losses and normalisation


def losses(random: Random) -> Iterator[Case]:
    """Classes and probabilities, weights, smoothing, what is to be ignored."""
    reductions = ("mean", "sum", "none")
    for size, reduction, smoothing, weighted, ignored in product(
        ((5, 4), (2, 4, 3), (2, 4, 3, 2)), reductions, (0.0, 0.1), BOTH, (-100, 1)
    ):
        x = random.standard_normal(size)
        target = random.integers(0, 4, (size[0], *size[2:]))
        soft = np.moveaxis(random.dirichlet(np.ones(4), target.shape), -1, 1)
        weights = {"weight": random.uniform(0.5, 2, 4)} if weighted else {}
        options = {"reduction": reduction, "ignore_index": ignored}
        if ignored < 0:
            target.flat[::4] = ignored
        if not smoothing:
            yield _constants("nll_loss", weights, x, target, **options)
        options["label_smoothing"] = smoothing
        yield _constants("cross_entropy", weights, x, target, **options)
        if ignored < 0:
            yield _constants("cross_entropy", weights, x, soft, **options)
    x, y = 20 * random.standard_normal((4, 3)), random.random((4, 3))
    for reduction, *given in product(reductions, BOTH, BOTH):
        names = [n for n, g in zip(("weight", "pos_weight"), given, strict=True) if g]
        weights = {n: random.uniform(0.5, 3, 3) for n in names}
        name = "binary_cross_entropy_with_logits"
        yield _constants(name, weights, x, y, reduction=reduction)
    for reduction in reductions:
        yield same("mse_loss", x, y, reduction=reduction)
    x = np.array([[0, 1, -np.inf], [1e4, -1e4, 0], [-np.inf, 3, 2]])
    for reduction, *classes in product(reductions, (0, 2, -100), (-100, 2), (-100,)):
        target = np.array(classes)
        yield same("cross_entropy", x, target, reduction=reduction, order=1)
    # PyTorch has NaN, where this is infinite, for -inf and a target above 0.
    x = np.array([np.nan, np.inf, 1e5, -1e5, 800, -800, 0])
    for target in (0.0, 0.3, 1 - 2**-23, 1.0):
        name = "binary_cross_entropy_with_logits"
        yield same(name, x, np.full(7, target), reduction="none", order=1)


def normalization(random: Random) -> Iterator[Case]:
    """By channel and by sample; running statistics after three steps."""
    normal = random.standard_normal
    sizes, offsets = ((6, 3), (4, 3, 5), (2, 3, 4, 2), (2, 3, 2, 3, 2)), (0, 50)
    for size, offset in product(sizes, offsets):
        x, w, b = normal(size) + offset, normal(3), normal(3)
        # float32 has 5 digits left of a variance of 1 beside a mean of 50.
        slack = 100.0 if offset else 2.0
        fixed = {"running_mean": normal(3), "running_var": random.uniform(0.5, 2, 3)}
        none = dict.fromkeys(fixed)
        for rest, (training, given) in product(
            ((), (w, b)), ((False, fixed), (True, none))
        ):
            f = partial(_batch_norm, gg.batch_norm, given, training)
            g = partial(_batch_norm, functional.batch_norm, given, training)
            shown = f"batch_norm {size} {offset=} {training=}, {len(rest)} vectors"
            yield call(shown, f, g, x, *rest, slack=slack)
        pairs = partial(_running, x)
        yield Case(f"running statistics {size}, {offset=}", pairs, slack)
    shapes = (((4, 7), 1), ((2, 3, 8), 1), ((2, 3, 4), 2), ((2, 2, 3, 4), 3))
    for (size, last), offset in product(shapes, offsets):
        x, w, b = normal(size) + offset, normal(size[-last:]), normal(size[-last:])
        slack = 100.0 if offset else 2.0
        f = partial(_layer_norm, gg.layer_norm, size[-last:])
        g = partial(_layer_norm, functional.layer_norm, size[-last:])
        for rest in ((), (w,), (w, b)):
            shown = f"layer_norm {size} over {last}, {offset=}, {len(rest)} vectors"
            yield call(shown, f, g, x, *rest, slack=slack)


def _constants(
    name: str, weights: dict[str, Array], *arrays: Array, **options: Any
) -> Case:
    """Return a case with weights as constants: PyTorch has no gradients of them."""

    def theirs(x: Any, *rest: Any) -> Any:
        tensors = {n: torch.tensor(w).to(x) for n, w in weights.items()}
        return peer(name)(x, *rest, **tensors, **options)

    ours = partial(getattr(gg, name), **weights, **options)
    shown = f"{name} of {[a.shape for a in arrays]}, {[*weights]}, {options}"
    return call(shown, ours, theirs, *arrays)


def _batch_norm(
    f: Function, given: dict[str, Array | None], training: bool, x: Any, *rest: Any
) -> Any:
    """Normalise, the running statistics being constants."""
    mean, var = given.values()
    if isinstance(x, torch.Tensor) and mean is not None:
        mean, var = torch.tensor(mean).to(x), torch.tensor(var).to(x)
    return f(x, mean, var, *(rest or (None, None)), training)


def _layer_norm(f: Function, shape: tuple[int, ...], x: Any, *rest: Any) -> Any:
    return f(x, shape, *rest)


def _running(x: Array, dtype: str) -> Iterator[Pair]:
    """Train on three batches, then infer on one."""
    ours = gg.nn.BatchNorm(3, momentum=0.3, dtype=dtype)
    by_axes = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}
    theirs = by_axes.get(x.ndim, nn.BatchNorm3d)(3, momentum=0.3)
    theirs = theirs.to(getattr(torch, dtype))
    leaf = gg.placeholder("x", x.shape, dtype)
    y = ours(leaf, training=True)
    step = gg.compile([leaf], y, gg.state_updates(y), device="cpu")
    for scale in (1, 2, -1):
        batch = scale * x.astype(dtype)
        yield "training", step(batch), theirs(torch.tensor(batch)).numpy(force=True)
    yield "running mean", ours.running_mean.value, theirs.running_mean.numpy()
    yield "running variance", ours.running_var.value, theirs.running_var.numpy()
    infer = gg.compile([leaf], ours(leaf, training=False), device="cpu")
    expected = theirs.eval()(torch.tensor(batch)).numpy(force=True)
    yield "inference", infer(batch), expected
