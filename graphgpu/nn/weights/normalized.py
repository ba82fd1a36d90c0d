"""Weights by length and direction, and weights divided by their spectral norm.

Both are transforms of a layer's parameter (:meth:`graphgpu.nn.Layer.transform`).
"""

from __future__ import annotations

from typing import TypeVar, final

import numpy as np

from graphgpu.dtypes import Array, accumulator
from graphgpu.errors import GraphError
from graphgpu.graph import Parameter, Variable, current
from graphgpu.nn.convolutions.convolution import Convolution, TransposedConvolution
from graphgpu.nn.dense import Dense, Embedding
from graphgpu.nn.init import constant, generator
from graphgpu.nn.layer import Layer
from graphgpu.ops.arithmetic import maximum
from graphgpu.ops.comparison import not_equal, where
from graphgpu.ops.elementwise import cast
from graphgpu.ops.markers import stop_gradient, with_state_update
from graphgpu.ops.matrix_product import matmul
from graphgpu.ops.norms import normalize
from graphgpu.ops.reduction import any as any_
from graphgpu.ops.reduction import sum
from graphgpu.ops.requirements import widened
from graphgpu.ops.shape import moveaxis

__all__ = ["SpectralNorm", "WeightNorm", "spectral_norm", "weight_norm"]

AnyLayer = TypeVar("AnyLayer", bound=Layer)

_START = 15
"""Power iterations before the first call."""


def weight_norm(
    layer: AnyLayer, attribute: str = "weight", axis: int | None = None
) -> AnyLayer:
    """Let a layer use w = g v / ‖v‖ for a parameter v; return the layer.

    v is the parameter as it was, g a further one, initially ‖v‖: w is as before.
    See :class:`WeightNorm`.

    Parameters
    ----------
    layer
        Any layer, such as a :class:`Dense` or a convolution.
    attribute
        The parameter's name.
    axis
        That of the outputs, each of which has its norm; known of the weights of dense
        layers, tables and convolutions.

    Raises
    ------
    GraphError
        There is no such parameter or axis, or the axis must be given.

    Examples
    --------
    >>> import graphgpu as gg
    >>> layer = gg.nn.weight_norm(gg.nn.Dense(4, 3))
    >>> [p.path for p in layer.parameters()]
    ['dense/weight', 'dense/bias', 'dense/weight_transform/g']
    """
    parameter, known = _parameter(layer, attribute, axis)
    layer.transform(attribute, WeightNorm(parameter, known))
    return layer


def spectral_norm(
    layer: AnyLayer,
    attribute: str = "weight",
    axis: int | None = None,
    n_power_iterations: int = 1,
) -> AnyLayer:
    """Let a layer use w = u / σ(u) for a parameter u; return the layer.

    σ is the largest singular value; see :class:`SpectralNorm`, and for the parameters
    and errors :func:`weight_norm`.

    >>> import graphgpu as gg
    >>> layer = gg.nn.spectral_norm(gg.nn.Conv2d(3, 8, 3))
    >>> x = gg.placeholder("x", ("batch", 3, 16, 16))
    >>> [s.path for s in gg.state_updates(layer(x, training=True))]
    ['conv2d/weight_transform/u']
    """
    parameter, known = _parameter(layer, attribute, axis)
    transform = SpectralNorm(parameter, known, n_power_iterations)
    layer.transform(attribute, transform)
    return layer


