"""Weights that are made of fewer numbers, or of those of another layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, final

import numpy as np

from graphgpu.dtypes import is_integer
from graphgpu.graph import Stored, Variable, constant
from graphgpu.nn.arguments import kind
from graphgpu.nn.init import Initializer, fans_of, glorot_uniform
from graphgpu.nn.layer import Layer
from graphgpu.ops.indexing import take
from graphgpu.ops.shape import matrix_transpose
from graphgpu.ops.triangular import triu

__all__ = ["Circulant", "Symmetric", "Tied", "TiedComponents"]


@final
class Tied(Layer):
    """w = v or vᵀ, where v is a parameter of another layer.

    What the other trains, this one uses, and the gradients of both uses add up.  An
    autoencoder whose decoder has the encoder's weight, transposed:

    >>> import graphgpu as gg
    >>> encoder = gg.nn.Dense(8, 3, activation=gg.tanh)
    >>> decoder = gg.nn.Dense(3, 8)
    >>> decoder = decoder.replace("weight", gg.nn.Tied(encoder, transpose=True))
    >>> model = gg.nn.Sequential(encoder, decoder)
    >>> [p.path for p in model.parameters()]
    ['0/weight', '0/bias', '1/bias']

    Parameters
    ----------
    layer
        The other layer, whose place and name stay as they are.
    attribute
        The name of its parameter; if it is a function of others there, its value.
    transpose
        Whether w is the transpose.
    name
        The layer's name, ``"tied"`` by default.
    """

    shown = ("attribute", "transpose")

    def __init__(
        self,
        layer: Layer,
        attribute: str = "weight",
        transpose: bool = False,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        if not isinstance(layer, Layer):
            self.reject(
                f"expected a layer, one of whose parameters is to be used; got "
                f"{kind(layer)}"
            )
        self.attribute = attribute
        self.transpose = transpose
        # Not the layer itself, which would become a part of this one.
        self._value, self._made_of = layer.value, layer.made_of
        self._made_of(attribute)  # complains where there is no such parameter

    def _stored(self) -> Iterator[Stored]:
        yield from self._made_of(self.attribute)

    def forward(self, *, training: bool) -> Variable:
        """Return the other layer's weight."""
        value = self._value(self.attribute, training=training)
        return matrix_transpose(value) if self.transpose else value


@final
class TiedComponents(Layer):
    """w_i = u_{t(i)}: the components of a weight that are tied are one number.

    Lang and Hinton's time-delay networks and LeCun's convolutions tie components so
    (*Deep Learning*, sections 7.9 and 9.2); the gradient of u_k is the sum of those
    of all w_i with t(i) = k.

    Parameters
    ----------
    index
        Integers t of the shape of w, from 0.
    init
        An initialiser of u, with the fans of w: Glorot's uniform one by default.
    dtype
        The dtype of u.
    name
        The layer's name, ``"tied_components"`` by default.

    Examples
    --------
    >>> import graphgpu as gg
    >>> toeplitz = gg.nn.TiedComponents([[1, 2, 3], [0, 1, 2]])
    >>> layer = gg.nn.Dense(2, 3, bias=False).replace("weight", toeplitz)
    >>> layer.parameters()
    [<dense/weight/values: float32[4]>]
    """

    def __init__(
        self,
        index: Any,
        *,
        init: Initializer | None = None,
        dtype: object = "float32",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.index = np.asarray(index)
        if not is_integer(self.index.dtype) or not self.index.size:
            self.reject("expected an array of integers, one for each component")
        if self.index.min() < 0:
            self.reject(f"expected integers from 0, got {int(self.index.min())}")
        self.values = self.new_parameter(
            "values",
            (int(self.index.max()) + 1,),
            init or glorot_uniform(),
            fans_of(self.index.shape),
            dtype,
        )

    def forward(self, *, training: bool) -> Variable:
        """Return w."""
        return take(self.values, constant(self.index), axis=0)


@final
class Circulant(Layer):
    """W_ij = c_{(j - i) mod n}: n numbers for n² weights; xW is circular convolution.

    (xW)_j = Σ_i x_i c_{(j - i) mod n} (*Deep Learning*, section 9.1, of one axis).

    >>> import graphgpu as gg
    >>> circulant = gg.nn.Circulant(4)
    >>> layer = gg.nn.Dense(4, 4, bias=False).replace("weight", circulant)
    >>> layer.parameters()
    [<dense/weight/tied/values: float32[4]>]
    """

    shown = ("size",)

    def __init__(
        self,
        size: int,
        *,
        init: Initializer | None = None,
        dtype: object = "float32",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.size = self.positive("size", size)
        places = np.arange(self.size)
        index = (places - places[:, None]) % self.size
        self.tied = TiedComponents(index, init=init, dtype=dtype)

    def forward(self, *, training: bool) -> Variable:
        """Return the matrix."""
        matrix: Variable = self.tied(training=training)
        return matrix


@final
class Symmetric(Layer):
    """W = U⁺ + (U⁺⁺)ᵀ of the triangles on and above, and above, the diagonal of U.

    A symmetric matrix of n (n + 1) / 2 numbers; the rest of U counts for nothing and
    its gradient is 0.  ``skew`` gives the antisymmetric U⁺⁺ - (U⁺⁺)ᵀ of
    n (n - 1) / 2.

    >>> import graphgpu as gg
    >>> layer = gg.nn.Dense(2, 2, bias=False)
    >>> layer = layer.transform("weight", gg.nn.Symmetric())
    >>> layer.weight.value = [[1.0, 2.0], [0.0, 3.0]]
    >>> gg.evaluate(layer.value("weight"))
    array([[1., 2.],
           [2., 3.]], dtype=float32)
    """

    shown = ("skew",)

    def __init__(self, skew: bool = False, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.skew = skew

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return the matrix of the upper triangle of x."""
        above = matrix_transpose(triu(x, 1))
        return triu(x, 1) - above if self.skew else triu(x) + above
