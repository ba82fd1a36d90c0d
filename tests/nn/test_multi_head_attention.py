"""Multi-head attention: what its masks mean and what it does not depend on."""

import re

import numpy as np
import pytest

import graphgpu as gg
from graphgpu import nn

RNG = np.random.default_rng(51)


def normal(*shape):
    return RNG.standard_normal(shape)


def multi_head(*args, **options):
    layer = nn.MultiHeadAttention(*args, **options, dtype="float64")
    for parameter in layer.parameters():
        parameter.value = 0.5 * normal(*parameter.shape)
    return layer


def test_padded_keys_have_no_influence_and_no_gradient():
    layer, x, memory = multi_head(8, 2), normal(2, 3, 8), normal(2, 5, 8)
    padding = np.array([[False] * 5, [False, False, True, True, True]])
    given = gg.constant(memory)
    y = layer(x, given, key_padding_mask=padding)
    (slope,) = gg.gradients(gg.sum(gg.square(y)), [given])
    np.testing.assert_array_equal(gg.evaluate(slope).any(2), ~padding)
    cut = gg.evaluate(layer(x[1:], memory[1:, :2]))
    np.testing.assert_allclose(gg.evaluate(y)[1:], cut, rtol=1e-12)


def test_padded_keys_and_values_may_be_anything():
    layer, x, memory = multi_head(8, 2), normal(2, 3, 8), normal(2, 5, 8)
    padding = np.array([[False] * 5, [False, False, True, True, True]])
    given, other = (gg.placeholder(n, (2, 5, 8), "float64") for n in "kv")
    y = layer(x, given, other, key_padding_mask=padding)
    slopes = gg.gradients(gg.sum(y), [given, other, *layer.parameters()])
    program = gg.compile([given, other], [y, *slopes], device="cpu")
    spoilt = np.where(padding[..., np.newaxis], np.nan, memory)
    expected = program(memory, memory)
    for found, right in zip(program(spoilt, spoilt), expected, strict=True):
        np.testing.assert_array_equal(found, right)
        assert np.isfinite(found).all()


def test_a_sample_of_padding_alone_gives_the_bias_and_no_nan():
    layer, x = multi_head(8, 2), normal(2, 3, 8)
    padding = np.array([[False] * 3, [True] * 3])
    y = layer(x, key_padding_mask=padding)
    bias = np.broadcast_to(layer.out_proj.bias.value, (3, 8))
    np.testing.assert_array_equal(gg.evaluate(y)[1], bias)
    slopes = gg.gradients(gg.sum(gg.square(y)), layer.parameters())
    assert all(np.isfinite(gg.evaluate(s)).all() for s in slopes)


def test_all_masks_that_are_given_count():
    layer, x = multi_head(8, 2), normal(2, 4, 8)
    padding, mask = RNG.random((2, 4)) > 0.6, RNG.random((4, 4)) > 0.3
    added = np.where(mask, normal(4, 4), -np.inf)
    allowed = mask & np.tri(4, dtype=bool) & ~padding[:, None, None, :]
    options = {"key_padding_mask": padding, "is_causal": True}
    for given in (mask, added):
        weights = gg.evaluate(layer.attention(x, attn_mask=given, **options))
        np.testing.assert_array_equal(
            weights > 0, np.broadcast_to(allowed, (2, 2, 4, 4))
        )
    y = layer(x, attn_mask=mask, **options)
    joined = layer(x, attn_mask=allowed)
    np.testing.assert_array_equal(gg.evaluate(y), gg.evaluate(joined))


def test_the_weights_of_attention_are_of_each_head_and_of_sum_1():
    layer, q, k = multi_head(8, 4, kdim=3), normal(2, 3, 8), normal(2, 5, 3)
    weights = gg.evaluate(layer.attention(q, k))
    assert weights.shape == (2, 4, 3, 5)
    np.testing.assert_allclose(weights.sum(-1), 1.0)
    assert layer.attention(q, k).path.startswith("multi_head_attention")


def test_without_a_batch_it_is_the_same():
    layer, x = multi_head(8, 2), normal(3, 8)
    batch = gg.evaluate(layer(x[None]))[0]
    np.testing.assert_allclose(gg.evaluate(layer(x)), batch, rtol=1e-12)


def test_it_commutes_with_permutations_of_the_places():
    layer, x, order = multi_head(8, 2), normal(2, 5, 8), RNG.permutation(5)
    y = gg.evaluate(layer(x))
    np.testing.assert_allclose(gg.evaluate(layer(x[:, order])), y[:, order], rtol=1e-10)
    encoder = nn.TransformerEncoderLayer(8, 2, 16, dtype="float64")
    y = gg.evaluate(encoder(x))
    np.testing.assert_allclose(
        gg.evaluate(encoder(x[:, order])), y[:, order], rtol=1e-10
    )


