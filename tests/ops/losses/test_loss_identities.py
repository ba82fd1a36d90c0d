"""What the book says of losses, shown; and their properties for any numbers."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import graphgpu as gg

RANDOM = np.random.default_rng(2)
SCORES = RANDOM.standard_normal((5, 4)) * 3
CLASSES = np.array([2, 0, 3, 3, 1])
ONE_HOT = np.eye(4)[CLASSES]


def number(variable):
    return gg.evaluate(variable)


def slope_of(function, x):
    variable = gg.placeholder("x", np.shape(x), "float64")
    (slope,) = gg.gradients(gg.sum(function(variable)), [variable])
    return gg.compile([variable], slope, device="cpu")(x)


def trained(loss, targets, steps, rate):
    """Return the constant that gradient descent finds for a loss."""
    guess = gg.parameter("guess", np.zeros(()), "float64")
    cost = loss(gg.broadcast_to(guess, (len(targets),)), gg.constant(targets))
    (slope,) = gg.gradients(cost, [guess])
    t = gg.state("t", 0.0, "float64")
    updates = {guess: guess - rate / (1 + t) ** 0.5 * slope, t: t + 1}
    step = gg.compile([], cost, updates=updates, device="cpu")
    for _ in range(steps):
        step()
    return float(guess.value)


def test_the_squared_error_of_a_saturated_sigmoid_has_no_slope_but_its_nll_has():
    """*Deep Learning*, section 6.2.2.2: a wrong, certain unit must still learn."""
    z = np.array([-40.0, -1e4])
    square = slope_of(lambda x: gg.mse(gg.sigmoid(x), [1.0, 1.0], "none"), z)
    likelihood = slope_of(
        lambda x: gg.binary_cross_entropy_with_logits(x, [1.0, 1.0], reduction="none"),
        z,
    )
    assert np.abs(square).max() < 1e-16
    np.testing.assert_allclose(likelihood, [-1, -1], rtol=1e-15)


def test_the_cross_entropy_of_a_hard_target_is_a_softplus():
    """ζ((1 - 2y) z): equation 6.26."""
    z, y = np.array([-1e4, -30.0, -1, 0, 2, 30, 1e4]), np.array([1, 0, 1, 0, 1, 1, 0])
    for dtype in ("float64", "float32"):
        x = gg.constant(z.astype(dtype))
        loss = gg.binary_cross_entropy_with_logits(x, y, reduction="none")
        expected = gg.softplus((1 - 2 * y).astype(dtype) * x)
        np.testing.assert_array_equal(number(loss), number(expected))


def test_one_outlier_decides_the_euclidean_loss_and_not_the_others():
    x = np.zeros((1, 10))
    y = np.full((1, 10), 0.1)
    y[0, 3] = 100.0
    for loss, share in (
        (gg.euclidean_loss, 0.999),
        (gg.l1_loss, 0.99),
        (gg.huber_loss, 0.99),
    ):
        slope = np.abs(slope_of(lambda a, f=loss: f(a, y, "none"), x))
        part = slope[0, 3] / slope.sum()
        assert (part >= 0.99) == (loss is gg.euclidean_loss)
        assert slope[0, 3] == pytest.approx(100 if loss is gg.euclidean_loss else 1)
        value = number(loss(gg.constant(x), y, "none")).ravel()
        assert (value.max() / value.sum() > share) or loss is not gg.euclidean_loss


def test_squares_find_the_mean_and_absolute_values_the_median():
    targets = np.array([0.0, 1.0, 2.0, 3.0, 44.0])
    mean = trained(gg.mse, targets, 400, 0.2)
    median = trained(gg.l1_loss, targets, 1500, 0.5)
    assert mean == pytest.approx(10, abs=1e-3)
    assert median == pytest.approx(2, abs=0.02)
    assert trained(gg.huber_loss, targets, 1500, 0.5) == pytest.approx(2, abs=0.6)


def test_squares_find_the_mean_of_each_condition():
    """A linear unit of one-hot inputs finds the mean of each group."""
    inputs = np.eye(2)[[0, 0, 1, 1, 1]]
    targets = np.array([1.0, 3.0, -1.0, -2.0, -6.0])
    w = gg.parameter("w", np.zeros(2), "float64")
    cost = gg.mse(gg.constant(inputs) @ w, targets)
    (slope,) = gg.gradients(cost, [w])
    step = gg.compile([], cost, updates={w: w - 0.5 * slope}, device="cpu")
    for _ in range(200):
        step()
    np.testing.assert_allclose(w.value, [2, -3], rtol=1e-6)


def test_the_gaussian_likelihood_of_one_variance_is_the_squared_error_and_a_constant():
    x, y = SCORES, SCORES[::-1]
    for variance in (1.0, 0.3, 7.0):
        found = gg.gaussian_nll_loss(
            gg.constant(x), y, np.full(x.shape, variance), full=True
        )
        constant = math.log(2 * math.pi * variance) / 2
        square = number(gg.mse(gg.constant(x), y))
        assert number(found) == pytest.approx(square / (2 * variance) + constant)


def test_both_ways_to_keep_a_variance_positive_are_one_loss():
    v = RANDOM.uniform(0.1, 4, SCORES.shape)
    x, y = gg.constant(SCORES), SCORES[::-1]
    plain = gg.gaussian_nll_loss(x, y, v, eps=0)
    logarithm = gg.gaussian_nll_loss(x, y, np.log(v), log_var=True)
    assert number(plain) == pytest.approx(number(logarithm), rel=1e-14)


def test_the_variance_that_is_learned_is_that_of_the_errors():
    errors = np.array([1.0, -2.0, 3.0, 0.5])
    s = gg.parameter("s", 0.0, "float64")
    cost = gg.gaussian_nll_loss(gg.constant(errors), np.zeros(4), s, log_var=True)
    (slope,) = gg.gradients(cost, [s])
    step = gg.compile([], cost, updates={s: s - 0.5 * slope}, device="cpu")
    for _ in range(200):
        step()
    assert math.exp(s.value) == pytest.approx(np.mean(errors**2))


def test_the_rate_that_is_learned_is_the_mean_count():
    counts = np.array([0.0, 2.0, 7.0, 1.0])
    found = trained(gg.poisson_nll_loss, counts, 2000, 0.1)
    assert math.exp(found) == pytest.approx(2.5, rel=1e-6)


def test_likelihood_cross_entropy_and_divergence_are_one_on_one_hot_targets():
    x = gg.constant(SCORES)
    log_p = gg.log_softmax(x, 1)
    nll = number(gg.nll_loss(log_p, CLASSES))
    for same in (
        gg.cross_entropy(x, CLASSES),
        gg.cross_entropy(x, ONE_HOT),
        gg.kl_div(log_p, ONE_HOT, "batchmean"),
        gg.kl_divergence(gg.constant(ONE_HOT), gg.softmax(x, 1)),
    ):
        assert number(same) == pytest.approx(nll, rel=1e-13)


def test_cross_entropy_is_the_entropy_and_the_divergence():
    p = number(gg.softmax(gg.constant(SCORES[::-1]), 1))
    entropy = -np.sum(p * np.log(p), 1)
    cross = gg.cross_entropy(gg.constant(SCORES), p, reduction="none")
    divergence = gg.kl_divergence(
        gg.constant(p), gg.softmax(gg.constant(SCORES), 1), "none"
    )
    np.testing.assert_allclose(number(cross), entropy + number(divergence), rtol=1e-12)


def test_the_likelihood_reads_only_the_correct_class():
    log_p = np.log(np.full((5, 4), 0.25))
    value = number(gg.nll_loss(gg.constant(log_p), CLASSES))
    moved = np.where(ONE_HOT == 1, log_p, RANDOM.standard_normal((5, 4)))
    assert number(gg.nll_loss(gg.constant(moved), CLASSES)) == value
    slope = slope_of(lambda x: gg.nll_loss(x, CLASSES, reduction="none"), log_p)
    np.testing.assert_array_equal(slope, -ONE_HOT)


def test_the_binary_cross_entropies_agree():
    y = RANDOM.uniform(0, 1, SCORES.shape)
    x = gg.constant(SCORES)
    assert number(gg.binary_cross_entropy(gg.sigmoid(x), y)) == pytest.approx(
        number(gg.binary_cross_entropy_with_logits(x, y)), rel=1e-12
    )
    signs, zeros = np.sign(y - 0.5), np.zeros_like(SCORES)
    two = np.stack([SCORES, zeros], 1)
    classes = (signs < 0).astype(int)
    for same in (
        gg.soft_margin_loss(x, signs),
        gg.cross_entropy(gg.constant(two), classes),
    ):
        assert number(same) == pytest.approx(
            number(gg.binary_cross_entropy_with_logits(x, (signs > 0))), rel=1e-12
        )


def test_the_divergence_is_not_symmetric():
    """Figure 3.6: it depends on which of two distributions is to cover the other."""
    wide, narrow = np.array([0.49, 0.02, 0.49]), np.array([0.05, 0.9, 0.05])
    covers = number(gg.kl_divergence(gg.constant(wide), narrow))
    misses = number(gg.kl_divergence(gg.constant(narrow), wide))
    assert covers == pytest.approx(0.98 * math.log(9.8) + 0.02 * math.log(0.02 / 0.9))
    assert misses == pytest.approx(0.9 * math.log(45) + 0.1 * math.log(0.05 / 0.49))
    assert misses > covers + 1


def test_huber_lies_between_its_limits():
    x, y = gg.constant(SCORES), np.zeros_like(SCORES)
    small = gg.huber_loss(x, y, delta=1e-7) / 1e-7
    assert number(small) == pytest.approx(number(gg.l1_loss(x, y)), rel=1e-6)
    large = 2 * gg.huber_loss(x, y, delta=1e7)
    assert number(large) == pytest.approx(number(gg.mse(x, y)), rel=1e-12)
    scaled = gg.huber_loss(x, y, delta=0.7) / 0.7
    assert number(gg.smooth_l1_loss(x, y, beta=0.7)) == pytest.approx(number(scaled))
    sharp = gg.smooth_l1_loss(x, y, beta=0)
    assert number(sharp) == number(gg.l1_loss(x, y))


def test_the_euclidean_loss_is_half_the_squared_error_of_each_sample():
    x, y = gg.constant(SCORES), SCORES[::-1]
    assert number(gg.euclidean_loss(x, y)) == pytest.approx(
        number(gg.mse(x, y)) * 4 / 2
    )
    by_columns = number(gg.euclidean_loss(x, y, "none", axis=0))
    assert by_columns.shape == (4,)


def test_a_triplet_with_swap_is_no_easier():
    a, p, n = (RANDOM.standard_normal((20, 3)) for _ in range(3))
    plain = number(gg.triplet_margin_loss(gg.constant(a), p, n, reduction="none"))
    swapped = gg.triplet_margin_loss(gg.constant(a), p, n, swap=True, reduction="none")
    assert (number(swapped) >= plain).all()
    assert (number(swapped) > plain).any()


# --- for any numbers

NUMBERS = arrays(np.float64, (4,), elements=st.floats(-1e6, 1e6))
WEIGHTS = arrays(np.float64, (4,), elements=st.floats(0, 1)).filter(
    lambda v: v.sum() > 1e-3
)
DISTANCES = [gg.mse, gg.l1_loss, gg.huber_loss, gg.smooth_l1_loss, gg.euclidean_loss]
PROGRAMS = {}


def value(function, x, y):
    """Return the loss of two vectors; compiled once."""
    if function not in PROGRAMS:
        leaves = [gg.placeholder(n, (4,), "float64") for n in "xy"]
        output = function(*leaves)
        PROGRAMS[function] = gg.compile(leaves, output, device="cpu")
    return float(PROGRAMS[function](x, y))


@given(NUMBERS, NUMBERS)
@settings(deadline=None, max_examples=60)
def test_losses_of_a_difference_are_symmetric_and_least_at_zero(x, y):
    for loss in [*DISTANCES, gg.pairwise_distance]:
        assert value(loss, x, y) >= 0
        assert value(loss, x, y) == value(loss, y, x)
        assert value(loss, x, x) == 0


@given(WEIGHTS, WEIGHTS)
@settings(deadline=None, max_examples=100)
def test_divergences_are_not_negative_and_jensen_shannons_is_bounded(p, q):
    p, q = p / p.sum(), q / q.sum()
    assert value(gg.kl_divergence, p, q) >= -1e-12
    assert abs(value(gg.kl_divergence, p, p)) <= 1e-15
    found = value(gg.js_divergence, p, q)
    assert -1e-12 <= found <= math.log(2) * (1 + 1e-12)
    assert found == value(gg.js_divergence, q, p)
    assert abs(value(gg.js_divergence, p, p)) <= 1e-15


def test_distributions_with_nothing_in_common_are_log_two_apart():
    p, q = np.array([0.25, 0.75, 0, 0]), np.array([0, 0, 0.5, 0.5])
    assert value(gg.js_divergence, p, q) == pytest.approx(math.log(2), rel=1e-15)


@given(NUMBERS, NUMBERS)
@settings(deadline=None, max_examples=60)
def test_margins_are_not_negative_and_bound_the_number_of_errors(x, y):
    """The hinge and the softplus over log 2 lie above the 0-1 loss."""
    signs = np.where(y >= 0, 1.0, -1.0)
    errors = np.mean(x * signs <= 0)
    for loss in (gg.hinge_loss, gg.squared_hinge_loss):
        assert value(loss, x, signs) >= errors
    assert value(gg.soft_margin_loss, x, signs) / math.log(2) >= errors - 1e-15


@given(WEIGHTS, WEIGHTS)
@settings(deadline=None, max_examples=60)
def test_binary_cross_entropy_is_least_at_the_target(x, y):
    loss = gg.binary_cross_entropy
    assert value(loss, y, y) <= value(loss, x, y) + 1e-12
    assert 0 <= value(loss, x, y) <= 100


@given(NUMBERS, NUMBERS, st.floats(1e-3, 1e3))
@settings(deadline=None, max_examples=60)
def test_the_cosine_does_not_depend_on_lengths(x, y, a):
    found = value(gg.cosine_similarity, x, y)
    assert abs(found) <= 1 + 1e-12
    if np.linalg.norm(x) > 1e-3 and np.linalg.norm(y) > 1e-3:
        assert value(gg.cosine_similarity, a * x, y) == pytest.approx(found, abs=1e-9)
        assert value(gg.cosine_similarity, x, x) == pytest.approx(1)
