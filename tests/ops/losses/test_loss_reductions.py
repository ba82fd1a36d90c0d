"""Reductions, weights and masks: the same of every loss, NaN behind a mask too."""

from functools import partial

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.testing import check_gradient

RANDOM = np.random.default_rng(8)
X = RANDOM.uniform(0.1, 0.9, (3, 4))
Y = RANDOM.uniform(0.1, 0.9, (3, 4))
SIGNS = np.where(Y > 0.5, 1.0, -1.0)
CLASSES = np.array([1, 3, 0])
LABELS = np.array([[1, 3, -1, 0], [0, -1, 0, 0], [2, 0, 1, -1]])
KINDS = np.array([1, 0, 1])
WEIGHT = np.array([[0.5], [2.0], [1.25]])
NUMBERS = (np.nan, np.inf, -np.inf)

ELEMENTWISE = {
    "mse": (gg.mse, [X, Y]),
    "l1_loss": (gg.l1_loss, [X, Y]),
    "huber_loss": (partial(gg.huber_loss, delta=0.2), [X, Y]),
    "smooth_l1_loss": (partial(gg.smooth_l1_loss, beta=0.2), [X, Y]),
    "smooth_l1_loss, 0": (partial(gg.smooth_l1_loss, beta=0), [X, Y]),
    "soft_margin_loss": (gg.soft_margin_loss, [X, SIGNS]),
    "hinge_loss": (gg.hinge_loss, [X, SIGNS]),
    "squared_hinge_loss": (gg.squared_hinge_loss, [X, SIGNS]),
    "margin_ranking_loss": (gg.margin_ranking_loss, [X, Y, SIGNS]),
    "kl_div": (gg.kl_div, [X, Y]),
    "kl_div, logs": (partial(gg.kl_div, log_target=True), [X, Y]),
    "gaussian_nll_loss": (gg.gaussian_nll_loss, [X, Y, X + 0.5]),
    "gaussian_nll_loss, logs": (partial(gg.gaussian_nll_loss, log_var=True), [X, Y, X]),
    "poisson_nll_loss": (partial(gg.poisson_nll_loss, full=True), [X, 3 * Y]),
    "poisson_nll_loss, rates": (partial(gg.poisson_nll_loss, log_input=False), [X, Y]),
}
COUNTED = {
    "binary_cross_entropy": (gg.binary_cross_entropy, [X, Y]),
    "with_logits": (gg.binary_cross_entropy_with_logits, [X, Y]),
}
"""Their weights do not divide, as in torch."""
ROWS = {
    "euclidean_loss": (gg.euclidean_loss, [X, Y]),
    "kl_divergence": (gg.kl_divergence, [X, Y]),
    "js_divergence": (gg.js_divergence, [X, Y]),
    "cosine_embedding_loss": (gg.cosine_embedding_loss, [X, Y, 2 * KINDS - 1]),
    "contrastive_loss": (gg.contrastive_loss, [X, Y, KINDS]),
    "triplet_margin_loss": (gg.triplet_margin_loss, [X, Y, X[::-1]]),
    "triplet, swap": (partial(gg.triplet_margin_loss, swap=True), [X, Y, X[::-1]]),
    "triplet, p": (partial(gg.triplet_margin_loss, p=3), [X, Y, X[::-1]]),
    "multilabel_margin_loss": (gg.multilabel_margin_loss, [X, LABELS]),
}
OF_CLASSES = {
    "cross_entropy": (gg.cross_entropy, [X, CLASSES]),
    "smoothing": (partial(gg.cross_entropy, label_smoothing=0.3), [X, CLASSES]),
    "soft": (gg.cross_entropy, [X, Y / Y.sum(1, keepdims=True)]),
    "nll_loss": (gg.nll_loss, [X, CLASSES]),
    "multi_margin_loss": (gg.multi_margin_loss, [X, CLASSES]),
    "multi_margin_loss, 2": (partial(gg.multi_margin_loss, p=2), [X, CLASSES]),
}
WEIGHTED = ELEMENTWISE | ROWS
EVERY = WEIGHTED | COUNTED | OF_CLASSES