def test_a_causal_encoder_does_not_see_what_is_later():
    layer, x = nn.TransformerEncoderLayer(8, 2, 16, dtype="float64"), normal(1, 5, 8)
    changed = x.copy()
    changed[0, 3:] += 1.0
    before, after = (gg.evaluate(layer(v, is_causal=True)) for v in (x, changed))
    np.testing.assert_allclose(before[0, :3], after[0, :3], rtol=1e-12)
    assert (before[0, 3:] != after[0, 3:]).all()


def test_an_encoder_passes_its_masks_on():
    layer, x = nn.TransformerEncoderLayer(8, 2, 16, norm_first=True), normal(2, 3, 8)
    padding = np.array([[False] * 3, [False, True, True]])
    y = gg.evaluate(layer(x, key_padding_mask=padding))
    alone = gg.evaluate(layer(x[1:, :1]))
    np.testing.assert_allclose(y[1, 0], alone[0, 0], rtol=1e-5)
    mask = np.eye(3, dtype=bool)
    y = gg.evaluate(layer(x, attn_mask=mask))
    np.testing.assert_allclose(y[1, 0], alone[0, 0], rtol=1e-5)


def test_dropout_of_an_encoder_acts_in_training_alone_and_anew_each_step():
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.5)
    x = gg.placeholder("x", (2, 3, 8))
    idle = gg.compile([x], layer(x), device="cpu")
    active = gg.compile([x], layer(x, training=True), device="cpu")
    value = normal(2, 3, 8).astype("float32")
    assert (idle(value) == idle(value)).all()
    assert (active(value) != active(value)).any()


def test_four_projections_are_all_that_is_learned():
    layer = nn.MultiHeadAttention(8, 2, kdim=3, vdim=5)
    assert [p.path.split("/")[-2:] for p in layer.parameters()] == [
        [f"{part}_proj", kind]
        for part in ("q", "k", "v", "out")
        for kind in ("weight", "bias")
    ]
    sizes = sum(p.value.size for p in layer.parameters())
    assert sizes == (8 + 3 + 5 + 8) * 8 + 4 * 8
    bare = nn.MultiHeadAttention(8, 2, bias=False)
    assert sum(p.value.size for p in bare.parameters()) == 4 * 64


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_stay_halves_with_finite_gradients(dtype):
    layer = nn.TransformerEncoderLayer(8, 2, 16, dtype=dtype)
    y = layer(gg.cast(gg.constant(100 * normal(2, 3, 8)), dtype), is_causal=True)
    assert y.dtype.name == dtype
    for slope in gg.gradients(gg.mean(y), layer.parameters()):
        assert np.isfinite(gg.evaluate(slope).astype("float32")).all()


def test_what_does_not_fit_is_refused():
    with pytest.raises(gg.GraphError, match="num_heads to divide embed_dim=8, got 3"):
        nn.MultiHeadAttention(8, 3)
    with pytest.raises(gg.GraphError, match="a probability dropout from 0 to 1, got 2"):
        nn.MultiHeadAttention(8, 2, 2)
    layer = nn.MultiHeadAttention(8, 2)
    with pytest.raises(gg.ShapeError, match="expected 8 features along axis -1, got 7"):
        layer(gg.zeros((2, 3, 7)))
    with pytest.raises(gg.DTypeError, match="attn_mask: expected a bool or floating"):
        layer(gg.zeros((2, 3, 8)), attn_mask=np.ones((3, 3), "int64"))
    for padding, message in (
        (
            np.ones((2, 3), "int64"),
            "expected a bool key_padding_mask, True where a key is padding, not "
            "int64[2,3]; write gg.equal(mask, 0) of one that is 1 where it is none; "
            "got float32[2,3,8]; created at ",
        ),
        *(
            (
                np.ones(shape, bool),
                "expected a key_padding_mask [2,3], one bool for each key, not "
                f"bool[{text}]; got float32[2,3,8]; created at ",
            )
            for shape, text in (((3,), "3"), ((2, 3, 3), "2,3,3"), ((2, 4), "2,4"))
        ),
    ):
        with pytest.raises(gg.GraphError, match=re.escape(message)):
            layer(gg.zeros((2, 3, 8)), key_padding_mask=padding)
    with pytest.raises(gg.ShapeError, match=r"a query \(\.\.\., places, features\)"):
        layer(gg.zeros((8,)))
    with pytest.raises(gg.GraphError, match="key_padding_mask, training; got src_mask"):
        layer(gg.zeros((2, 3, 8)), src_mask=None)
