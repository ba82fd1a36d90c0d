"""CTC: against the sum over every alignment; lengths, padding, what cannot be."""

import itertools
import math

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.testing import check_gradient, check_operation

RANDOM = np.random.default_rng(6)
TIMES, SAMPLES, CLASSES, LENGTH = 5, 4, 3, 3
SCORES = RANDOM.standard_normal((TIMES, SAMPLES, CLASSES))
LOG_P = SCORES - np.log(np.exp(SCORES).sum(-1, keepdims=True))
TARGETS = np.array([[1, 2, 1], [1, 1, 0], [2, 7, -5], [0, 0, 0]])
FRAMES = np.array([5, 4, 3, 2])
COUNTS = np.array([3, 2, 1, 0])


def collapsed(path, blank):
    """Merge repetitions, then leave blanks out."""
    return tuple(k for k, _ in itertools.groupby(path) if k != blank)


def probability(p, target, blank=0):
    """Sum over all alignments; p is of shape (T, C)."""
    total = []
    for path in itertools.product(range(p.shape[1]), repeat=len(p)):
        if collapsed(path, blank) == tuple(target):
            total.append(math.prod(float(p[t, k]) for t, k in enumerate(path)))
    return math.fsum(total)


def losses(log_p, targets=TARGETS, frames=FRAMES, counts=COUNTS, blank=0):
    found = []
    for n in range(log_p.shape[1]):
        p = np.exp(log_p[: frames[n], n])
        each = probability(p, targets[n, : counts[n]], blank)
        found.append(-math.log(each) if each else math.inf)
    return np.array(found)


def value(log_p, targets=TARGETS, frames=FRAMES, counts=COUNTS, **options):
    return gg.evaluate(
        gg.ctc_loss(gg.constant(log_p), targets, frames, counts, **options)
    )


def test_the_loss_is_the_sum_over_all_alignments():
    check_operation(
        lambda x: gg.ctc_loss(x, TARGETS, FRAMES, COUNTS, reduction="none"),
        [LOG_P],
        losses,
        dtypes=("float64", "float32", "float16", "bfloat16"),
    )


@pytest.mark.parametrize("blank", [0, 1, 2])
def test_any_class_may_be_the_blank(blank):
    others = [k for k in range(3) if k != blank]
    targets = np.array(others + others[:1])[np.newaxis].repeat(SAMPLES, 0)
    frames, counts = np.array([5, 4, 3, 4]), np.array([3, 2, 1, 3])
    np.testing.assert_allclose(
        value(LOG_P, targets, frames, counts, blank=blank, reduction="none"),
        losses(LOG_P, targets, frames, counts, blank),
    )


def test_reductions():
    each = losses(LOG_P)
    assert value(LOG_P, reduction="sum") == pytest.approx(each.sum())
    assert value(LOG_P) == pytest.approx(np.mean(each / np.maximum(COUNTS, 1)))
    weight, mask = np.array([1.0, 2.0, 0.5, 3.0]), np.array([True, False, True, True])
    divided = each / np.maximum(COUNTS, 1)
    assert value(LOG_P, weight=weight, mask=mask) == pytest.approx(
        (divided * weight * mask).sum() / (weight * mask).sum()
    )
    assert value(LOG_P, mask=mask, reduction="sum") == pytest.approx(each[mask].sum())


def test_the_gradient_is_minus_the_posterior_of_each_label():
    x = gg.placeholder("x", LOG_P.shape, "float64")
    (slope,) = gg.gradients(
        gg.ctc_loss(x, TARGETS, FRAMES, COUNTS, reduction="sum"), [x]
    )
    found = gg.evaluate(slope, {x: LOG_P})
    running = np.arange(TIMES)[:, np.newaxis] < FRAMES
    np.testing.assert_allclose(found.sum(-1), -1.0 * running, atol=1e-12)
    assert (found <= 0).all()
    check_gradient(
        lambda s: gg.ctc_loss(gg.log_softmax(s, -1), TARGETS, FRAMES, COUNTS), [SCORES]
    )


