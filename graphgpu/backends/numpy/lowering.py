"""Pairs of operations that are computed as one on tiles.

The gradient of max pooling is two operations in the graph: the places of the
maxima, integers, and the scattering of a gradient to these places.  In NumPy it
is faster to compare the input with the maxima again, in cache.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from graphgpu.backends.numpy.tiles.windows import PoolingKernel
from graphgpu.dtypes import Array
from graphgpu.nodes import Node
from graphgpu.ops.pooling_operations import MaxPool, MaxPoolIndices, MaxPooling
from graphgpu.ops.window_picks import Geometry, WindowScatter
from graphgpu.ops.windows import Pairs
from graphgpu.types import Guards, TensorType

__all__ = ["MaxPoolGradient", "lower"]


@dataclass(frozen=True, slots=True)
class MaxPoolGradient(MaxPooling):
    """x[j] = Σ G[p] over the windows p whose first maximum, or NaN, is at j.

    The inputs are x, G and, where they are known, the maxima.
    """

    call = "max_pool{}d_gradient"

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Pairs
    dilation: tuple[int, ...]
    ceil_mode: bool

    def infer(self, guards: Guards, x: TensorType, *_: TensorType) -> TensorType:
        """Return the type of x."""
        return x

    def numpy(self, x: Array, grad: Array, *_: Array) -> Array:
        """Scatter to the places of the maxima."""
        geometry = geometry_of(self)
        picks = MaxPoolIndices(*geometry, self.ceil_mode).numpy(x)
        return WindowScatter(x.shape, geometry).numpy(grad, picks)


def geometry_of(operation: MaxPooling) -> Geometry:
    """Return kernel, stride, padding and dilation."""
    kernel, stride = operation.kernel, operation.stride
    return kernel, stride, operation.padding, operation.dilation


def lower(nodes: Sequence[Node], wanted: Collection[Node]) -> list[Node]:
    """Make such a pair one node, and drop the places that nothing else reads.

    ``nodes`` are in a topological order.  They are changed in place, so what
    reads them stays as it is; ``wanted`` are those that are never dropped.
    """
    place = {node: k for k, node in enumerate(nodes)}
    dropped: set[Node] = set()
    for node in nodes:
        if not _is_gradient(node):
            continue
        grad, picks = node.inputs
        (x,) = picks.inputs
        operation = picks.operation
        assert isinstance(operation, MaxPoolIndices)
        before = [y for y in _maxima(x, operation) if place[y] < place[node]]
        _replace(node, operation, (x, grad, *before[:1]))
        if not picks.readers and picks not in wanted:
            x.readers.remove(picks)
            dropped.add(picks)
    return [n for n in nodes if n not in dropped]


def _is_gradient(node: Node) -> bool:
    """Whether a node is the gradient of max pooling that a kernel can compute."""
    if not isinstance(node.operation, WindowScatter):
        return False
    picks = node.inputs[1]
    if not isinstance(picks.operation, MaxPoolIndices):
        return False
    (x,) = picks.inputs
    same = x.type == node.type and x.tensor.ndim == 4
    windows = node.operation.geometry == geometry_of(picks.operation)
    return same and windows and PoolingKernel.fits(x.shape, 2, x.tensor.dtype)


def _maxima(x: Node, operation: MaxPoolIndices) -> list[Node]:
    """Return the nodes that have the maxima of x under the same windows."""
    wanted = MaxPool(*geometry_of(operation), operation.ceil_mode)
    return [n for n in x.readers if n.operation == wanted]


def _replace(node: Node, windows: MaxPoolIndices, inputs: tuple[Node, ...]) -> None:
    """Give a node another operation and other inputs, which then know of it."""
    for parent in dict.fromkeys(node.inputs):
        parent.readers.remove(node)
    for parent in dict.fromkeys(inputs):
        parent.readers.append(node)
    node.inputs = inputs
    node.operation = MaxPoolGradient(*geometry_of(windows), windows.ceil_mode)
