"""Weights that another network makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from graphgpu.graph import Variable
from graphgpu.nn.init import Initializer, normal
from graphgpu.nn.layer import Layer

__all__ = ["Hypernetwork"]


@final
class Hypernetwork(Layer):
    """w = N(z), in a shape: a network N that gives another layer's weights.

    The code z, a vector of its own for each weight that is generated, and the
    parameters of N are learned; N may serve many layers, which then differ in their
    codes alone.  Ha, Dai and Le, "HyperNetworks", 2017, section 3.1.

    Parameters
    ----------
    network
        A layer from (code_features,) to as many numbers as the shape has.
    code_features
        The length of z.
    shape
        The shape of w.
    code_init
        An initialiser of z, N(0, 1) by default.  With it, the network's own decide
        how large w is at first.
    dtype
        The dtype of z.
    name
        The layer's name, ``"hypernetwork"`` by default.

    Examples
    --------
    >>> import graphgpu as gg
    >>> generator = gg.nn.Dense(2, 12)
    >>> weight = gg.nn.Hypernetwork(generator, 2, (3, 4))
    >>> layer = gg.nn.Dense(3, 4, bias=False).replace("weight", weight)
    >>> [p.path for p in layer.parameters()]
    ['dense/weight/network/weight', 'dense/weight/network/bias', 'dense/weight/code']
    """

    shown = ("shape",)

    def __init__(
        self,
        network: Layer,
        code_features: int,
        shape: int | Sequence[int],
        *,
        code_init: Initializer | None = None,
        dtype: object = "float32",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        if not isinstance(network, Layer):
            self.reject(f"expected a layer as the network, got {network!r}")
        self.network = network
        sizes = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
        self.shape = tuple(self.positive("sizes in the shape", s) for s in sizes)
        features = self.positive("code_features", code_features)
        self.code = self.new_parameter(
            "code", (features,), code_init or normal(), dtype=dtype
        )

    def forward(self, *, training: bool) -> Variable:
        """Return the weights that the network gives for the code."""
        weights: Variable = self.network(self.code, training=training)
        return weights.reshape(self.shape)
