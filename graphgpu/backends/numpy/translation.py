"""A program in translation: where its values live, and how code names them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from graphgpu.backends.numpy.loops import Work
from graphgpu.backends.numpy.residence import Residence
from graphgpu.backends.numpy.storage import BLOCK, Block, Buffer, Partition, Scope, View
from graphgpu.dtypes import DType
from graphgpu.nodes import Node
from graphgpu.types import TupleType

__all__ = ["Statement", "Translation", "Value", "label_of", "sized"]


@dataclass(frozen=True, eq=False, slots=True)
class Value:
    """An array in generated code: a view, and whether it is a tile [H, B, W, C]."""

    view: View
    shape: tuple[int, ...]
    """The shape of the array for a block; :data:`BLOCK` is the images' number."""
    tile: bool = False

    def plain(self) -> Value:
        """Return it with axes as the graph has them."""
        if not self.tile:
            return self
        h, b, w, c = self.shape
        turned = self.view.then("plain", lambda a, _: a.transpose(1, 3, 0, 2))
        return Value(turned, (b, c, h, w))

    def as_tile(self) -> Value:
        """Return it with axes [H, B, W, C]."""
        if self.tile:
            return self
        b, c, h, w = self.shape
        turned = self.view.then("tile", lambda a, _: a.transpose(2, 0, 3, 1))
        return Value(turned, (h, b, w, c), tile=True)

    @property
    def dtype(self) -> DType:
        """The dtype of the elements."""
        return self.view.buffer.dtype


@dataclass(frozen=True, slots=True)
class Statement:
    """A line of generated code, and the node that it computes (part of)."""

    text: str
    node: Node


@dataclass(eq=False)
class Translation:
    """The program in translation: its values' homes, and its buffers in order."""

    work: Work
    residence: Residence
    cuts: dict[str, Partition]
    lanes: int
    plain: bool = False
    """Whether every operation's ``numpy`` is called, and nothing else."""
    homes: dict[Node, tuple[Value, ...]] = field(default_factory=dict)
    partials: dict[Node, Buffer] = field(default_factory=dict)
    """Where the parts of sums over the batch are."""
    plans: dict[Node, Any] = field(default_factory=dict)
    """How the parts of a gradient of kernels are laid out."""
    together: dict[Node, tuple[Node, ...]] = field(default_factory=dict)
    """What a node that stands for several computes: a family's step."""
    buffers: list[Buffer] = field(default_factory=list)
    clock: int = 0
    late: Collection[Node] = ()
    """What is computed again, as late as can be."""
    shared: bool = False
    """Whether values are to lie in memory that other processes see."""
    memo: dict[Any, Any] = field(default_factory=dict)

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """Return what was made for the key in this program, or make it."""
        if key not in self.memo:
            self.memo[key] = make()
        return self.memo[key]

    def buffer(
        self,
        label: str,
        shape: tuple[int, ...],
        dtype: DType,
        scope: Scope = "whole",
        **options: Any,
    ) -> Buffer:
        """Return a new buffer of the arena."""
        made = Buffer(label, shape, dtype, scope, **options)
        self.buffers.append(made)
        return made


def label_of(node: Node, index: int = 0) -> str:
    """Return the name of a node's value in the code."""
    if node.operation is None:
        path = re.sub(r"\W+", "_", node.variable.path).strip("_")
        kind = "of_" * path[:1].isdigit() + path
    else:
        kind = node.operation.kind()
    part = f"_{index}" if isinstance(node.type, TupleType) else ""
    return f"{kind}_{node.index}{part}"


def sized(shape: tuple[int, ...], block: Block | None) -> tuple[int, ...]:
    """Return the shape for a block."""
    if block is None:
        return shape
    return tuple(block.size if s == BLOCK else s for s in shape)
