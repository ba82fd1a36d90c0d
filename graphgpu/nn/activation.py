"""Activation functions as layers; :class:`~graphgpu.nn.Function` makes any other."""

from __future__ import annotations

from typing import final

from graphgpu.nn.layer import Function
from graphgpu.ops.activation import relu, sigmoid
from graphgpu.ops.trigonometric import tanh

__all__ = ["ReLU", "Sigmoid", "Tanh"]


@final
class ReLU(Function):
    """The rectified linear unit, :func:`graphgpu.relu`."""

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(relu, name=name)


@final
class Sigmoid(Function):
    """The logistic sigmoid, :func:`graphgpu.sigmoid`."""

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(sigmoid, name=name)


@final
class Tanh(Function):
    """The hyperbolic tangent, :func:`graphgpu.tanh`."""

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(tanh, name=name)