@final
class WeightNorm(Layer):
    """A transform of weights: g v / ‖v‖, for every index along an axis.

    The length g of a weight vector is learned apart from its direction v (Salimans
    and Kingma, "Weight normalization", 2016).  ‖v‖ is over all other axes; g is a
    vector, initially ‖v‖ of the parameter given.  Where v is 0, so is the weight.
    """

    shown = ("axis",)

    def __init__(
        self, weight: Parameter, axis: int = 0, *, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.axis = _checked_axis(self, weight, axis)
        value = weight.value.astype("float64")
        length = np.sqrt((_rows(value, self.axis) ** 2).sum(1))
        self.g = self.new_parameter(
            "g", length.shape, constant(length), dtype=weight.dtype
        )

    def forward(self, v: Variable, *, training: bool) -> Variable:
        """Return g v / ‖v‖."""
        others = tuple(a for a in range(v.ndim) if a != self.axis)
        shape = [1] * v.ndim
        shape[self.axis] = -1
        direction = normalize(widened(v), 2, others)
        return cast(widened(self.g).reshape(shape) * direction, v.dtype)


@final
class SpectralNorm(Layer):
    """A transform of weights: w / σ(w), with σ the largest singular value.

    w is taken as a matrix whose rows are the outputs, those along an axis (Miyato,
    Kataoka, Koyama and Yoshida, "Spectral normalization for generative adversarial
    networks", 2018).  σ = uᵀ w v with v ← wᵀ u / ‖wᵀ u‖ and u ← w v / ‖w v‖, repeated
    ``n_power_iterations`` times from the u of the step before: a state, for which the
    training program needs :func:`graphgpu.state_updates`.  Inference does the same
    and stores nothing.

    u and v are constants to the gradient, as in the paper: that of σ is u vᵀ, which
    is exact where the iteration has converged.
    """

    shown = ("axis", "n_power_iterations")

    def __init__(
        self,
        weight: Parameter,
        axis: int = 0,
        n_power_iterations: int = 1,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.axis = _checked_axis(self, weight, axis)
        self.n_power_iterations = self.positive(
            "n_power_iterations", n_power_iterations
        )
        matrix = _rows(weight.value.astype("float64"), self.axis)
        random = generator(current().root.seed, f"{self.path}/u")
        u = random.standard_normal(len(matrix))
        for _ in range(_START):
            after = matrix @ (matrix.T @ u)
            if not after.any():
                break
            u = after / np.sqrt((after**2).sum())
        u /= np.sqrt((u**2).sum())
        self.u = self.new_state("u", u.astype(accumulator(weight.dtype)))

    def forward(self, w: Variable, *, training: bool) -> Variable:
        """Return w / σ; in training, with the update of u."""
        wide = widened(w)
        matrix = moveaxis(wide, self.axis, 0).reshape((w.shape[self.axis], -1))
        fixed = stop_gradient(matrix)
        u: Variable = self.u
        for _ in range(self.n_power_iterations):
            v = normalize(matmul(fixed.T, u), 2, 0)
            ahead = normalize(matmul(fixed, v), 2, 0)
            # A weight of 0 shows no direction, and u must not become 0 for good.
            u = where(any_(not_equal(ahead, 0)), ahead, u)
        norm = sum(u * matmul(matrix, v))
        least = float(np.finfo(accumulator(w.dtype)).tiny)
        result = cast(wide / maximum(norm, least), w.dtype)
        return with_state_update(result, self.u, u) if training else result


def _parameter(layer: Layer, attribute: str, axis: int | None) -> tuple[Parameter, int]:
    """Return a layer's parameter, and the axis of its outputs."""
    if not isinstance(layer, Layer):
        raise GraphError(f"expected a layer, got {layer!r}")
    parameter = layer.owned(attribute)
    if axis is not None:
        return parameter, axis
    if isinstance(layer, Dense | TransposedConvolution):
        return parameter, 1
    if isinstance(layer, Convolution | Embedding):
        return parameter, 0
    last = parameter.ndim - 1
    layer.reject(
        f"expected the axis of the outputs of {attribute!r}, {parameter.type}, to be "
        f"given; write axis={last} if they are along the last axis"
    )


def _checked_axis(layer: Layer, weight: Parameter, axis: int) -> int:
    """Return an axis counted from the front."""
    if isinstance(axis, bool) or not -weight.ndim <= axis < weight.ndim:
        layer.reject(f"expected an axis of {weight.type}; got {axis!r}")
    return axis % weight.ndim


def _rows(value: Array, axis: int) -> Array:
    """Return a matrix with a row for each index along an axis."""
    return np.moveaxis(value, axis, 0).reshape(value.shape[axis], -1)
