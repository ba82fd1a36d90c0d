"""A GPU as a device of programs."""

from __future__ import annotations

from typing import final

from graphgpu.backends.base import Device, Executable, Task
from graphgpu.backends.cuda.driver import Driver
from graphgpu.backends.cuda.executable import CudaExecutable
from graphgpu.backends.cuda.store import Store

__all__ = ["CUDA"]


@final
class CUDA(Device):
    """A GPU, or what stands for one; its programs share the memory of parameters."""

    def __init__(self, driver: Driver) -> None:
        self.name = driver.name
        self._driver = driver
        self._store = Store(driver)

    def translate(self, task: Task, like: Executable | None = None) -> Executable:
        """Return the task as launches."""
        return CudaExecutable(task, self._driver, self._store)
