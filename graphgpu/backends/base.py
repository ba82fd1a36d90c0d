"""What the executor needs of a device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from graphgpu.backends.report import Account, Timings
from graphgpu.dtypes import Array
from graphgpu.nodes import Node
from graphgpu.plan import Plan

__all__ = ["Device", "Executable", "Task"]


@dataclass(frozen=True, eq=False)
class Task:
    """What is to be computed, with its sizes known.

    ``nodes`` are in a topological order; ``updates`` are pairs of a stored leaf
    and its new value.  ``fused`` allows computing nodes together; without it
    each is computed alone, whole, by its operation's ``numpy``.
    """

    nodes: Sequence[Node]
    outputs: Sequence[Node]
    updates: Sequence[tuple[Node, Node]]
    sizes: Mapping[str, int]
    threads: int
    fused: bool = True
    late: frozenset[Node] = frozenset()
    """What is to be computed as late as can be: it is computed again."""
    checked: bool = False
    """Whether every value is to be finite; then nothing is computed together."""
    debug: bool = False
    """Whether the device is to check its own work."""


class Executable(ABC):
    """A task translated for a device. Abstract."""

    @abstractmethod
    def plan(self) -> Plan:
        """Return its memory plan; nothing is allocated for that."""

    @abstractmethod
    def source(self) -> str:
        """Return the generated code."""

    @abstractmethod
    def run(
        self, inputs: Mapping[Node, Array], before_writing: Callable[[], object]
    ) -> list[Array]:
        """Compute, then replace stored values by their new ones; return the outputs.

        The outputs are as they were before anything is replaced, in memory that the
        caller owns.  ``before_writing`` is called in the caller's thread before the
        first value is replaced, and when everything that can fail is through.
        """

    @abstractmethod
    def account(self, node: Node) -> Account:
        """Return where a node of the task is computed, and why."""

    @abstractmethod
    def profile(self, inputs: Mapping[Node, Array], repeat: int) -> Timings:
        """Run ``repeat`` times and return the times; stored values stay as they are."""


class Device(ABC):
    """A device that computes tasks. Abstract."""

    name: str

    @abstractmethod
    def translate(self, task: Task, like: Executable | None = None) -> Executable:
        """Return the task, translated; it may share the memory of another."""
