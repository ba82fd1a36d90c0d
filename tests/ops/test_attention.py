"""Attention: what masks mean, what a row without keys gives, what halves keep."""

import numpy as np
import pytest

import graphgpu as gg

RNG = np.random.default_rng(41)


def normal(*shape):
    return RNG.standard_normal(shape)


def gradients_of(function, *arrays):
    """Return a function's value and gradients, under a fixed cotangent."""
    inputs = [gg.placeholder(f"x{i}", a.shape, a.dtype) for i, a in enumerate(arrays)]
    output = function(*inputs)
    weights = np.cos(np.arange(np.prod(output.shape))).reshape(output.shape)
    slopes = gg.gradients(gg.sum(output * weights), inputs)
    return gg.compile(inputs, [output, *slopes], device="cpu")(*arrays)


def test_the_soft_dictionary_of_the_notes_gives_1_7():
    weights, values = gg.constant([0.7, 0.0, 0.2, 0.1]), gg.constant([1.0, 2, 3, 4])
    value = gg.soft_attention(weights, values)
    np.testing.assert_allclose(gg.evaluate(value), 1.7, rtol=1e-6)
    by_weights, by_values = gg.gradients(value, [weights, values])
    np.testing.assert_array_equal(gg.evaluate(by_weights), [1, 2, 3, 4])
    np.testing.assert_array_equal(gg.evaluate(by_values), gg.evaluate(weights))


def test_one_hot_weights_look_one_value_up():
    values = normal(5, 3)
    found = gg.soft_attention(gg.one_hot(3, 5, "float64"), gg.constant(values))
    np.testing.assert_array_equal(gg.evaluate(found), values[3])


def test_queries_that_are_keys_of_large_norm_look_their_values_up():
    keys = 100 * np.eye(4)
    values = normal(4, 2)
    found = gg.scaled_dot_product_attention(keys[[2, 0]], keys, values)
    np.testing.assert_array_equal(gg.evaluate(found), values[[2, 0]])


@pytest.mark.parametrize(
    "mask",
    [
        np.array([[True, False, True], [False] * 3]),
        np.array([[0.5, -np.inf, 1.0], [-np.inf] * 3]),
    ],
)
def test_a_query_that_may_look_at_nothing_gives_0_and_has_gradient_0(mask):
    q, k, v = normal(2, 4), normal(3, 4), normal(3, 5)

    def attend(*x):
        return gg.scaled_dot_product_attention(*x, mask)

    y, by_q, by_k, by_v = gradients_of(attend, q, k, v)
    assert not y[1].any()
    assert not by_q[1].any()
    assert not by_k[1].any()
    assert not by_v[1].any()
    assert all(np.isfinite(g).all() for g in (y, by_q, by_k, by_v))
    assert y[0].all()
    assert by_q[0].all()
    assert by_k[[0, 2]].all()
    assert by_v[[0, 2]].all()


def test_a_bool_mask_is_the_numbers_0_and_minus_infinity():
    mask = RNG.random((3, 4)) > 0.4
    added = np.where(mask, 0.0, -np.inf)
    arrays = normal(2, 3, 4), normal(2, 4, 4), normal(2, 4, 2)
    left, right = (
        gradients_of(lambda *x, m=m: gg.scaled_dot_product_attention(*x, m), *arrays)
        for m in (mask, added)
    )
    for one, other in zip(left, right, strict=True):
        np.testing.assert_array_equal(one, other)


def test_causal_attention_is_that_of_every_beginning():
    x = normal(5, 4)
    whole = gg.evaluate(gg.scaled_dot_product_attention(x, x, x, is_causal=True))
    for end in range(1, 6):
        part = x[:end]
        beginning = gg.scaled_dot_product_attention(part[-1:], part, part)
        np.testing.assert_allclose(whole[end - 1], gg.evaluate(beginning)[0])


def test_a_mask_and_causality_both_count():
    x, mask = normal(4, 4), RNG.random((4, 4)) > 0.5
    both = gg.attention_weights(x, x, mask, is_causal=True)
    joined = gg.attention_weights(x, x, np.tril(mask))
    np.testing.assert_array_equal(gg.evaluate(both), gg.evaluate(joined))
    assert not gg.evaluate(both)[~np.tril(mask)].any()


def test_lengths_may_be_names():
    x = gg.placeholder("x", ("batch", "length", 4), "float64")
    program = gg.compile(
        [x], gg.scaled_dot_product_attention(x, x, x, is_causal=True), device="cpu"
    )
    for length in (1, 5):
        value = normal(2, length, 4)
        direct = gg.scaled_dot_product_attention(value, value, value, is_causal=True)
        np.testing.assert_allclose(program(value), gg.evaluate(direct), rtol=1e-12)


