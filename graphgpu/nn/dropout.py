"""Dropout as a layer."""

from __future__ import annotations

from typing import final

from graphgpu.graph import Variable
from graphgpu.nn.layer import Layer
from graphgpu.ops.noise import dropout

__all__ = ["Dropout"]


@final
class Dropout(Layer):
    """In training, zeroes elements with probability p; the others are / (1 - p).

    Otherwise it passes its input on.  See :func:`graphgpu.dropout`.

    >>> import graphgpu as gg
    >>> layer = gg.nn.Dropout(0.2)
    >>> x = gg.placeholder("x", ("batch", 3))
    >>> layer(x) is x, layer(x, training=True) is x
    (True, False)
    """

    shown = ("p",)

    def __init__(self, p: float = 0.5, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.p = p
        if not isinstance(p, int | float) or not 0 <= p <= 1:
            self.reject(f"expected a probability p from 0 to 1, got {p!r}")

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return x with dropout if it is for training."""
        return dropout(x, self.p, training=training)
