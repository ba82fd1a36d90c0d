"""Devices: what computes a program."""

from __future__ import annotations

import re

from graphgpu.backends.base import Device, Executable, Task
from graphgpu.backends.cuda import CudaState
from graphgpu.backends.cuda import probe as cuda_state
from graphgpu.backends.numpy import CPU
from graphgpu.errors import CompileError, DeviceError

__all__ = ["CudaState", "Device", "Executable", "Task", "cuda_state", "select"]


def select(device: str | Device) -> Device:
    """Return the device for ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.

    A device is returned as it is.

    Raises
    ------
    DeviceError
        CUDA was asked for and cannot be used.
    CompileError
        There is no such device.
    """
    if isinstance(device, Device):
        return device
    if device in ("auto", "cpu"):
        return CPU()
    if isinstance(device, str) and re.fullmatch(r"cuda(:\d+)?", device):
        raise DeviceError(f"device={device!r} cannot be used: {cuda_state()}")
    raise CompileError(
        f"expected a device 'auto', 'cpu', 'cuda' or 'cuda:N'; got {device!r}"
    )
