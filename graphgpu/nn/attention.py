"""Attention with learned projections, and the block that is built of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import final

import numpy as np

from graphgpu.dtypes import DType, is_floating
from graphgpu.errors import DTypeError, ShapeError
from graphgpu.graph import Operand, Variable, as_variable, current, inside
from graphgpu.nn.dense import Dense
from graphgpu.nn.init import Initializer
from graphgpu.nn.layer import Layer
from graphgpu.nn.normalization.features import LayerNorm
from graphgpu.ops.activations.rectifiers import relu
from graphgpu.ops.attention import (
    attention_weights,
    mask_of,
    scaled_dot_product_attention,
)
from graphgpu.ops.comparison import logical_and, logical_not, where
from graphgpu.ops.noise import dropout
from graphgpu.ops.requirements import shape_text
from graphgpu.ops.shape import expand_dims, swapaxes

__all__ = ["MultiHeadAttention", "TransformerEncoderLayer"]


@final
class MultiHeadAttention(Layer):
    """Concat_h(softmax(Q_h K_hᵀ / √(E / H)) V_h) W + b: H mixtures at once.

    Vaswani et al., "Attention is all you need", 2017, section 3.2.2.  Queries, keys
    and values are dense projections of the inputs to E features, of which each of
    the H heads has E / H; see :func:`graphgpu.scaled_dot_product_attention`.

    It is called with a query (..., L, E), a key (..., S, kdim) and a value (..., S,
    vdim), the batch being first; without a value the key is the value, without a key
    either, the query is all three.  The result is (..., L, E).  By name it takes:

    - ``key_padding_mask`` (..., S), bool: True where a key is padding and so takes
      *no* part, as the name says; key and value are read as 0 there, whatever they
      hold, but a query is not: put :func:`graphgpu.where` before the layer if its
      padding may be infinite or NaN and it is to be trained;
    - ``attn_mask`` (L, S), or all of (..., H, L, S), axes of size 1 being broadcast:
      bool, True where the key takes *part*, or numbers that are added to the scores.
      (PyTorch's layer takes a bool mask the other way round, its function as here);
    - ``is_causal``: whether query i may look at the keys j ≤ i alone.

    All that are given count.  A query that may look at nothing gives W 0 + b = b.

    Parameters
    ----------
    embed_dim
        The number E of features.
    num_heads
        The number H of heads, which divides E.
    dropout
        The probability with which a weight of attention is dropped, in training.
    bias
        Whether the four projections have biases.
    kdim, vdim
        The features of key and value; E by default.
    weight_init
        An initialiser of the projections; Glorot's uniform one by default.
    dtype
        The dtype of the parameters.
    name
        The layer's name, ``"multi_head_attention"`` by default.

    Examples
    --------
    >>> import graphgpu as gg
    >>> layer = gg.nn.MultiHeadAttention(16, 4)
    >>> x = gg.placeholder("x", ("batch", "length", 16))
    >>> layer(x, is_causal=True).type
    float32[batch,length,16]
    """

    shown = ("embed_dim", "num_heads")

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        kdim: int | None = None,
        vdim: int | None = None,
        *,
        weight_init: Initializer | None = None,
        dtype: object = "float32",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.embed_dim = self.positive("embed_dim", embed_dim)
        self.num_heads = self.positive("num_heads", num_heads)
        if embed_dim % num_heads:
            self.reject(
                f"expected num_heads to divide embed_dim={embed_dim}, got {num_heads}"
            )
        if not isinstance(dropout, int | float) or not 0 <= dropout <= 1:
            self.reject(f"expected a probability dropout from 0 to 1, got {dropout!r}")
        self.dropout = dropout

        def projection(features: int) -> Dense:
            return Dense(
                features, embed_dim, bias, weight_init=weight_init, dtype=dtype
            )

        self.q_proj = projection(embed_dim)
        self.k_proj = projection(embed_dim if kdim is None else kdim)
        self.v_proj = projection(embed_dim if vdim is None else vdim)
        self.out_proj = projection(embed_dim)

    def forward(
        self,
        query: Variable,
        key: Variable | None = None,
        value: Variable | None = None,
        *,
        training: bool,
        key_padding_mask: Operand | None = None,
        attn_mask: Operand | None = None,
        is_causal: bool = False,
    ) -> Variable:
        """Return the heads' mixtures, projected."""
        key = query if key is None else key
        value = key if value is None else value
        for what, given in (("query", query), ("key", key), ("value", value)):
            if given.ndim < 2:
                raise ShapeError(f"expected a {what} (..., places, features)")
        padding = _padding(key_padding_mask, query, key)
        mask = _mask(padding, attn_mask, query.dtype)
        kept = _without_padding(padding, key)
        value = kept if value is key else _without_padding(padding, value)
        key = kept
        heads = scaled_dot_product_attention(
            self._heads(self.q_proj(query, training=training)),
            self._heads(self.k_proj(key, training=training)),
            self._heads(self.v_proj(value, training=training)),
            mask,
            self.dropout,
            is_causal,
            training=training,
        )
        heads = swapaxes(heads, -3, -2)
        joined = heads.reshape((*heads.shape[:-2], self.embed_dim))
        result: Variable = self.out_proj(joined, training=training)
        return result

    def attention(
        self,
        query: Operand,
        key: Operand | None = None,
        *,
        key_padding_mask: Operand | None = None,
        attn_mask: Operand | None = None,
        is_causal: bool = False,
    ) -> Variable:
        """Return the weights (..., H, L, S) that a call has, without dropout.

        The parameters are those of a call; ``.mean(-3)`` of it is the mean over the
        heads.

        >>> import graphgpu as gg
        >>> layer = gg.nn.MultiHeadAttention(16, 4)
        >>> layer.attention(gg.placeholder("x", ("batch", 10, 16))).type
        float32[batch,4,10,10]
        """
        asked = as_variable(query)
        given = asked if key is None else as_variable(key)
        with inside(replace(current(), path=self.path)):
            padding = _padding(key_padding_mask, asked, given)
            mask = _mask(padding, attn_mask, asked.dtype)
            given = _without_padding(padding, given)
            queries, keys = self.q_proj(asked), self.k_proj(given)
            heads = self._heads(queries), self._heads(keys)
            return attention_weights(*heads, mask, is_causal)

    def _heads(self, x: Variable) -> Variable:
        """Return (..., L, E) as (..., H, L, E / H)."""
        features = self.embed_dim // self.num_heads
        split = x.reshape((*x.shape[:-1], self.num_heads, features))
        return swapaxes(split, -3, -2)


@final
class TransformerEncoderLayer(Layer):
    """Self-attention and a network at each place, both with a shortcut and a norm.

    Vaswani et al., "Attention is all you need", 2017, section 3.1: h = N(x + A(x)),
    y = N(h + F(h)) with F(h) = activation(h W1 + b1) W2 + b2 and layer normalisation
    N.  With ``norm_first``, h = x + A(N(x)), y = h + F(N(h)), whose shortcut is never
    normalised and which trains without warm-up (Xiong et al., "On layer normalization
    in the transformer architecture", 2020).  In training, the weights of attention,
    the hidden units and both branches have dropout.

    It is called with x (..., L, d_model) and, by name, with the masks of
    :class:`MultiHeadAttention`.

    Parameters
    ----------
    d_model
        The number of features.
    nhead
        The number of heads, which divides d_model.
    dim_feedforward
        The number of hidden units of F.
    dropout
        The probability of dropout.
    activation
        A function of a variable.
    layer_norm_eps
        What N adds to the variance.
    norm_first
        Whether N stands before A and F, in place of after the sum.
    bias
        Whether projections and dense layers have biases.
    dtype
        The dtype of the parameters.
    name
        The layer's name, ``"transformer_encoder_layer"`` by default.

    Examples
    --------
    >>> import graphgpu as gg
    >>> layer = gg.nn.TransformerEncoderLayer(16, 4, 32, norm_first=True)
    >>> layer(gg.placeholder("x", ("batch", "length", 16))).type
    float32[batch,length,16]
    """

    shown = ("d_model", "nhead", "dim_feedforward", "norm_first")

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Callable[[Variable], Variable] = relu,
        layer_norm_eps: float = 1e-5,
        norm_first: bool = False,
        bias: bool = True,
        *,
        dtype: object = "float32",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.d_model = d_model
        self.nhead = nhead
        self.dim_feedforward = dim_feedforward
        self.norm_first = norm_first
        self.attention = MultiHeadAttention(d_model, nhead, dropout, bias, dtype=dtype)
        self.hidden = Dense(d_model, dim_feedforward, bias, activation, dtype=dtype)
        self.output = Dense(dim_feedforward, d_model, bias, dtype=dtype)
        self.attention_norm = LayerNorm(d_model, layer_norm_eps, dtype=dtype)
        self.output_norm = LayerNorm(d_model, layer_norm_eps, dtype=dtype)
        self.dropout = dropout

    def forward(
        self,
        x: Variable,
        *,
        training: bool,
        key_padding_mask: Operand | None = None,
        attn_mask: Operand | None = None,
        is_causal: bool = False,
    ) -> Variable:
        """Return x after attention and the network."""

        def attend(h: Variable) -> Variable:
            mixed: Variable = self.attention(
                h,
                training=training,
                key_padding_mask=key_padding_mask,
                attn_mask=attn_mask,
                is_causal=is_causal,
            )
            return dropout(mixed, self.dropout, training)

        def network(h: Variable) -> Variable:
            hidden = self.hidden(h, training=training)
            hidden = dropout(hidden, self.dropout, training)
            said = self.output(hidden, training=training)
            return dropout(said, self.dropout, training)

        first, second = self.attention_norm, self.output_norm
        if self.norm_first:
            h: Variable = x + attend(first(x, training=training))
            return h + network(second(h, training=training))
        h = first(x + attend(x), training=training)
        y: Variable = second(h + network(h), training=training)
        return y


def _padding(
    padding: Operand | None, query: Variable, key: Variable
) -> Variable | None:
    """Return which keys are padding, of the axes of the keys but that of features."""
    if padding is None:
        return None
    given = as_variable(padding)
    if given.dtype != np.dtype(bool):
        raise DTypeError(
            "expected a bool key_padding_mask, True where a key is padding, not "
            f"{given.type}; write gg.equal(mask, 0) of one that is 1 where it is none"
        )
    fits = given.ndim in (key.ndim - 1, query.ndim - 1) and not any(
        left != 1 and isinstance(left - right, int) and left != right
        for left, right in zip(given.shape[::-1], key.shape[-2::-1], strict=False)
    )
    if not fits:
        raise ShapeError(
            f"expected a key_padding_mask {shape_text(key.shape[:-1])}, one bool for "
            f"each key, not {given.type}"
        )
    return given


def _without_padding(padding: Variable | None, x: Variable) -> Variable:
    """Return keys or values with 0 for padding: NaN would stay NaN times 0."""
    return x if padding is None else where(expand_dims(padding, -1), 0, x)


def _mask(
    padding: Variable | None, mask: Operand | None, dtype: DType
) -> Variable | None:
    """Return one mask, of (..., H, L, S) or what broadcasts to it, of both."""
    given = None if mask is None else mask_of("attn_mask", mask, dtype)
    if padding is None:
        return given
    kept = expand_dims(logical_not(padding), (-3, -2))
    if given is None:
        return kept
    if is_floating(given.dtype):
        return where(kept, given, -np.inf)
    return logical_and(kept, given)
