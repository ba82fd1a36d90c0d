"""Losses: torch's formulas, written out sample by sample; stability; derivatives."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphgpu as gg
from graphgpu.testing import check_gradient, check_operation

ALL_FLOATS = ("float64", "float32", "float16", "bfloat16")
LOGITS = np.array([[0.2, -1.3, 2.1, 0.4], [1.7, 0.3, -0.6, 0.9], [-2.2, 0.1, 0.8, 1.5]])
TARGET = np.array([2, 0, 1])
WEIGHT = np.array([0.5, 2.0, 1.25, 0.8])


def log_probabilities(row):
    largest = max(row)
    return [
        v - largest - math.log(sum(math.exp(u - largest) for u in row)) for v in row
    ]


def reduced(losses, shares, reduction):
    """Reduce a list of losses as torch does."""
    if reduction == "sum":
        return math.fsum(losses.ravel())
    if reduction == "mean":
        return math.fsum(losses.ravel()) / math.fsum(shares.ravel())
    return losses


def class_reference(
    logits, target, weight=None, ignore_index=-100, reduction="mean", smoothing=0.0
):
    """Cross-entropy of classes; the class axis is the last."""
    classes = logits.shape[-1]
    w = np.ones(classes) if weight is None else weight
    losses, shares = np.zeros(target.shape), np.zeros(target.shape)
    for place in np.ndindex(target.shape):
        y = target[place]
        if y == ignore_index:
            continue
        log_p = log_probabilities(logits[place])
        uniform = -math.fsum(w[k] * log_p[k] for k in range(classes)) / classes
        losses[place] = (1 - smoothing) * -w[y] * log_p[y] + smoothing * uniform
        shares[place] = w[y]
    return reduced(losses, shares, reduction)


def probability_reference(logits, target, weight=None, reduction="mean", smoothing=0.0):
    """Cross-entropy of probabilities; the class axis is the last."""
    classes = logits.shape[-1]
    w = np.ones(classes) if weight is None else weight
    losses = np.zeros(target.shape[:-1])
    for place in np.ndindex(losses.shape):
        log_p = log_probabilities(logits[place])
        t = target[place] * (1 - smoothing) + smoothing / classes
        losses[place] = -math.fsum(w[k] * t[k] * log_p[k] for k in range(classes))
    return reduced(losses, np.ones(losses.shape), reduction)


OPTIONS = list(
    itertools.product(("mean", "sum", "none"), (None, WEIGHT), (0.0, 0.15), (-100, 1))
)


@pytest.mark.parametrize(("reduction", "weight", "smoothing", "ignore"), OPTIONS)
def test_cross_entropy_of_classes_is_torchs(reduction, weight, smoothing, ignore):
    def loss(x, t):
        return gg.cross_entropy(x, t, weight, ignore, reduction, smoothing)

    def reference(x, t):
        return class_reference(x, t, weight, ignore, reduction, smoothing)

    check_operation(loss, [LOGITS, TARGET], reference, dtypes=ALL_FLOATS)


@pytest.mark.parametrize(("reduction", "weight", "smoothing", "_"), OPTIONS[::2])
def test_cross_entropy_of_probabilities_is_torchs(reduction, weight, smoothing, _):
    target = np.array([[0.1, 0.2, 0.3, 0.4], [0, 1, 0, 0], [0.25, 0.25, 0.5, 0]])

    def loss(x, t):
        return gg.cross_entropy(
            x, t, weight, reduction=reduction, label_smoothing=smoothing
        )

    def reference(x, t):
        return probability_reference(x, t, weight, reduction, smoothing)

    check_operation(loss, [LOGITS, target], reference, dtypes=ALL_FLOATS)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_nll_loss_is_cross_entropy_after_log_softmax(reduction, weight):
    def loss(x, t):
        return gg.nll_loss(gg.log_softmax(x, 1), t, weight, 1, reduction)

    def reference(x, t):
        return class_reference(x, t, weight, 1, reduction)

    check_operation(loss, [LOGITS, TARGET], reference, dtypes=ALL_FLOATS)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_classes_lie_on_axis_one_of_images_and_anywhere_that_axis_says(reduction):
    rng = np.random.default_rng(0)
    images = rng.standard_normal((2, 4, 3, 2))
    target = rng.integers(0, 4, (2, 3, 2))
    target[0, 1, 1] = -100

    def reference(x, t):
        last = np.moveaxis(x, 1, -1)
        return class_reference(last, t, WEIGHT, -100, reduction, 0.1)

    def loss(x, t):
        return gg.cross_entropy(x, t, WEIGHT, -100, reduction, 0.1)

    def moved(x, t):
        last = gg.moveaxis(x, 1, -1)
        return gg.cross_entropy(last, t, WEIGHT, -100, reduction, 0.1, axis=-1)

    check_operation(loss, [images, target], reference)
    check_operation(moved, [images, target], reference)
    probabilities = rng.random((2, 4, 3, 2))

    def of_probabilities(x, t):
        return probability_reference(
            np.moveaxis(x, 1, -1), np.moveaxis(t, 1, -1), WEIGHT, reduction
        )

    check_operation(
        lambda x, t: gg.cross_entropy(x, t, WEIGHT, reduction=reduction),
        [images, probabilities],
        of_probabilities,
    )


def test_one_sample_without_a_batch_axis_has_its_classes_on_the_only_axis():
    check_operation(gg.cross_entropy, [LOGITS[0], np.array(1)], class_reference)
    check_operation(
        lambda x, t: gg.cross_entropy(x, t, WEIGHT, label_smoothing=0.3),
        [LOGITS[0], np.array([0.7, 0.1, 0.1, 0.1])],
        lambda x, t: probability_reference(x, t, WEIGHT, smoothing=0.3),
    )


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (2, 3, 0), (1, 3)])
def test_sizes_zero_and_one(shape):
    logits = np.full(shape, 0.5)
    target = np.zeros((shape[0], *shape[2:]), np.int64)
    value = math.log(shape[1])
    for reduction in ("sum", "none"):
        losses = np.full(target.shape, value)
        expected = losses if reduction == "none" else losses.sum()
        check_operation(
            lambda x, t, r=reduction: gg.cross_entropy(x, t, reduction=r),
            [logits, target],
            lambda x, t, e=expected: e,
        )
    mean = gg.evaluate(gg.cross_entropy(gg.constant(logits), target))
    assert mean == (
        pytest.approx(value) if target.size else pytest.approx(np.nan, nan_ok=True)
    )


def test_gradient_of_the_logits_is_p_minus_one_at_the_class():
    x = gg.placeholder("x", ("n", 4), "float64")
    t = gg.placeholder("t", ("n",), "int64")
    (slope,) = gg.gradients(gg.cross_entropy(x, t, reduction="sum"), [x])
    p = np.exp([log_probabilities(row) for row in LOGITS])
    np.testing.assert_allclose(
        gg.evaluate(slope, {x: LOGITS, t: TARGET}), p - np.eye(4)[TARGET], rtol=1e-13
    )


def test_hessian_of_the_logits_is_diagonal_of_p_minus_its_square():
    x = gg.placeholder("x", (1, 4), "float64")
    v = gg.placeholder("v", (1, 4), "float64")
    cost = gg.cross_entropy(x, np.array([2]))
    (product,) = gg.hessian_vector_product(cost, [x], [v])
    p = np.exp(log_probabilities(LOGITS[0]))
    direction = np.array([[1.0, -2.0, 0.5, 3.0]])
    np.testing.assert_allclose(
        gg.evaluate(product, {x: LOGITS[:1], v: direction})[0],
        (np.diag(p) - np.outer(p, p)) @ direction[0],
        rtol=1e-12,
    )


def test_weights_and_probabilities_have_gradients_too():
    check_gradient(lambda x, w: gg.cross_entropy(x, TARGET, w), [LOGITS, WEIGHT])
    check_gradient(
        lambda x, t, w: gg.cross_entropy(x, t, w, label_smoothing=0.2),
        [LOGITS, np.abs(LOGITS) / 7, WEIGHT],
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_extreme_logits_give_exact_losses_and_gradients(dtype):
    logits = np.array([[1e4, -1e4], [-1e4, 1e4], [1e4, 1e4]], dtype)
    x = gg.placeholder("x", (3, 2), dtype)
    loss = gg.cross_entropy(x, np.array([0, 0, 1]), reduction="none")
    (slope,) = gg.gradients(gg.sum(loss), [x])
    loss, slope = gg.compile([x], [loss, slope], device="cpu")(logits)
    np.testing.assert_array_equal(loss, np.array([0, 2e4, math.log(2)], dtype))
    np.testing.assert_array_equal(slope, [[0, 0], [-1, 1], [0.5, -0.5]])


def test_a_class_masked_by_minus_infinity_counts_for_nothing():
    logits = np.array([[0.0, -np.inf, math.log(3)]])
    x = gg.placeholder("x", (1, 3), "float64")
    loss = gg.cross_entropy(x, np.array([0]))
    (slope,) = gg.gradients(loss, [x])
    loss, slope = gg.compile([x], [loss, slope], device="cpu")(logits)
    assert loss == pytest.approx(math.log(4))
    np.testing.assert_allclose(slope, [[-0.75, 0, 0.75]])


def test_halves_are_averaged_in_float32():
    logits = gg.zeros((70000, 2), "float16")
    target = gg.zeros((70000,), "int64")
    loss = gg.cross_entropy(logits, target)
    assert loss.dtype == np.float16
    assert gg.evaluate(loss) == np.float16(math.log(2))
    spread = gg.full((70000,), 3, "float16")
    assert gg.evaluate(gg.mse(spread, gg.zeros((70000,), "float16"))) == 9


def test_ignored_samples_have_no_gradient_and_all_ignored_is_nan():
    x = gg.placeholder("x", (3, 4), "float64")
    t = gg.placeholder("t", (3,), "int64")
    loss = gg.cross_entropy(x, t, WEIGHT)
    (slope,) = gg.gradients(loss, [x])
    program = gg.compile([x, t], [loss, slope], device="cpu")
    _, slope = program(LOGITS, np.array([1, -100, 3]))
    assert (slope[1] == 0).all()
    assert slope[[0, 2]].all()
    assert np.isnan(program(LOGITS, np.full(3, -100))[0])


def test_small_integer_targets_do_not_wrap_round_the_ignore_index():
    logits = np.zeros((1, 200))
    logits[0, 156] = math.log(57)
    target = np.array([156], np.uint8)  # 156 is -100 modulo 256
    loss = gg.evaluate(gg.cross_entropy(gg.constant(logits), target))
    assert loss == pytest.approx(-math.log(57 / 256))


@pytest.mark.parametrize("wrong", [4, -1, 2**40])
def test_a_class_that_does_not_exist_is_an_error_and_no_state_is_changed(wrong):
    x = gg.placeholder("x", ("n", 4))
    t = gg.placeholder("t", ("n",), "int64")
    count = gg.state("count", 0)
    loss = gg.cross_entropy(x, t)
    program = gg.compile([x, t], loss, updates={count: count + 1}, device="cpu")
    message = (
        rf"target {wrong} at \[1\] is none of the classes 0 to 3, nor ignore_index "
        rf"-100.*created at .*test_losses\.py:\d+.*no state was changed"
    )
    with pytest.raises(gg.ComputeError, match=message):
        program(LOGITS.astype("float32"), np.array([0, wrong, 2]))
    assert int(count.value) == 0
    program(LOGITS.astype("float32"), TARGET)
    assert int(count.value) == 1


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_cross_entropy_is_nonnegative_and_least_at_the_largest_logit(data):
    row = data.draw(st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=5))
    losses = gg.evaluate(
        gg.cross_entropy(
            gg.constant(np.array([row] * len(row))),
            np.arange(len(row)),
            reduction="none",
        )
    )
    assert (losses >= 0).all()
    assert losses[np.argmax(row)] == losses.min()


def test_a_target_that_fits_neither_classes_nor_probabilities_says_what_was_expected():
    x = gg.placeholder("x", ("n", 4))
    with pytest.raises(
        gg.ShapeError,
        match=r"cross_entropy: expected a target of shape \[n\]; got int64\[n,1\]",
    ):
        gg.cross_entropy(x, gg.placeholder("t", ("n", 1), "int64"))
    with pytest.raises(gg.ShapeError, match=r"expected a target of shape \[n,4\]"):
        gg.cross_entropy(x, gg.placeholder("t", ("n", 5)))
    with pytest.raises(gg.ShapeError, match=r"expected a weight of shape \[4\]"):
        gg.cross_entropy(x, gg.placeholder("t", ("n",), "int64"), [1.0, 2.0])
    with pytest.raises(gg.DTypeError, match=r"expected floating-point scores, a targ"):
        gg.cross_entropy(x, gg.placeholder("t", ("n",), "bool"))
    with pytest.raises(gg.DTypeError, match=r"nll_loss: expected integer classes"):
        gg.nll_loss(x, x)
    with pytest.raises(gg.ShapeError, match=r"cross_entropy\(axis=2\): axis 2 is out"):
        gg.cross_entropy(x, gg.placeholder("t", ("n",), "int64"), axis=2)


def test_a_size_known_only_when_called_is_checked_then():
    x = gg.placeholder("x", ("n", 4))
    t = gg.placeholder("t", ("m",), "int64")
    program = gg.compile([x, t], gg.cross_entropy(x, t), device="cpu")
    assert np.isfinite(program(LOGITS.astype("float32"), TARGET))
    with pytest.raises(gg.InputError, match=r"m = n.* does not hold for n=3, m=1"):
        program(LOGITS.astype("float32"), TARGET[:1])


def test_bad_options_say_what_was_expected():
    x, t = gg.constant(LOGITS), TARGET
    for function in (gg.cross_entropy, gg.nll_loss):
        with pytest.raises(
            gg.GraphError,
            match=r"\(reduction='avg'\): expected 'mean', 'sum' or 'none'",
        ):
            function(x, t, reduction="avg")
    for function in (gg.mse, gg.binary_cross_entropy_with_logits):
        with pytest.raises(gg.GraphError, match=r"reduction=None\): expected 'mean'"):
            function(x, x, reduction=None)
    with pytest.raises(gg.GraphError, match=r"label_smoothing=1.5\): expected 0 to 1"):
        gg.cross_entropy(x, t, label_smoothing=1.5)
    with pytest.raises(gg.GraphError, match=r"ignore_index=2\): expected none for pro"):
        gg.cross_entropy(x, x, ignore_index=2)


# --- mean squared error


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_mse_is_the_mean_of_squared_differences(reduction):
    def reference(x, y):
        squares = np.array([(a - b) ** 2 for a, b in zip(x.flat, y.flat, strict=True)])
        return reduced(squares.reshape(x.shape), np.ones(x.shape), reduction)

    check_operation(
        lambda x, y: gg.mse(x, y, reduction),
        [LOGITS, LOGITS[::-1] / 3],
        reference,
        dtypes=ALL_FLOATS,
    )
    assert gg.mse_loss is gg.mse


def test_mse_does_not_broadcast_a_column_against_a_row():
    x, y = gg.placeholder("x", ("n", 1)), gg.placeholder("y", ("n",))
    with pytest.raises(gg.ShapeError, match=r"mse: expected a target of shape \[n,1\]"):
        gg.mse(x, y)


# --- binary cross-entropy


def binary_reference(x, y, weight=1.0, reduction="mean", positive=1.0):
    x, y, w, q = np.broadcast_arrays(x, y, weight, positive)
    losses = np.zeros(x.shape)
    for place in np.ndindex(x.shape):
        log_p = -math.log1p(math.exp(-x[place]))
        log_rest = -math.log1p(math.exp(x[place]))
        terms = q[place] * y[place] * log_p + (1 - y[place]) * log_rest
        losses[place] = -w[place] * terms
    return reduced(losses, np.ones(losses.shape), reduction)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("positive", [None, WEIGHT + 1])
def test_binary_cross_entropy_is_torchs(reduction, weight, positive):
    target = np.array([[0.0, 1.0, 0.3, 0.9], [1, 0, 0.5, 1], [0, 0, 1, 0.2]])

    def loss(x, y):
        return gg.binary_cross_entropy_with_logits(x, y, weight, reduction, positive)

    def reference(x, y):
        return binary_reference(
            x,
            y,
            1.0 if weight is None else weight,
            reduction,
            1.0 if positive is None else positive,
        )

    check_operation(loss, [LOGITS, target], reference, dtypes=ALL_FLOATS)


@pytest.mark.parametrize("positive", [None, 1.0])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_binary_cross_entropy_keeps_the_digits_of_small_losses(dtype, positive):
    x = np.array([1e4, -1e4, 1e4, -1e4, 30, -30], dtype)
    y = np.array([1, 0, 0, 1, 1, 0], dtype)
    logits = gg.placeholder("x", (6,), dtype)
    loss = gg.binary_cross_entropy_with_logits(
        logits, y, reduction="none", pos_weight=positive
    )
    (slope,) = gg.gradients(gg.sum(loss), [logits])
    loss, slope = gg.compile([logits], [loss, slope], device="cpu")(x)
    small = math.log1p(math.exp(-30))
    np.testing.assert_allclose(loss, [0, 0, 1e4, 1e4, small, small], rtol=1e-6)
    np.testing.assert_allclose(slope, [0, 0, 1, -1, -small, small], atol=1e-7)


def test_binary_cross_entropy_keeps_the_digits_of_targets_that_are_almost_one():
    almost = np.array([1 - 2**-23, 1 - 2**-23, 2**-23], "float32")
    x = np.array([1e4, -1e4, -1e4], "float32")
    loss = gg.binary_cross_entropy_with_logits(gg.constant(x), almost, reduction="none")
    expected = np.array([1e4 * 2**-23, 1e4 * (1 - 2**-23), 1e4 * 2**-23])
    np.testing.assert_allclose(gg.evaluate(loss), expected, rtol=1e-6)


def test_binary_cross_entropy_of_infinite_logits_on_the_wrong_side_is_infinite():
    x = gg.constant([np.inf, np.inf, -np.inf, -np.inf])
    loss = gg.binary_cross_entropy_with_logits(x, [0.0, 0.3, 0.3, 1], reduction="none")
    assert (gg.evaluate(loss) == np.inf).all()


def test_binary_cross_entropy_takes_bool_and_integer_targets():
    x = gg.constant(LOGITS.astype("float32"))
    for dtype in (bool, np.int64):
        loss = gg.binary_cross_entropy_with_logits(
            x, gg.constant((LOGITS > 1).astype(dtype))
        )
        assert loss.dtype == np.float32
        assert gg.evaluate(loss) == pytest.approx(
            binary_reference(LOGITS, LOGITS > 1.0), rel=1e-6
        )


def test_floating_class_numbers_are_refused_with_the_cure():
    scores = gg.placeholder("scores", ("batch", 3))
    target = gg.placeholder("target", ("batch",))
    with pytest.raises(gg.ShapeError, match=r'gg\.cast\(target, "int64"\)'):
        gg.cross_entropy(scores, target)
