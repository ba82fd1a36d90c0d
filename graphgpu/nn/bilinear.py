"""Layers whose inputs multiply each other."""

from __future__ import annotations

from typing import final

from graphgpu.graph import Variable
from graphgpu.nn.init import Fans, Initializer, glorot_uniform, zeros
from graphgpu.nn.layer import Layer
from graphgpu.ops.multiplicative import bilinear

__all__ = ["Bilinear", "Quadratic"]


@final
class Bilinear(Layer):
    """y_k = Σ_ij x1_i W_kij x2_j + b_k, for two inputs: each gates the other.

    See :func:`graphgpu.bilinear`.  An output sums in1 · in2 products, which is its
    fan-in; initial weights are Glorot's uniform ones, biases 0.

    Parameters
    ----------
    in1_features, in2_features, out_features
        The sizes of the last axes of the inputs and of the output.
    bias
        Whether there is b.
    weight_init, bias_init
        Initialisers, of :mod:`graphgpu.nn.init` or your own.
    dtype
        The dtype of the parameters.
    name
        The layer's name, ``"bilinear"`` by default.

    Examples
    --------
    >>> import graphgpu as gg
    >>> layer = gg.nn.Bilinear(4, 5, 3)
    >>> layer.weight.type
    float32[3,4,5]
    >>> x, z = gg.placeholder("x", ("batch", 4)), gg.placeholder("z", ("batch", 5))
    >>> layer(x, z).type
    float32[batch,3]
    """

    shown = ("in1_features", "in2_features", "out_features")

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        *,
        weight_init: Initializer | None = None,
        bias_init: Initializer | None = None,
        dtype: object = "float32",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.in1_features = self.positive("in1_features", in1_features)
        self.in2_features = self.positive("in2_features", in2_features)
        self.out_features = self.positive("out_features", out_features)
        shape = (out_features, in1_features, in2_features)
        fans = Fans(in1_features * in2_features, out_features)
        self.weight = self.new_parameter(
            "weight", shape, weight_init or glorot_uniform(), fans, dtype
        )
        self.bias = (
            self.new_parameter("bias", shape[:1], bias_init or zeros(), dtype=dtype)
            if bias
            else None
        )

    def forward(self, x1: Variable, x2: Variable, *, training: bool) -> Variable:
        """Return the form of both inputs."""
        self.require_size(x1, -1, self.in1_features, "features of the first input")
        self.require_size(x2, -1, self.in2_features, "features of the second input")
        return bilinear(x1, x2, self.weight, self.bias)


@final
class Quadratic(Layer):
    """y_k = Σ_ij x_i W_kij x_j + b_k = xᵀ W_k x + b_k: a quadratic form by output.

    A :class:`Bilinear` of one input twice, with the same parameters; see also
    :func:`graphgpu.quadratic_form`.  Only (W_k + W_kᵀ) / 2 counts.

    >>> import graphgpu as gg
    >>> layer = gg.nn.Quadratic(4, 3)
    >>> [p.shape for p in layer.parameters()]
    [(3, 4, 4), (3,)]
    >>> layer(gg.placeholder("x", ("batch", 4))).type
    float32[batch,3]
    """

    shown = ("in_features", "out_features")

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        weight_init: Initializer | None = None,
        bias_init: Initializer | None = None,
        dtype: object = "float32",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.in_features = self.positive("in_features", in_features)
        self.out_features = self.positive("out_features", out_features)
        self.form = Bilinear(
            in_features,
            in_features,
            out_features,
            bias,
            weight_init=weight_init,
            bias_init=bias_init,
            dtype=dtype,
        )

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return the form of the input with itself."""
        self.require_size(x, -1, self.in_features, "features")
        values: Variable = self.form(x, x, training=training)
        return values
