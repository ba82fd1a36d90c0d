"""Where elements lie that a kernel reads or writes for the places of a shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from graphgpu.backends.cuda.kernels.text import value_type
from graphgpu.backends.cuda.lowering.views import Window
from graphgpu.backends.cuda.rules.coordinates import strides_of
from graphgpu.backends.cuda.rules.places import Assembled, is_placed, is_places
from graphgpu.nodes import Node

__all__ = ["Source", "broadcast_axes"]


@dataclass(frozen=True, slots=True)
class Source:
    """An array that is read.

    ``axes`` are pairs of a size and a stride, outermost first, with neighbours
    taken as one where that is possible.
    """

    node: Node
    number: int
    axes: tuple[tuple[int, int], ...]
    start: int = 0

    @classmethod
    def of(cls, node: Node, number: int, target: Sequence[int]) -> Source:
        """Return an array, or a part of one, as it is broadcast to a shape."""
        operation = node.operation
        if not isinstance(operation, Window):
            return cls(node, number, broadcast_axes(node.shape, target))
        axes = broadcast_axes(node.shape, target, operation.strides)
        return cls(node, number, axes, operation.start)

    @classmethod
    def written(cls, node: Node, number: int) -> Source:
        """Return the places that an array of its own, or a part, is written to."""
        size = prod(node.shape)
        if not is_placed(node):
            return cls(node, number, ((size, 1),))
        (whole,) = node.readers
        assert isinstance(whole.operation, Assembled)
        axis = whole.operation.axis
        before = whole.inputs[: whole.inputs.index(node)]
        start = sum(prod(n.shape[axis:]) for n in before)
        own, width = prod(node.shape[axis:]), prod(whole.shape[axis:])
        return cls(whole, number, ((size // own, width), (own, 1)), start)

    @property
    def lengths(self) -> list[int]:
        """What a number of places that are taken at once must divide."""
        if not self.axes or (self.whole and not self.start):
            return []
        far = [stride for _, stride in self.axes[:-1]] if self.adjacent else []
        return [self.axes[-1][0], self.start, *far]

    @property
    def single(self) -> bool:
        """Whether it is one element."""
        return all(stride == 0 for _, stride in self.axes)

    @property
    def whole(self) -> bool:
        """Whether its elements are those of the shape, one by one."""
        return len(self.axes) == 1 and self.axes[0][1] == 1

    @property
    def adjacent(self) -> bool:
        """Whether neighbours read neighbours."""
        return bool(self.axes) and self.axes[-1][1] == 1

    def offset(self, suffix: str, place: str = "i") -> str:
        """Return where the element of a place is."""
        terms, inner = [], 1
        total = prod(size for size, _ in self.axes)
        for size, stride in reversed(self.axes):
            text = place if inner == 1 else f"{place} / {inner}{suffix}"
            if inner * size != total:
                text += f" % {size}{suffix}"
            if stride:
                terms.append(text if stride == 1 else f"({text}) * {stride}{suffix}")
            inner *= size
        if self.start:
            terms.append(f"{self.start}{suffix}")
        return " + ".join(f"({t})" if " / " in t else t for t in terms) or "0"

    def element(self, place: str) -> str:
        """Return the text of the element that lies there."""
        if is_places(self.node):
            return f"({value_type(self.node.tensor.dtype)})({place})"
        return f"a{self.number}[{place}]"


def broadcast_axes(
    shape: Sequence[int],
    target: Sequence[int],
    strides: Sequence[int] | None = None,
) -> tuple[tuple[int, int], ...]:
    """Return the sizes and strides of an array that is broadcast to a shape.

    Its own strides are those of C order, if none are given.
    """
    new = (1,) * (len(target) - len(shape))
    far = (*new, *(strides_of(shape) if strides is None else strides))
    shape = (*new, *shape)
    axes: list[tuple[int, int]] = []
    for own, size, stride in zip(shape[::-1], target[::-1], far[::-1], strict=True):
        assert own in (1, size), (shape, target)
        step = stride if own == size else 0
        if size == 1:
            continue
        if axes and step == axes[-1][0] * axes[-1][1]:
            axes[-1] = (axes[-1][0] * size, axes[-1][1])
        else:
            axes.append((size, step))
    return tuple(reversed(axes))