def test_the_order_of_keys_does_not_matter_and_that_of_queries_is_kept():
    q, k, v = normal(3, 4), normal(5, 4), normal(5, 2)
    y = gg.evaluate(gg.scaled_dot_product_attention(q, k, v))
    order = RNG.permutation(5)
    other = gg.scaled_dot_product_attention(q[[2, 0, 1]], k[order], v[order])
    np.testing.assert_allclose(gg.evaluate(other), y[[2, 0, 1]], rtol=1e-12)


@pytest.mark.parametrize(("dtype", "expected"), [("float16", 1.0), ("bfloat16", 1.5)])
def test_scores_beyond_a_half_are_taken_in_float32(dtype, expected):
    # Scores of 300 · 300 · 4 / 2 = 180000, where float16 ends at 65504; a bfloat16
    # has no 299.
    q = gg.cast(gg.constant([[300.0, 300, 300, 300]]), dtype)
    k = gg.cast(gg.constant([[300.0, 300, 300, 300], [300, 300, 300, 299]]), dtype)
    v = gg.cast(gg.constant([[1.0], [2.0]]), dtype)
    y = gg.scaled_dot_product_attention(q, k, v)
    assert y.dtype == v.dtype
    assert float(gg.evaluate(y)[0, 0]) == expected
    slopes = gg.evaluate(gg.concat(gg.gradients(gg.sum(y), [q, k])))
    assert np.isfinite(slopes.astype("float32")).all()


def test_scores_that_tie_at_1e4_share_exactly():
    q = np.array([[1e4, 0.0, 0, 0]], "float32")
    k = np.array([[2.0, 0, 0, 0], [2.0, 5, 0, 0], [-2.0, 0, 0, 0]], "float32")
    weights = gg.evaluate(gg.attention_weights(q, k))
    np.testing.assert_array_equal(weights, [[0.5, 0.5, 0]])


def test_dropout_acts_on_the_weights_and_in_training_alone():
    q = gg.zeros((64, 4))
    eye = gg.constant(np.eye(64, dtype="float32"))
    idle = gg.scaled_dot_product_attention(q, q, eye, dropout_p=0.5)
    np.testing.assert_allclose(gg.evaluate(idle), 1 / 64)
    active = gg.scaled_dot_product_attention(q, q, eye, dropout_p=0.5, training=True)
    assert set(np.unique(gg.evaluate(active))) == {0.0, np.float32(2 / 64)}


def test_masks_of_integers_are_refused():
    with pytest.raises(gg.DTypeError, match="expected a bool or floating-point mask"):
        gg.scaled_dot_product_attention(*[gg.zeros((2, 2))] * 3, [[0, 1], [1, 1]])
    with pytest.raises(gg.DTypeError, match=r"bool mask; write gg.not_equal\(mask, 0"):
        gg.masked_softmax(gg.zeros(2), [0.0, 1.0])


def test_a_mask_of_samples_and_keys_is_not_taken_for_one_of_queries_and_keys():
    x = gg.placeholder("x", ("batch", 8, 4))
    mask = gg.placeholder("mask", ("batch", 8), "bool")
    with pytest.raises(gg.ShapeError) as error:
        gg.attention_weights(x, x, mask)
    assert str(error.value).startswith(
        "attention_weights: expected an attn_mask of shape [8,8], or of 3 axes that "
        "broadcasts to [batch,8,8]; give it axes of size 1 with gg.expand_dims; got "
        "bool[batch,8]; created at "
    )
    for fitting in (np.ones((8, 8), bool), gg.expand_dims(mask, 1), np.zeros((1, 8))):
        assert gg.attention_weights(x, x, fitting).shape == (*x.shape[:2], 8)


def test_operands_that_do_not_fit_are_refused():
    def attend(*shapes):
        return gg.scaled_dot_product_attention(*(gg.zeros(s) for s in shapes))

    with pytest.raises(gg.ShapeError, match="axis E of queries, of keys"):
        attend((2, 3), (4, 5), (4, 1))
    with pytest.raises(gg.ShapeError, match=r"expected values \(..., S, V\)"):
        attend((2, 3), (4, 3), (4,))
    with pytest.raises(gg.ShapeError, match=r"expected queries \(..., L, E\) and keys"):
        attend((3,), (4, 3), (4, 1))
    with pytest.raises(gg.ShapeError, match="axis S of keys, of values"):
        attend((2, 3), (4, 3), (5, 1))
    with pytest.raises(gg.DTypeError, match="expected a floating-point dtype"):
        gg.attention_weights([[1]], [[1]])
    with pytest.raises(gg.ShapeError, match="weights, axis 0 of the values"):
        gg.soft_attention(gg.zeros(3), gg.zeros((4, 2)))
    with pytest.raises(gg.ShapeError, match="of no more than the values have"):
        gg.soft_attention(gg.zeros((2, 3)), gg.zeros(3))
