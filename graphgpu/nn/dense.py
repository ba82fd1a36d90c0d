"""Dense layers, and the table of vectors that stands for a dense layer of one-hots."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import numpy as np

from graphgpu.dtypes import Array
from graphgpu.graph import Variable
from graphgpu.nn.init import Fans, Initializer, glorot_uniform, normal, zeros
from graphgpu.nn.layer import Layer
from graphgpu.ops.arithmetic import remainder
from graphgpu.ops.comparison import equal, where
from graphgpu.ops.elementwise import cast
from graphgpu.ops.indexing import take
from graphgpu.ops.markers import stop_gradient
from graphgpu.ops.matrix_product import matmul
from graphgpu.ops.shape import expand_dims

__all__ = ["Dense", "Embedding"]


@final
class Dense(Layer):
    """activation(XW + b): every output depends on every input.

    The weight W is of shape (in, out), as the book writes it (*Deep Learning*,
    section 6.5.7); a sample is a row of X.  Further axes before the last are batch
    axes too.  Initial weights are Glorot's uniform ones, biases 0.

    Parameters
    ----------
    in_features, out_features
        The sizes of the last axis of input and output.
    bias
        Whether there is b.
    activation
        A function of a variable, such as :func:`graphgpu.relu`, or None.
    weight_init, bias_init
        Initialisers, of :mod:`graphgpu.nn.init` or your own.
    dtype
        The dtype of the parameters.
    name
        The layer's name, ``"dense"`` by default.

    Examples
    --------
    >>> import graphgpu as gg
    >>> layer = gg.nn.Dense(784, 10, name="classes")
    >>> layer.weight
    <classes/weight: float32[784,10]>
    >>> layer(gg.placeholder("x", ("batch", 784))).type
    float32[batch,10]
    """

    shown = ("in_features", "out_features")

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        activation: Callable[[Variable], Variable] | None = None,
        *,
        weight_init: Initializer | None = None,
        bias_init: Initializer | None = None,
        dtype: object = "float32",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.in_features = self.positive("in_features", in_features)
        self.out_features = self.positive("out_features", out_features)
        self.activation = activation
        if activation is not None:
            self.checked_function("activation", activation)
        shape = (self.in_features, self.out_features)
        self.weight = self.new_parameter(
            "weight", shape, weight_init or glorot_uniform(), dtype=dtype
        )
        self.bias = (
            self.new_parameter("bias", shape[1:], bias_init or zeros(), dtype=dtype)
            if bias
            else None
        )

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return activation(XW + b)."""
        self.require_size(x, -1, self.in_features, "features")
        result = matmul(x, self.weight)
        if self.bias is not None:
            result = result + self.bias
        return result if self.activation is None else self.activation(result)


@final
class Embedding(Layer):
    """A vector for each of ``num_embeddings`` integers: rows of a table.

    The table is of shape (num_embeddings, embedding_dim), initially N(0, 1).  An
    integer that is out of range is an error when the program runs; -1 is the last
    row, as in NumPy.  The row of ``padding_idx`` is 0 at first and gets no gradient
    from this layer: it stands for what is no token.

    >>> import graphgpu as gg
    >>> layer = gg.nn.Embedding(100, 8, padding_idx=0)
    >>> layer(gg.placeholder("tokens", ("batch", 12), "int64")).type
    float32[batch,12,8]

    Raises
    ------
    GraphError
        A size is no int > 0; the padding is no row.
    DTypeError
        When called: the indices are no integers.
    ComputeError
        In a program: an index is out of range.
    """

    shown = ("num_embeddings", "embedding_dim")

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        weight_init: Initializer | None = None,
        dtype: object = "float32",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.num_embeddings = self.positive("num_embeddings", num_embeddings)
        self.embedding_dim = self.positive("embedding_dim", embedding_dim)
        if padding_idx is not None and padding_idx not in range(self.num_embeddings):
            last = self.num_embeddings - 1
            self.reject(
                f"expected padding_idx to be a row from 0 to {last}, or "
                f"None; got {padding_idx!r}"
            )
        self.padding_idx = padding_idx
        shape = (self.num_embeddings, self.embedding_dim)
        self.weight = self.new_parameter(
            "weight", shape, self._first(weight_init or normal()), dtype=dtype
        )

    def _first(self, initializer: Initializer) -> Initializer:
        """Return the initialiser, with zeros where the padding is."""
        if self.padding_idx is None:
            return initializer

        def values(
            random: np.random.Generator, shape: tuple[int, ...], fans: Fans
        ) -> Array:
            found = np.array(initializer(random, shape, fans))
            if found.shape == shape:
                found[self.padding_idx] = 0
            return found

        return values

    def forward(self, indices: Variable, *, training: bool) -> Variable:
        """Return the rows of the table."""
        rows = take(self.weight, indices, axis=0)
        if self.padding_idx is None:
            return rows
        row = remainder(cast(indices, "int64"), self.num_embeddings)
        padding = expand_dims(equal(row, self.padding_idx), -1)
        return where(padding, stop_gradient(rows), rows)
