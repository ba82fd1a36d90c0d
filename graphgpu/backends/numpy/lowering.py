"""Operations as the kernels on tiles compute them.

The gradient of max pooling is two operations in the graph: the places of the
maxima, which are found in the backward pass and need the pooling's input, and the
scattering of a gradient to these places.  Here the forward pass notes which tap
of each window is its maximum: a byte, where the input has several numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from graphgpu.backends.numpy.tiles.windows import PoolingKernel
from graphgpu.dtypes import Array
from graphgpu.graph import Operation
from graphgpu.nodes import Node
from graphgpu.ops.pooling_operations import MaxPool, MaxPoolIndices, MaxPooling
from graphgpu.ops.window_picks import Geometry, WindowScatter
from graphgpu.ops.windows import Pairs, known, taps
from graphgpu.types import Guards, Shape, TensorType, Type

__all__ = ["MaxPoolGradient", "MaxPoolTaps", "lower"]


@dataclass(frozen=True, slots=True)
class MaxPoolTaps(MaxPooling):
    """The first tap of each window of x that is its maximum y, or NaN.

    Taps that are not padding everywhere are counted in row-major order; their
    number stands for none of them, in a window that has nothing but padding.
    """

    call = "max_pool{}d_taps"

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Pairs
    dilation: tuple[int, ...]
    ceil_mode: bool

    def infer(self, guards: Guards, x: TensorType, *maxima: TensorType) -> TensorType:
        """Return the shape of the maxima, in the least unsigned integer."""
        (y,) = maxima
        return TensorType(np.min_scalar_type(prod(self.kernel)), y.shape)

    def numpy(self, x: Array, y: Array) -> Array:
        """Go through the taps from the last to the first."""
        slices = list(taps(self.sliding, x.shape[2:], y.shape[2:]))
        result = np.full(y.shape, len(slices), np.min_scalar_type(prod(self.kernel)))
        for tap, (_, outputs, inputs) in reversed(list(enumerate(slices))):
            value, part = x[:, :, *inputs], result[:, :, *outputs]
            part[(value == y[:, :, *outputs]) | np.isnan(value)] = tap
        return result


@dataclass(frozen=True, slots=True)
class MaxPoolGradient(MaxPooling):
    """x[j] = Σ G[p] over the windows p of which the given tap is at j."""

    call = "max_pool{}d_gradient"

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Pairs
    dilation: tuple[int, ...]
    ceil_mode: bool
    shape: Shape

    def infer(self, guards: Guards, x: TensorType, *_: TensorType) -> TensorType:
        """Return the type of what was pooled."""
        return TensorType(x.dtype, self.shape)

    def numpy(self, grad: Array, chosen: Array) -> Array:
        """Add tap after tap to where it lies."""
        result = np.zeros(known(self.shape), grad.dtype)
        slices = taps(self.sliding, result.shape[2:], grad.shape[2:])
        for tap, (_, outputs, inputs) in enumerate(slices):
            hit = chosen[:, :, *outputs] == tap
            result[:, :, *inputs] += np.where(hit, grad[:, :, *outputs], 0)
        return result


def lower(nodes: Sequence[Node], wanted: Collection[Node]) -> list[Node]:
    """Let gradients of max pooling read taps, found as soon as there are maxima.

    ``nodes`` are in a topological order.  They are changed in place, so what
    reads them stays as it is; ``wanted`` are those whose values do not change.
    """
    place = {node: k for k, node in enumerate(nodes)}
    gradients: dict[Node, list[Node]] = {}
    for node in nodes:
        if _is_gradient(node):
            gradients.setdefault(node.inputs[1], []).append(node)
    instead = {picks: [picks] for picks in gradients}
    for picks, readers in gradients.items():
        windows = picks.operation
        assert isinstance(windows, MaxPoolIndices)
        y = _maxima(picks, place, place[readers[0]])
        here = instead.setdefault(y, [y]) if y in place else instead[picks]
        here += [] if y in place else [y]
        taps = picks
        if picks in wanted or len(readers) < len(picks.readers):
            taps = _made(picks, picks.inputs, picks.type)
        else:
            instead[picks].remove(picks)
        here.append(taps)
        operation = MaxPoolTaps(*_settings(windows))
        taps.type = operation.infer(Guards(), taps.inputs[0].tensor, y.tensor)
        _replace(taps, operation, (*picks.inputs, y))
        for node in readers:
            gradient = MaxPoolGradient(*_settings(windows), shape=node.shape)
            _replace(node, gradient, (node.inputs[0], taps))
    return [n for node in nodes for n in instead.get(node, [node])]


def _is_gradient(node: Node) -> bool:
    """Whether a node is the gradient of max pooling that a kernel can compute."""
    if not isinstance(node.operation, WindowScatter):
        return False
    picks = node.inputs[1]
    if not isinstance(picks.operation, MaxPoolIndices):
        return False
    (x,) = picks.inputs
    same = x.type == node.type and x.tensor.ndim == 4
    windows = node.operation.geometry == _geometry(picks.operation)
    return same and windows and PoolingKernel.fits(x.shape, 2, x.tensor.dtype)


def _geometry(windows: MaxPooling) -> Geometry:
    return windows.kernel, windows.stride, windows.padding, windows.dilation


def _settings(
    windows: MaxPooling,
) -> tuple[tuple[int, ...], tuple[int, ...], Pairs, tuple[int, ...], bool]:
    return *_geometry(windows), windows.ceil_mode


def _maxima(picks: Node, place: dict[Node, int], soon: int) -> Node:
    """Return the maxima: those that are known before the place ``soon``, or new."""
    (x,) = picks.inputs
    windows = picks.operation
    assert isinstance(windows, MaxPoolIndices)
    pool = MaxPool(*_settings(windows))
    same = [n for n in x.readers if n.operation == pool]
    found = [n for n in same if place.get(n, soon) < soon]
    if found:
        return min(found, key=place.__getitem__)
    made = _made(picks, (x,), TensorType(x.tensor.dtype, picks.shape))
    made.operation = pool
    return made


def _made(like: Node, inputs: tuple[Node, ...], type_: Type) -> Node:
    """Return a new node that stands for a part of another."""
    node = Node(like.index, like.variable, like.operation, inputs, type_)
    for parent in inputs:
        parent.readers.append(node)
    return node


def _replace(node: Node, operation: Operation, inputs: tuple[Node, ...]) -> None:
    """Give a node another operation and other inputs, which then know of it."""
    for parent in dict.fromkeys(node.inputs):
        parent.readers.remove(node)
    for parent in dict.fromkeys(inputs):
        parent.readers.append(node)
    node.inputs = inputs
    node.operation = operation
