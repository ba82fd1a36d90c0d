"""The embedding: rows of a table, and the row that stands for no token."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu import nn

RNG = np.random.default_rng(63)
F64 = {"dtype": "float64"}
TOKENS = np.array([[0, 4, 2], [2, 2, 1]])


def slope(layer, tokens, weights=None):
    rows = layer(gg.constant(tokens))
    loss = gg.sum(rows if weights is None else rows * weights)
    return gg.evaluate(gg.gradients(loss, [layer.weight])[0])


def test_the_padding_is_0_at_first_and_the_other_rows_as_without():
    with gg.root_scope(3):
        plain = nn.Embedding(5, 3)
    with gg.root_scope(3):
        layer = nn.Embedding(5, 3, padding_idx=2)
    assert not layer.weight.value[2].any()
    others = [0, 1, 3, 4]
    np.testing.assert_array_equal(
        layer.weight.value[others], plain.weight.value[others]
    )


def test_the_padding_gets_no_gradient_and_repeated_tokens_add_theirs():
    layer = nn.Embedding(5, 3, padding_idx=1, **F64)
    weights = RNG.standard_normal((2, 3, 3))
    expected = np.zeros((5, 3))
    np.add.at(expected, TOKENS, weights)
    expected[1] = 0
    np.testing.assert_allclose(slope(layer, TOKENS, weights), expected, rtol=1e-14)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "uint64"])
def test_tokens_may_be_any_integers(dtype):
    layer = nn.Embedding(300, 2, padding_idx=299, **F64)
    tokens = np.array([0, 7, 7, 44], dtype)
    found = slope(layer, tokens)
    assert found[[0, 7, 44], 0].tolist() == [1, 2, 1]
    assert found.sum() == 8


def test_the_padding_counted_from_the_end_is_the_padding():
    layer = nn.Embedding(5, 3, padding_idx=4, **F64)
    found = slope(layer, np.array([-1, 4, -2, 3]))
    assert found[:, 0].tolist() == [0, 0, 0, 2, 0]


def test_the_padding_stays_0_through_training():
    layer = nn.Embedding(5, 3, padding_idx=0)
    tokens = gg.placeholder("tokens", ("batch", "time"), "int64")
    loss = gg.mean(gg.square(layer(tokens) - 1))
    updates = gg.optim.AdamW(0.1).updates(loss, layer.parameters())
    train = gg.compile([tokens], loss, updates, device="cpu")
    before = layer.weight.value
    losses = [float(train(TOKENS)) for _ in range(5)]
    assert losses[-1] < losses[0]
    assert not layer.weight.value[0].any()
    assert (layer.weight.value[[1, 2, 4]] != before[[1, 2, 4]]).all()


def test_the_second_derivative_by_the_padding_is_0_too():
    layer = nn.Embedding(5, 3, padding_idx=1, **F64)
    loss = gg.sum(layer(gg.constant(TOKENS)) ** 3)
    (first,) = gg.gradients(loss, [layer.weight])
    (second,) = gg.gradients(gg.sum(first), [layer.weight])
    found, table = gg.evaluate(second), layer.weight.value
    counts = np.bincount(TOKENS.ravel(), minlength=5)[:, None]
    np.testing.assert_allclose(
        found, np.where([[1], [0], [1], [1], [1]], 6, 0) * counts * table
    )


@pytest.mark.parametrize("token", [5, -6])
@pytest.mark.parametrize("padding", [None, 0])
def test_a_token_out_of_range_is_an_error_in_the_program(token, padding):
    layer = nn.Embedding(5, 3, padding)
    tokens = gg.placeholder("tokens", ("n",), "int64")
    program = gg.compile([tokens], layer(tokens), device="cpu")
    message = rf"index {token} is out of range for axis 0"
    with pytest.raises(gg.ComputeError, match=message):
        program([0, token])


def test_errors_say_what_was_expected_and_what_came():
    with pytest.raises(gg.DTypeError, match=r"integer indices, got float32"):
        nn.Embedding(5, 3, padding_idx=1)(gg.placeholder("x", (2,)))
    message = r"layer 'embedding', .*padding_idx to be a row from 0 to 4, or None; got"
    for padding in (5, -1, "0"):
        with pytest.raises(gg.GraphError, match=f"{message} {padding!r}"):
            nn.Embedding(5, 3, padding_idx=padding)
    with pytest.raises(gg.GraphError, match=r"num_embeddings to be an int > 0, got 0"):
        nn.Embedding(0, 3)