def number(loss, arrays, **options):
    return gg.evaluate(loss(*(gg.constant(a) for a in arrays), **options))


def shape_of(name):
    return (3, 4) if name in ELEMENTWISE | COUNTED else (3,)


def weight_for(name):
    return WEIGHT if len(shape_of(name)) == 2 else WEIGHT[:, 0]


def some(name):
    """Return a mask of the losses' shape that leaves out some of every kind."""
    mask = np.array([True, False, True])
    if len(shape_of(name)) == 1:
        return mask
    return mask[:, np.newaxis] & (np.arange(4) != 2)


@pytest.mark.parametrize("name", EVERY)
def test_sum_and_mean_are_those_of_the_losses(name):
    loss, arrays = EVERY[name]
    each = number(loss, arrays, reduction="none")
    assert each.shape == shape_of(name)
    assert number(loss, arrays, reduction="sum") == pytest.approx(each.sum())
    assert number(loss, arrays) == pytest.approx(each.mean())


@pytest.mark.parametrize("name", WEIGHTED | COUNTED)
def test_weights_multiply_and_divide_the_mean(name):
    loss, arrays = EVERY[name]
    weight = weight_for(name)
    each, full = number(loss, arrays, reduction="none"), np.zeros(shape_of(name))
    full += weight
    for mask in (None, some(name)):
        kept = np.ones(full.shape) if mask is None else mask
        options = {"weight": weight, "mask": mask}
        expected = each * full * kept
        found = number(loss, arrays, reduction="none", **options)
        np.testing.assert_allclose(found, expected, rtol=1e-14)
        divisor = (kept if name in COUNTED else full * kept).sum()
        assert number(loss, arrays, **options) == pytest.approx(
            expected.sum() / divisor, rel=1e-14
        )


@pytest.mark.parametrize("name", WEIGHTED | COUNTED)
def test_weights_have_gradients(name):
    loss, arrays = EVERY[name]
    check_gradient(
        lambda w: loss(*map(gg.constant, arrays), weight=w, mask=some(name)),
        [weight_for(name)],
    )


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("poison", NUMBERS)
def test_what_a_mask_leaves_out_may_be_anything(name, poison):
    """Value, gradient and second derivative are those of harmless numbers."""
    loss, arrays = EVERY[name]
    mask = some(name)
    rows = mask.reshape(3, -1)[:, 0]
    keep = mask if mask.ndim == 2 else np.repeat(mask[:, np.newaxis], 4, axis=1)
    spoilt = []
    for array in arrays:
        if array.dtype.kind == "f":
            spoilt.append(np.where(keep, array, poison))
        elif array.ndim == 1:
            spoilt.append(np.where(rows, array, 77))
        else:
            spoilt.append(np.where(rows[:, np.newaxis], array, 77))
    leaves = [gg.placeholder(f"x{i}", a.shape, a.dtype) for i, a in enumerate(arrays)]
    floating = [v for v, a in zip(leaves, arrays, strict=True) if a.dtype.kind == "f"]
    value = loss(*leaves, mask=mask)
    slopes = gg.gradients(value, floating)
    squares = sum(gg.sum(s * s) for s in slopes)
    again = gg.gradients(squares, floating[:1], disconnected="zero")
    program = gg.compile(leaves, [value, *slopes, *again], device="cpu")
    for found, expected in zip(program(*spoilt), program(*arrays), strict=True):
        np.testing.assert_array_equal(found, expected)
        assert np.isfinite(found).all()
    for slope in program(*spoilt)[1 : 1 + len(slopes)]:
        assert (slope[~keep] == 0).all()


