"""Losses where a formula is 0/0, a logarithm infinite, or a distance zero."""

import math

import numpy as np
import pytest

import graphgpu as gg

BOTH = pytest.mark.parametrize("dtype", ["float64", "float32"])


def with_slopes(function, *arrays, dtype="float64", order=1):
    """Return the value and the gradient, or its derivative, by every operand."""
    arrays = [np.asarray(a, dtype) for a in arrays]
    leaves = [gg.placeholder(f"x{i}", a.shape, dtype) for i, a in enumerate(arrays)]
    value = function(*leaves)
    slopes = gg.gradients(gg.sum(value), leaves, disconnected="zero")
    for _ in range(order - 1):
        total = sum(gg.sum(s) for s in slopes)
        slopes = gg.gradients(total, leaves, disconnected="zero")
    return gg.compile(leaves, [value, *slopes], device="cpu")(*arrays)


PAIRS = {
    "distance": gg.pairwise_distance,
    "p=1": lambda x, y: gg.pairwise_distance(x, y, 1),
    "p=1.5": lambda x, y: gg.pairwise_distance(x, y, 1.5),
    "p=3": lambda x, y: gg.pairwise_distance(x, y, 3),
    "p=inf": lambda x, y: gg.pairwise_distance(x, y, math.inf),
    "contrastive": lambda x, y: gg.contrastive_loss(x, y, [1, 0], 1.0, "none"),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("order", [1, 2])
@BOTH
def test_slopes_of_the_distance_of_equal_vectors_are_zero(name, order, dtype):
    x = np.array([[0.5, -2.0, 3.0], [0.0, 0.0, 0.0]])
    _, *slopes = with_slopes(PAIRS[name], x, x, dtype=dtype, order=order)
    if name != "contrastive" or order == 1:
        assert not np.any(slopes)
    assert np.isfinite(slopes).all()


@pytest.mark.parametrize("p", [1.5, 2, 3])
def test_slopes_where_some_elements_are_equal_are_finite(p):
    x, y = np.array([[0.5, -2.0, 3.0]]), np.array([[0.5, 1.0, 3.0]])
    value, slope, _ = with_slopes(lambda a, b: gg.pairwise_distance(a, b, p), x, y)
    assert value == pytest.approx([3])
    np.testing.assert_allclose(slope, [[0, -1, 0]])
    second = with_slopes(lambda a, b: gg.pairwise_distance(a, b, p), x, y, order=2)
    assert np.isfinite(second[1]).all()


@BOTH
def test_distances_neither_overflow_nor_vanish(dtype):
    x = np.array([[3e30, 4e30], [3e-30, 4e-30], [3, 4]])
    value, slope, _ = with_slopes(gg.pairwise_distance, x, 0 * x, dtype=dtype)
    np.testing.assert_allclose(value, [5e30, 5e-30, 5], rtol=1e-6)
    np.testing.assert_allclose(slope, [[0.6, 0.8]] * 3, rtol=1e-6)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.5, math.inf])
def test_torchs_epsilon_is_added_to_each_difference(p):
    x, y = np.array([[1.0, 2.0, -0.5]]), np.array([[0.3, 2.0, 1.0]])
    found = gg.evaluate(gg.pairwise_distance(gg.constant(x), y, p, eps=1e-3))
    assert found == pytest.approx([np.linalg.norm(x[0] - y[0] + 1e-3, p)])


@pytest.mark.parametrize("order", [1, 2])
@BOTH
def test_a_zero_vector_has_no_angle_and_no_slope(order, dtype):
    x = np.array([[0.0, 0.0], [1e30, -1e30], [1e-5, 1e-5]])
    y = np.array([[1.0, 2.0], [0.0, 0.0], [1.0, -1.0]])
    value, *slopes = with_slopes(gg.cosine_similarity, x, y, dtype=dtype, order=order)
    np.testing.assert_allclose(value, [0, 0, 0], atol=1e-7)
    assert np.isfinite(slopes).all()
    assert not slopes[0][0].any()
    assert not slopes[1][1].any()


def test_vectors_shorter_than_epsilon_are_given_its_length():
    x, y = gg.constant([[1e-10, 0.0]]), gg.constant([[2.0, 0.0]])
    assert gg.evaluate(gg.cosine_similarity(x, y)) == pytest.approx([1e-2])
    assert gg.evaluate(gg.cosine_similarity(x, y, eps=0)) == pytest.approx([1])
    assert gg.evaluate(gg.cosine_similarity(x, y, eps=1)) == pytest.approx([1e-10])


def test_a_single_vector_has_its_angle_along_its_only_axis():
    found = gg.cosine_similarity(gg.constant([3.0, 4.0]), [4.0, 3.0])
    assert gg.evaluate(found) == pytest.approx(24 / 25)


