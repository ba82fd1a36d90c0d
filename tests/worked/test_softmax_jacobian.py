"""Softmax, log-softmax and cross-entropy: their derivatives in closed form.

With p = softmax(f) (*Deep Learning*, section 6.2.2.3):

    ∂p_i/∂f_j     = p_i (1{i=j} - p_j)
    ∂log p_i/∂f_j = 1{i=j} - p_j
    ∂L/∂f_k       = p_k - 1{k=y}          for L = -log p_y
"""

import numpy as np
import pytest

import graphgpu as gg

SCORES = {
    "equal": np.zeros(4),
    "spread": np.array([0.3, -1.2, 2.0, 0.7, -0.1]),
    "large": np.array([700.0, 701.0, 699.5]),
    "far apart": np.array([0.0, 40.0, -40.0]),
    "one class": np.array([3.0]),
}


def softmax(f):
    e = np.exp(f - f.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def run(function, scores, *arrays):
    f = gg.placeholder("f", scores.shape, "float64")
    return gg.evaluate(function(f), {f: scores})


@pytest.mark.parametrize("name", SCORES)
def test_jacobian_of_softmax(name):
    f = SCORES[name]
    p = softmax(f)
    J = run(lambda v: gg.jacobian(gg.softmax(v), v), f)
    for i in range(len(f)):
        for j in range(len(f)):
            assert J[i, j] == pytest.approx(p[i] * ((i == j) - p[j]), abs=1e-15)


@pytest.mark.parametrize("name", SCORES)
def test_jacobian_of_log_softmax(name):
    f = SCORES[name]
    p = softmax(f)
    J = run(lambda v: gg.jacobian(gg.log_softmax(v), v), f)
    for i in range(len(f)):
        for j in range(len(f)):
            assert J[i, j] == pytest.approx((i == j) - p[j], abs=1e-15)


def test_jacobian_of_softmax_is_symmetric_and_its_rows_sum_to_zero():
    """Adding a number to all scores changes nothing: J 1 = 0, and 1ᵀ J = 0."""
    J = run(lambda v: gg.jacobian(gg.softmax(v), v), SCORES["spread"])
    np.testing.assert_allclose(J, J.T, atol=1e-16)
    np.testing.assert_allclose(J.sum(1), 0, atol=1e-16)
    assert np.linalg.matrix_rank(J) == len(J) - 1


def test_jacobian_of_log_softmax_is_that_of_softmax_divided_by_p():
    f = SCORES["spread"]
    of_p = run(lambda v: gg.jacobian(gg.softmax(v), v), f)
    of_log_p = run(lambda v: gg.jacobian(gg.log_softmax(v), v), f)
    np.testing.assert_allclose(of_p / softmax(f)[:, None], of_log_p, rtol=1e-13)


@pytest.mark.parametrize("name", SCORES)
def test_gradient_of_cross_entropy_is_p_minus_the_one_hot_target(name):
    f = SCORES[name]
    for y in range(len(f)):
        slope = run(
            lambda v, y=y: gg.gradients(gg.cross_entropy(v, np.int64(y)), [v])[0], f
        )
        np.testing.assert_allclose(slope, softmax(f) - np.eye(len(f))[y], atol=1e-15)


def test_gradient_of_the_mean_over_a_batch_is_divided_by_its_size():
    random = np.random.default_rng(0)
    scores = random.standard_normal((6, 4))
    target = random.integers(0, 4, 6)
    slope = run(lambda v: gg.gradients(gg.cross_entropy(v, target), [v])[0], scores)
    expected = (softmax(scores) - np.eye(4)[target]) / 6
    np.testing.assert_allclose(slope, expected, atol=1e-16)


def test_gradient_of_cross_entropy_sums_to_zero_over_the_classes():
    f = SCORES["spread"]
    slope = run(lambda v: gg.gradients(gg.cross_entropy(v, np.int64(2)), [v])[0], f)
    assert abs(slope.sum()) < 1e-15


def test_gradient_saturates_only_where_the_answer_is_right():
    """Section 6.2.2.3: log undoes exp, so a wrong answer keeps its gradient."""
    f = SCORES["far apart"]
    right, wrong = (
        run(lambda v, y=y: gg.gradients(gg.cross_entropy(v, np.int64(y)), [v])[0], f)
        for y in (1, 2)
    )
    assert np.abs(right).max() < 1e-16
    np.testing.assert_allclose(wrong, [0.0, 1.0, -1.0], atol=1e-15)
    # Of the squared error of p instead, nothing is left of either.
    squared = run(
        lambda v: gg.gradients(
            gg.sum(gg.square(gg.softmax(v) - np.array([0.0, 0.0, 1.0]))), [v]
        )[0],
        f,
    )
    assert np.abs(squared).max() < 1e-15


def test_hessian_of_cross_entropy_is_the_jacobian_of_softmax():
    f = SCORES["spread"]
    H = run(lambda v: gg.hessian(gg.cross_entropy(v, np.int64(0)), v), f)
    p = softmax(f)
    np.testing.assert_allclose(H, np.diag(p) - np.outer(p, p), atol=1e-15)
