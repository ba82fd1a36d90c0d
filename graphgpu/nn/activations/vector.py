"""Activation functions of vectors as layers: softmax and its like, maxout, GLU."""

from __future__ import annotations

from typing import final

from graphgpu.nn.activations.scalar import Activation
from graphgpu.ops.activations.grouped import glu, maxout
from graphgpu.ops.activations.normalized import log_softmax, softmax, softmin

__all__ = ["GLU", "LogSoftmax", "Maxout", "Softmax", "Softmin"]


@final
class Maxout(Activation):
    """The largest of each k successive units: :func:`graphgpu.maxout`."""

    function = staticmethod(maxout)

    def __init__(self, k: int = 2, axis: int = 1, *, name: str | None = None) -> None:
        super().__init__(name=name, k=k, axis=axis)
        self.settings["k"] = self.positive("k", k)


@final
class GLU(Activation):
    """a σ(b), of the two halves a and b of x: :func:`graphgpu.glu`."""

    function = staticmethod(glu)

    def __init__(self, axis: int = -1, *, name: str | None = None) -> None:
        super().__init__(name=name, axis=axis)


@final
class Softmax(Activation):
    """e^(x_i) / Σ_j e^(x_j): :func:`graphgpu.softmax`."""

    function = staticmethod(softmax)

    def __init__(self, axis: int = -1, *, name: str | None = None) -> None:
        super().__init__(name=name, axis=axis)


@final
class Softmin(Activation):
    """e^(-x_i) / Σ_j e^(-x_j): :func:`graphgpu.softmin`."""

    function = staticmethod(softmin)

    def __init__(self, axis: int = -1, *, name: str | None = None) -> None:
        super().__init__(name=name, axis=axis)


@final
class LogSoftmax(Activation):
    """x_i - log Σ_j e^(x_j): :func:`graphgpu.log_softmax`."""

    function = staticmethod(log_softmax)

    def __init__(self, axis: int = -1, *, name: str | None = None) -> None:
        super().__init__(name=name, axis=axis)