@BOTH
def test_binary_cross_entropy_of_certain_probabilities(dtype):
    """Logarithms are at least -100; slopes are finite, and exact where it is right."""
    x, y = np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0, 0.0])

    def loss(a, b):
        return gg.binary_cross_entropy(a, b, reduction="none")

    value, slope, by_target = with_slopes(loss, x, y, dtype=dtype)
    np.testing.assert_array_equal(value, [0, 0, 100, 100])
    np.testing.assert_allclose(slope, [1, -1, -1e12, 1e12])
    np.testing.assert_array_equal(by_target, [100, -100, 100, -100])


@BOTH
def test_the_slope_leads_out_of_a_saturated_sigmoid_without_nan(dtype):
    z = np.array([-1e4, -200.0, 200.0, 1e4])

    def loss(a):
        p = gg.sigmoid(a)
        return gg.binary_cross_entropy(p, [1.0, 0.0, 1.0, 0.0], reduction="none")

    value, slope = with_slopes(loss, z, dtype=dtype)
    assert np.isfinite(value).all()
    assert np.isfinite(slope).all()


@BOTH
def test_divergences_at_probabilities_of_zero(dtype):
    p = np.array([[0.0, 1.0], [0.0, 1.0], [0.5, 0.5]])
    q = np.array([[0.5, 0.5], [0.0, 1.0], [0.0, 1.0]])

    def each(divergence):
        return lambda a, b: divergence(a, b, "none")

    value, by_p, by_q = with_slopes(each(gg.kl_divergence), p, q, dtype=dtype)
    np.testing.assert_allclose(value, [math.log(2), 0, np.inf], rtol=1e-6)
    two = math.log(2)
    np.testing.assert_allclose(
        by_p, [[-np.inf, two + 1], [0, 1], [np.inf, 1 - two]], rtol=1e-6
    )
    np.testing.assert_allclose(by_q, [[0, -2], [0, -1], [-np.inf, -0.5]], rtol=1e-6)
    value, by_p, by_q = with_slopes(each(gg.js_divergence), p, q, dtype=dtype)
    assert np.isfinite(value).all()
    assert value[1] == 0
    np.testing.assert_allclose(by_p[1], [0, 0], atol=1e-7)
    np.testing.assert_allclose(by_q[1], [0, 0], atol=1e-7)
    np.testing.assert_allclose(by_p[0], [-np.inf, math.log(4 / 3) / 2], rtol=1e-6)


@BOTH
def test_second_derivatives_where_both_probabilities_are_zero_are_finite(dtype):
    p, q = np.array([[0.0, 1.0]]), np.array([[0.0, 1.0]])
    for divergence in (gg.kl_divergence, gg.js_divergence):
        _, *second = with_slopes(divergence, p, q, dtype=dtype, order=2)
        assert np.isfinite(second).all()


@BOTH
def test_a_target_of_zero_ignores_an_infinite_logarithm(dtype):
    log_q, p = np.array([-np.inf, -np.inf, 0.0]), np.array([0.0, 0.5, 0.5])
    value, by_log, _ = with_slopes(
        lambda a, b: gg.kl_div(a, b, "none"), log_q, p, dtype=dtype
    )
    np.testing.assert_allclose(value, [0, np.inf, -0.5 * math.log(2)], rtol=1e-6)
    np.testing.assert_array_equal(by_log, [0, -0.5, -0.5])


@BOTH
def test_logarithms_as_target_keep_all_slopes_finite(dtype):
    log_q, log_p = np.array([-5.0, -np.inf, 0.0]), np.array([-np.inf, -np.inf, -1e4])
    for order in (1, 2):
        found = with_slopes(
            lambda a, b: gg.kl_div(a, b, "none", log_target=True),
            log_q,
            log_p,
            dtype=dtype,
            order=order,
        )
        assert not np.any(found[0])
        assert not np.any(found[1:])


@BOTH
def test_the_least_floats_have_a_finite_jensen_shannon_divergence(dtype):
    least = float(np.finfo(dtype).smallest_subnormal)
    value, *_ = with_slopes(
        gg.js_divergence, np.array([[least, 1]]), np.array([[0, 1.0]]), dtype=dtype
    )
    assert 0 <= value <= 2 * least


@BOTH
def test_zero_variance_has_the_slope_of_the_least_variance(dtype):
    """So that learning leads out of it: the clamp is not differentiated."""

    def loss(v):
        return gg.gaussian_nll_loss(gg.constant(np.array([1.0, 0.0], dtype)), [0, 0], v)

    value, slope = with_slopes(loss, np.array([0.0, -3.0]), dtype=dtype)
    eps = 1e-6
    expected = (2 * math.log(eps) + 1 / eps) / 4
    assert value == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(
        slope, [(1 / eps - 1 / eps**2) / 4, 1 / eps / 4], rtol=1e-5
    )


@BOTH
def test_the_logarithm_of_a_variance_may_be_any_number(dtype):
    x = np.array([0.0, 1e-20, 1e20, 2.0, 2.0])
    s = np.array([-1e30, -90.0, 90.0, 1e4, -5.0])
    value, by_x, by_s = with_slopes(
        lambda a, b: gg.gaussian_nll_loss(
            a, np.zeros(5), b, log_var=True, reduction="none"
        ),
        x,
        s,
        dtype=dtype,
    )
    squares = np.array(
        [0, math.exp(90) * 1e-40, 1e40 * math.exp(-90), 0, 4 * math.e**5]
    )
    np.testing.assert_allclose(value, (s + squares) / 2, rtol=2e-5)
    np.testing.assert_allclose(by_s, (1 - squares) / 2, rtol=2e-5)
    np.testing.assert_allclose(by_x * x, squares, rtol=2e-5)


