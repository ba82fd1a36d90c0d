"""Switches, hard and soft: values, where gradients flow, ties and ranges."""

import numpy as np
import pytest

import graphgpu as gg

RNG = np.random.default_rng(43)


def normal(*shape):
    return RNG.standard_normal(shape)


def test_the_gradient_of_a_hard_switch_flows_along_the_chosen_path_alone():
    paths = [gg.constant(np.full(2, v)) for v in (1.0, 3.0, np.inf)]
    squares = [gg.square(x) for x in paths]
    y = gg.sum(gg.hard_switch(1, *squares))
    slopes = [gg.evaluate(g) for g in gg.gradients(y, paths)]
    np.testing.assert_array_equal(slopes[1], [6.0, 6.0])
    assert not slopes[0].any()
    first, second, _ = (gg.evaluate(g) for g in gg.gradients(y, squares))
    assert not first.any()
    assert second.all()
    (unchosen,) = gg.gradients(y, [squares[2]])
    assert not gg.evaluate(unchosen).any()


def test_a_hard_switch_works_sample_by_sample():
    index, paths = np.array([[0, 2], [1, -1]]), normal(3, 2, 2, 4)
    y = gg.evaluate(gg.hard_switch(index, *paths))
    expected = [[paths[index[i, j], i, j] for j in (0, 1)] for i in (0, 1)]
    np.testing.assert_array_equal(y, expected)


def test_the_largest_score_switches_and_of_equal_ones_the_first():
    scores = gg.constant([[1.0, 3.0, 2.0], [5.0, 5.0, 5.0]])
    paths = [gg.constant([10.0 * i, 10.0 * i + 1]) for i in range(3)]
    y = gg.hard_switch(scores, *paths)
    np.testing.assert_array_equal(gg.evaluate(y), [10.0, 1.0])
    slopes = gg.gradients(gg.sum(y), [scores, *paths], disconnected="zero")
    np.testing.assert_array_equal(
        [gg.evaluate(s) for s in slopes[1:]], [[0, 1], [1, 0], [0, 0]]
    )
    assert not gg.evaluate(slopes[0]).any()


def test_a_selector_that_is_out_of_range_is_an_error():
    index = gg.placeholder("index", (), "int64")
    y = gg.hard_switch(index, gg.constant(1.0), gg.constant(2.0))
    assert float(gg.evaluate(y, {index: -1})) == 2.0
    for wrong in (2, -3):
        with pytest.raises(gg.ComputeError, match=f"index {wrong} is out of range"):
            gg.evaluate(y, {index: wrong})


def test_a_soft_switch_has_gradients_on_every_path_and_for_the_scores():
    scores, paths = normal(3), normal(3, 2)
    variables = [gg.constant(scores), *(gg.constant(p) for p in paths)]
    y = gg.soft_switch(*variables)
    slopes = [gg.evaluate(g) for g in gg.gradients(gg.sum(y), variables)]
    p = np.exp(scores) / np.exp(scores).sum()
    np.testing.assert_allclose(gg.evaluate(y), p @ paths)
    np.testing.assert_allclose(slopes[1:], np.outer(p, [1, 1]))
    said = paths.sum(1)
    np.testing.assert_allclose(slopes[0], p * (said - p @ said), atol=1e-14)


def test_a_soft_switch_with_large_gaps_is_the_hard_one():
    scores, paths = normal(5, 3), normal(3, 5, 2)
    soft = gg.soft_switch(1e6 * scores, *paths)
    hard = gg.hard_switch(scores, *paths)
    np.testing.assert_array_equal(gg.evaluate(soft), gg.evaluate(hard))


def test_switches_refuse_what_does_not_fit():
    x = gg.zeros((3, 2))
    with pytest.raises(gg.ShapeError, match="at least one input after the selector"):
        gg.hard_switch(0)
    with pytest.raises(
        gg.ShapeError, match=r"inputs of one shape, each of shape \[3,2"
    ):
        gg.hard_switch(0, x, gg.zeros(2))
    with pytest.raises(gg.ShapeError, match=r"expected scores \(..., 2\)"):
        gg.soft_switch(gg.zeros(3), x, x)
    with pytest.raises(gg.ShapeError, match=r"whose shape begins with \[4\]"):
        gg.hard_switch(gg.zeros(4, "int64"), x, x)
    with pytest.raises(gg.ShapeError, match=r"whose shape begins with \[4\]"):
        gg.soft_switch(gg.zeros((4, 2)), x, x)
    with pytest.raises(gg.DTypeError, match="expected integers or scores"):
        gg.hard_switch(gg.constant(True), x, x)
    with pytest.raises(gg.DTypeError, match="expected a floating-point dtype"):
        gg.soft_switch([0, 1], x, x)


def test_sparse_gates_have_the_sum_1_and_gradients_for_the_chosen_alone():
    logits = gg.constant(normal(6, 5))
    gates = gg.top_k_gates(logits, 2)
    value = gg.evaluate(gates)
    np.testing.assert_allclose(value.sum(1), 1.0)
    assert ((value > 0).sum(1) == 2).all()
    (slope,) = gg.gradients(gg.sum(gates * normal(6, 5)), [logits])
    np.testing.assert_array_equal(gg.evaluate(slope) != 0, value > 0)


def test_of_equal_logits_the_first_are_chosen():
    gates = gg.top_k_gates(gg.constant([2.0, 1.0, 2.0, 2.0]), 2)
    np.testing.assert_array_equal(gg.evaluate(gates), [0.5, 0, 0.5, 0])


def test_a_single_gate_needs_the_others_for_a_gradient():
    logits, weights = gg.constant(normal(3)), normal(3)
    for renormalize, moves in ((True, False), (False, True)):
        gates = gg.top_k_gates(logits, 1, renormalize=renormalize)
        (slope,) = gg.gradients(gg.sum(gates * weights), [logits])
        assert gg.evaluate(slope).any() == moves


def test_all_k_gates_are_the_softmax():
    logits = normal(2, 4)
    for renormalize in (True, False):
        gates = gg.top_k_gates(logits, 4, renormalize=renormalize)
        np.testing.assert_array_equal(
            gg.evaluate(gates), gg.evaluate(gg.softmax(logits))
        )


def test_the_balance_of_an_even_load_is_1_and_of_one_expert_their_number():
    even = 1e4 * np.eye(4)[np.arange(8) % 4]
    one = 1e4 * np.eye(4)[[2] * 8]
    assert float(gg.evaluate(gg.load_balancing_loss(even))) == 1.0
    assert float(gg.evaluate(gg.load_balancing_loss(one))) == 4.0
    assert float(gg.evaluate(gg.load_balancing_loss(normal(8, 4), 4))) == pytest.approx(
        1.0
    )
    assert float(gg.evaluate(gg.importance_loss(even))) == 0.0
    assert float(gg.evaluate(gg.importance_loss(one))) == 3.0


def test_more_gates_than_logits_are_refused():
    with pytest.raises(gg.ShapeError, match="axis 0 has 3 elements, not 4"):
        gg.top_k_gates(gg.zeros(3), 4)


def test_a_soft_switch_of_integers_is_a_mixture_and_not_rounded():
    mixed = gg.soft_switch(gg.zeros(2), gg.constant([1, 2]), gg.constant([2, 4]))
    assert gg.evaluate(mixed).tolist() == [1.5, 3]