@pytest.mark.parametrize("name", WEIGHTED | COUNTED)
def test_the_weight_of_what_does_not_count_may_be_anything(name):
    loss, arrays = EVERY[name]
    mask = some(name)
    full = np.broadcast_to(weight_for(name), mask.shape)
    x, w = (
        gg.placeholder("x", arrays[0].shape, "float64"),
        gg.placeholder("w", mask.shape, "float64"),
    )
    value = loss(x, *map(gg.constant, arrays[1:]), weight=w, mask=mask)
    results = [value, *gg.gradients(value, [x, w])]
    program = gg.compile([x, w], results, device="cpu")
    spoilt = np.where(mask, full, np.nan)
    for found, expected in zip(
        program(arrays[0], spoilt), program(arrays[0], full), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", EVERY)
def test_the_mean_of_nothing_is_nan_and_its_sum_zero(name):
    loss, arrays = EVERY[name]
    nothing = np.zeros(shape_of(name), bool)
    assert np.isnan(number(loss, arrays, mask=nothing))
    assert number(loss, arrays, mask=nothing, reduction="sum") == 0
    empty = [a[:0] for a in arrays]
    assert np.isnan(number(loss, empty))
    assert number(loss, empty, reduction="sum") == 0
    assert number(loss, empty, reduction="none").shape == (0, *shape_of(name)[1:])


@pytest.mark.parametrize("name", EVERY)
def test_one_sample(name):
    loss, arrays = EVERY[name]
    each = number(loss, arrays, reduction="none")
    one = number(loss, [a[:1] for a in arrays], reduction="none")
    np.testing.assert_allclose(one, each[:1], rtol=1e-14)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_are_computed_in_float32_and_rounded_once(name, dtype):
    loss, arrays = EVERY[name]
    many = [np.concatenate([a] * 30_000) for a in arrays]
    narrow = [
        gg.cast(gg.constant(a), dtype) if a.dtype.kind == "f" else gg.constant(a)
        for a in many
    ]
    wide = [gg.cast(v, "float32") if v.dtype.name == dtype else v for v in narrow]
    value = loss(*narrow)
    assert value.dtype.name == dtype
    found, expected = gg.evaluate([value, gg.cast(loss(*wide), dtype)])
    assert float(found) == float(expected)


@pytest.mark.parametrize("name", EVERY)
def test_sizes_may_have_names(name):
    loss, arrays = EVERY[name]
    leaves = [
        gg.placeholder(f"x{i}", ("n", *a.shape[1:]), a.dtype)
        for i, a in enumerate(arrays)
    ]
    mask = gg.placeholder("mask", ("n", *shape_of(name)[1:]), "bool")
    program = gg.compile([*leaves, mask], loss(*leaves, mask=mask), device="cpu")
    expected = number(loss, arrays, mask=some(name))
    assert program(*arrays, some(name)) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("rows", [1, 3])
def test_a_mask_is_broadcast_to_the_losses(rows):
    mask = np.array([[True, False, True, True]])
    full = np.repeat(mask, rows, axis=0)
    x, y = X[:rows], Y[:rows]
    assert number(gg.mse, [x, y], mask=mask[0]) == number(gg.mse, [x, y], mask=full)


def test_the_batch_mean_divides_by_the_samples_of_which_something_counts():
    mask = np.zeros((3, 4), bool)
    mask[0, 1] = mask[2] = True
    total = number(gg.kl_div, [X, Y], reduction="sum", mask=mask)
    found = number(gg.kl_div, [X, Y], reduction="batchmean", mask=mask)
    assert found == pytest.approx(total / 2)
    whole = number(gg.kl_div, [X, Y], reduction="batchmean")
    assert whole == pytest.approx(number(gg.kl_div, [X, Y], reduction="sum") / 3)


def test_a_masked_sample_is_one_of_the_ignored_class():
    ignored = np.where([True, False, True], CLASSES, -100)
    for loss in (gg.cross_entropy, gg.nll_loss, gg.multi_margin_loss):
        for reduction in ("mean", "none"):
            np.testing.assert_array_equal(
                number(loss, [X, ignored], reduction=reduction),
                number(
                    loss,
                    [X, CLASSES],
                    reduction=reduction,
                    mask=np.array([True, False, True]),
                ),
            )
