"""Penalties: gradients and dtypes; smoothed labels: what they sum to; errors."""

import numpy as np
import pytest

import graphgpu as gg


def test_the_gradients_of_penalties_are_signs_and_weights():
    w = gg.parameter("w", [[1.5, -2.0], [0.0, 3.0]])
    found = [
        gg.evaluate(gg.gradients(penalty, [w])[0])
        for penalty in (
            gg.l1_penalty([w], 0.5),
            gg.l2_penalty([w], 0.5),
            gg.elastic_penalty([w], 0.5, 2.0),
        )
    ]
    np.testing.assert_array_equal(found[0], 0.5 * np.sign(w.value))
    np.testing.assert_array_equal(found[1], 0.5 * w.value)
    np.testing.assert_array_equal(found[2], 0.5 * np.sign(w.value) + 2 * w.value)


def test_the_strength_may_be_a_variable():
    w, strength = gg.parameter("w", [1.0, -3.0]), gg.placeholder("strength", ())
    program = gg.compile([strength], gg.l1_penalty([w], strength), device="cpu")
    assert program(0.5) == 2.0


def test_penalties_of_halves_do_not_overflow():
    w = gg.parameter("w", np.full(5, 300.0), "float16")
    penalty = gg.l2_penalty([w, w])
    assert penalty.dtype == np.float32
    assert gg.evaluate(penalty) == 450000.0
    (slope,) = gg.gradients(penalty, [w])
    np.testing.assert_array_equal(gg.evaluate(slope), np.full(5, 600.0, "float16"))


def test_penalties_need_parameters():
    for penalty in (gg.l1_penalty, gg.l2_penalty, gg.elastic_penalty):
        with pytest.raises(gg.GraphError, match=r"expected one parameter or more"):
            penalty([])


def test_smoothed_labels_stay_distributions():
    targets = gg.placeholder("y", ("batch", "classes", 2))
    program = gg.compile([targets], gg.smooth_labels(targets, 0.3), device="cpu")
    y = np.moveaxis(np.eye(5, dtype="float32")[[[0, 1], [3, 2]]], 2, 1)
    found = program(y)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(np.unique(found), [0.06, 0.76], rtol=1e-6)
    plain = gg.smooth_labels(gg.constant(y), 0)
    np.testing.assert_array_equal(gg.evaluate(plain), y)


def test_cross_entropy_with_smoothed_labels_is_least_at_finite_scores():
    """Hard targets drive scores apart without end, smoothed ones do not."""
    hard = np.float32([[1, 0, 0]])
    best = np.log((1 - 0.3 + 0.1) / 0.1)  # the gap at which softmax is the target
    scores = gg.constant(np.float32([[best, 0, 0]]))
    x = gg.placeholder("x", (1, 3))
    soft = gg.smooth_labels(gg.constant(hard), 0.3)
    loss = -gg.sum(soft * gg.log_softmax(x, 1))
    (slope,) = gg.gradients(loss, [x])
    found = gg.compile([x], slope, device="cpu")(gg.evaluate(scores))
    np.testing.assert_allclose(found, 0, atol=1e-6)


def test_smoothing_errors_say_what_was_expected():
    y = gg.placeholder("y", (2, 3))
    with pytest.raises(gg.GraphError, match=r"expected a smoothing from 0 to 1"):
        gg.smooth_labels(y, 1.5)
    with pytest.raises(gg.DTypeError, match=r"expected a floating-point dtype"):
        gg.smooth_labels(gg.placeholder("c", (2, 3), "int64"))
    with pytest.raises(gg.ShapeError, match=r"axis"):
        gg.smooth_labels(y, axis=2)


def test_the_axis_of_a_vector_of_targets_is_its_only_one():
    smooth = gg.evaluate(gg.smooth_labels(gg.constant([0.0, 1.0]), 0.2))
    np.testing.assert_allclose(smooth, [0.1, 0.9], rtol=1e-6)