@BOTH
def test_a_rate_of_zero_explains_no_counts_exactly(dtype):
    value, by_rate, by_count = with_slopes(
        lambda x, y: gg.poisson_nll_loss(x, y, False, reduction="none", eps=0),
        np.array([0.0, 0.0, 2.0]),
        np.array([0.0, 1.0, 0.0]),
        dtype=dtype,
    )
    np.testing.assert_array_equal(value, [0, np.inf, 2])
    np.testing.assert_array_equal(by_rate, [1, -np.inf, 1])
    np.testing.assert_allclose(by_count, [np.inf, np.inf, -math.log(2)], rtol=1e-6)


def test_kinks_have_the_slope_that_is_said():
    one = np.array([1.0])
    for loss, x, y in (
        (gg.l1_loss, one, one),
        (gg.hinge_loss, one, one),
        (gg.squared_hinge_loss, one, one),
        (lambda a, b: gg.margin_ranking_loss(a, b, [1.0]), one, one),
    ):
        _, slope, _ = with_slopes(loss, x, y)
        assert slope == [0]


@pytest.mark.parametrize("delta", [0.5, 1.0, 3.0])
def test_the_huber_loss_is_smooth_where_its_pieces_meet(delta):
    x = np.array([delta, np.nextafter(delta, 9), -delta, 1e300])
    value, slope, _ = with_slopes(
        lambda a, b: gg.huber_loss(a, b, "none", delta), x, 0 * x
    )
    np.testing.assert_allclose(value[:3], delta**2 / 2)
    assert value[3] == delta * 1e300
    np.testing.assert_allclose(slope, [delta, delta, -delta, delta])


def test_margins_of_large_scores_that_are_close_are_exact():
    x = np.array([[1e4 + 0.25, 1e4, -1e4]], "float32")
    loss = gg.multi_margin_loss(gg.constant(x), [0])
    assert gg.evaluate(loss) == pytest.approx(0.75 / 3, rel=1e-6)


def test_labels_after_the_first_minus_one_are_not_read():
    x = gg.constant([[0.1, 0.2, 0.4, 0.8]])
    plain = gg.evaluate(gg.multilabel_margin_loss(x, [[3, 0, -1, -1]]))
    assert plain == gg.evaluate(gg.multilabel_margin_loss(x, [[3, 0, -1, 99]]))
    assert gg.evaluate(gg.multilabel_margin_loss(x, [[-1, 0, 1, 2]])) == 0


@pytest.mark.parametrize("smoothing", [0.0, 0.25])
def test_a_class_of_probability_zero_costs_nothing_where_it_is_not_asked_for(smoothing):
    """0 log 0 = 0, as for the class in place of its one-hot target; slopes too."""
    logits = np.array([[0.3, -np.inf, 1.0], [0.1, 0.2, -0.4]])
    x = gg.placeholder("x", logits.shape, "float64")
    weight = None if not smoothing else [1.0, 0.0, 2.0]

    def both(target):
        loss = gg.cross_entropy(x, target, weight, label_smoothing=smoothing)
        loss = (
            loss
            if weight is None
            else gg.cross_entropy(
                x, target, weight, reduction="sum", label_smoothing=smoothing
            )
        )
        return gg.compile([x], [loss, *gg.gradients(loss, [x])], device="cpu")(logits)

    classes = both(gg.constant([2, 0]))
    for found, expected in zip(
        both(gg.constant(np.eye(3)[[2, 0]])), classes, strict=True
    ):
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_probabilities_have_their_slopes_where_they_are_zero():
    logits = np.array([[0.3, -0.5, 1.0]])
    y = gg.placeholder("y", (1, 3), "float64")
    loss = gg.cross_entropy(gg.constant(logits), y)
    (slope,) = gg.gradients(loss, [y])
    found = gg.compile([y], slope, device="cpu")(np.array([[0.0, 1.0, 0.0]]))
    expected = np.log(np.exp(logits).sum()) - logits
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_beta_that_is_zero_in_the_dtype_gives_the_absolute_value():
    x = gg.constant(np.float32([0.0, -2.0]))
    assert gg.evaluate(gg.smooth_l1_loss(x, x * 0, "none", 1e-300)).tolist() == [0, 2]


def test_vectors_without_elements_are_no_way_apart():
    x = gg.zeros((2, 0))
    assert gg.evaluate(gg.pairwise_distance(x, x)).tolist() == [0, 0]
    assert gg.evaluate(gg.cosine_similarity(x, x)).tolist() == [0, 0]
    assert gg.evaluate(gg.triplet_margin_loss(x, x, x, margin=0.5)) == 0.5