def test_what_lies_after_the_end_may_be_anything():
    spoilt = LOG_P.copy()
    for n, frames in enumerate(FRAMES):
        spoilt[frames:, n] = np.nan
    x = gg.placeholder("x", LOG_P.shape, "float64")
    loss = gg.ctc_loss(x, TARGETS, FRAMES, COUNTS)
    program = gg.compile([x], [loss, *gg.gradients(loss, [x])], device="cpu")
    for found, expected in zip(program(spoilt), program(LOG_P), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_what_a_mask_leaves_out_may_be_anything():
    spoilt, targets = LOG_P.copy(), TARGETS.copy()
    spoilt[:, 1], targets[1] = np.nan, 99
    mask = np.array([True, False, True, True])
    x = gg.placeholder("x", LOG_P.shape, "float64")
    t = gg.placeholder("t", TARGETS.shape, "int64")
    n = gg.placeholder("n", (SAMPLES,), "int64")
    loss = gg.ctc_loss(x, t, n, COUNTS, mask=mask)
    program = gg.compile([x, t, n], [loss, *gg.gradients(loss, [x])], device="cpu")
    frames = np.array([5, 99, 3, 2])
    for found, expected in zip(
        program(spoilt, targets, frames), program(LOG_P, TARGETS, FRAMES), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_a_target_that_does_not_fit_is_infinitely_unlikely_and_has_no_slope():
    """Equal labels need a blank between them: two times are too few."""
    targets, frames, counts = np.array([[1, 1]]), np.array([2]), np.array([2])
    x = gg.placeholder("x", (3, 1, 3), "float64")
    for zero, expected in ((False, np.inf), (True, 0)):
        loss = gg.ctc_loss(x, targets, frames, counts, zero_infinity=zero)
        program = gg.compile([x], [loss, *gg.gradients(loss, [x])], device="cpu")
        found, slope = program(LOG_P[:3, :1])
        assert found == expected
        assert not slope.any()


def test_probabilities_of_zero_leave_alignments_out():
    log_p = LOG_P.copy()
    log_p[1, :, 1] = -np.inf
    x = gg.placeholder("x", LOG_P.shape, "float64")
    loss = gg.ctc_loss(x, TARGETS, FRAMES, COUNTS, reduction="none")
    program = gg.compile([x], [loss, *gg.gradients(gg.sum(loss), [x])], device="cpu")
    found, slope = program(log_p)
    np.testing.assert_allclose(found, losses(log_p))
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_probabilities_that_no_float_holds_keep_their_logarithms(dtype):
    log_p = np.full((4, 1, 3), -1e4, dtype)
    log_p[:, 0, 1] = [-1e4, 0, -1e4, 0]
    x = gg.placeholder("x", log_p.shape, dtype)
    loss = gg.ctc_loss(x, [[1]], [4], [1])
    found, slope = gg.compile([x], [loss, *gg.gradients(loss, [x])], device="cpu")(
        log_p
    )
    assert found == pytest.approx(2e4 - math.log(2), rel=1e-6)
    assert np.isfinite(slope).all()


def test_one_sequence_without_an_axis_of_sequences():
    found = value(LOG_P[:, 0], TARGETS[0], np.array(5), np.array(3), reduction="none")
    assert found == pytest.approx(losses(LOG_P)[0])
    assert found.shape == ()


@pytest.mark.parametrize("times", [0, 1, 2])
@pytest.mark.parametrize("length", [0, 1])
@pytest.mark.parametrize("samples", [0, 1])
def test_sizes_zero_and_one(times, length, samples):
    log_p = LOG_P[:times, :samples]
    targets = np.ones((samples, length), np.int64)
    frames, counts = np.full(samples, times), np.full(samples, length)
    found = value(log_p, targets, frames, counts, reduction="none")
    np.testing.assert_allclose(found, losses(log_p, targets, frames, counts))


def test_every_size_may_have_a_name():
    x = gg.placeholder("x", ("time", "batch", "classes"), "float64")
    t = gg.placeholder("t", ("batch", "length"), "int64")
    n, m = (gg.placeholder(k, ("batch",), "int64") for k in "nm")
    loss = gg.ctc_loss(x, t, n, m, reduction="none")
    (slope,) = gg.gradients(gg.sum(loss), [x])
    program = gg.compile([x, t, n, m], [loss, slope], device="cpu")
    for samples in (4, 2):
        rows = slice(samples)
        given = LOG_P[:, rows], TARGETS[rows], FRAMES[rows], COUNTS[rows]
        np.testing.assert_allclose(program(*given)[0], losses(*given))


def test_a_label_or_a_length_that_cannot_be_is_an_error():
    expected = r"ctc_loss label 3 at \[0, 1\] is not from 0 to 2; got"
    with pytest.raises(gg.ComputeError, match=expected):
        value(LOG_P, np.where(TARGETS == 2, 3, TARGETS))
    n = gg.placeholder("n", (SAMPLES,), "int64")
    for what, lengths, last in (("input", (n, COUNTS), 5), ("target", (FRAMES, n), 3)):
        loss = gg.ctc_loss(gg.constant(LOG_P), TARGETS, *lengths)
        for wrong in (6, -1):
            expected = (
                rf"ctc_loss {what} length {wrong} at \[0\] is not from 0 to {last}; got"
            )
            with pytest.raises(gg.ComputeError, match=expected):
                gg.evaluate(loss, {n: np.full(SAMPLES, wrong)})


def test_long_sequences_keep_their_digits_in_float32():
    """What is carried stays near 0, however small the probability becomes."""
    scores = RANDOM.standard_normal((600, 2, 5))
    targets = RANDOM.integers(1, 5, (2, 40))
    found = {}
    for dtype in ("float64", "float32"):
        x = gg.placeholder("x", scores.shape, dtype)
        loss = gg.ctc_loss(gg.log_softmax(x, -1), targets, [600, 500], [40, 31])
        program = gg.compile([x], [loss, *gg.gradients(loss, [x])], device="cpu")
        found[dtype] = program(scores.astype("float32").astype(dtype))
    assert found["float32"][0] == pytest.approx(found["float64"][0], rel=1e-6)
    largest = np.abs(found["float64"][1]).max()
    apart = np.abs(found["float32"][1] - found["float64"][1]).max()
    assert apart < 5e-5 * largest


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (
            (LOG_P[0], TARGETS, FRAMES, COUNTS),
            {},
            "ctc_loss: expected log_probs [T,N,C] and targets [N,S], or [T,C] and [S]; "
            "got float64[4,3] and int64[4,3]; created at",
        ),
        (
            (LOG_P, TARGETS[:2], FRAMES, COUNTS),
            {},
            "ctc_loss: expected targets of shape [4,3]; got int64[2,3]; created at",
        ),
        (
            (LOG_P, TARGETS, FRAMES[:1], COUNTS),
            {},
            "ctc_loss: expected input lengths of shape [4]; got int64[1]; created at",
        ),
        (
            (LOG_P, TARGETS, FRAMES, COUNTS * 1.0),
            {},
            "ctc_loss: expected target lengths of integers; got float64[4]; created at",
        ),
        (
            (TARGETS[np.newaxis], TARGETS, FRAMES, COUNTS),
            {},
            "ctc_loss: expected a floating-point dtype; got int64[1,4,3]; created at",
        ),
        (
            (LOG_P, TARGETS, FRAMES, COUNTS),
            {"blank": 3},
            "ctc_loss(blank=3): expected one of the 3 classes; got 3; created at",
        ),
        (
            (LOG_P, TARGETS, FRAMES, [3, 2, 1, 1]),
            {},
            "ctc_loss: expected targets without the blank 0, not one at [3, 0]; got "
            "int64[4,3]; created at",
        ),
        (
            (LOG_P, TARGETS, FRAMES, COUNTS),
            {"reduction": "batchmean"},
            "ctc_loss(reduction='batchmean'): expected 'mean', 'sum' or 'none'; ",
        ),
    ],
)
def test_errors_say_what_was_expected(arguments, options, message):
    variables = [gg.constant(np.asarray(a)) for a in arguments]
    with pytest.raises(gg.GraphError) as error:
        gg.ctc_loss(*variables, **options)
    assert str(error.value).startswith(message)
