"""The CPU, through NumPy."""

from __future__ import annotations

from typing import final

from graphgpu.backends.base import Device, Executable, Task
from graphgpu.backends.numpy.executable import NumpyExecutable

__all__ = ["CPU"]


@final
class CPU(Device):
    """The CPU, through NumPy."""

    name = "cpu"

    def translate(self, task: Task, like: Executable | None = None) -> Executable:
        """Return generated code for the task; it shares the arena of another."""
        shared = like.arena if isinstance(like, NumpyExecutable) else None
        return NumpyExecutable(task, shared)
