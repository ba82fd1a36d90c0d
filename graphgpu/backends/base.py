"""What the executor needs of a device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphgpu.dtypes import Array
from graphgpu.graph import Operation, Variable

__all__ = ["Device", "Step"]


@dataclass(frozen=True, slots=True)
class Step:
    """One operation of a schedule, with sizes known, reading and writing slots."""

    variable: Variable
    operation: Operation
    inputs: tuple[int, ...]
    output: int
    release: tuple[int, ...]
    """The slots whose values are not needed after this step."""


class Device(ABC):
    """A device that computes schedules. Abstract."""

    name: str

    @abstractmethod
    def prepare(self, steps: Sequence[Step]) -> Callable[[list[Any]], None]:
        """Return a function that runs the steps on a list of slots."""

    @abstractmethod
    def output(self, value: Any, shared: Mapping[int, Any]) -> Array:
        """Return a value as memory that the caller owns.

        ``shared`` maps ``id`` to arrays that others hold.
        """
