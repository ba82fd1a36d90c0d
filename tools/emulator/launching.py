"""A kernel's launch: arguments to the scheduler, its report to words."""

from __future__ import annotations

import ctypes
import signal
from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np

from emulator.compiler import CompiledKernel, scheduler, source_line
from emulator.memory import Heap

__all__ = ["Dim3", "Order", "run_kernel"]

Dim3: TypeAlias = tuple[int, int, int]
Order: TypeAlias = Literal["forward", "backward", "shuffled"]
CODES = {"forward": 0, "backward": 1, "shuffled": 2}
REASONS = {
    signal.SIGILL: "an array's index out of bounds, an address that is no multiple of "
    "what is read there, a shift by too many bits, or a division by zero",
    signal.SIGFPE: "an integer is divided by zero",
    signal.SIGVTALRM: "the launch takes more than its time: do threads wait in a loop?",
}


class _Three(ctypes.Structure):
    _fields_ = [("x", ctypes.c_uint), ("y", ctypes.c_uint), ("z", ctypes.c_uint)]

    def __str__(self) -> str:
        return f"({self.x}, {self.y}, {self.z})"


class _Report(ctypes.Structure):
    _fields_ = [
        ("signal", ctypes.c_int),
        ("write", ctypes.c_int),
        ("line", ctypes.c_int),
        ("address", ctypes.c_uint64),
        ("offset", ctypes.c_uint64),
        ("block", _Three),
        ("thread", _Three),
        ("file", ctypes.c_char * 256),
        ("message", ctypes.c_char * 512),
    ]


def run_kernel(
    kernel: CompiledKernel,
    grid: Dim3,
    block: Dim3,
    arguments: Sequence[np.generic],
    shared_bytes: int,
    order: Order,
    seed: int,
    seconds: int,
    heap: Heap,
) -> str | None:
    """Run a kernel; return what went wrong, or None."""
    cells = [np.array(value) for value in arguments]
    pointers = (ctypes.c_void_p * (len(cells) + 1))(*[c.ctypes.data for c in cells])
    report = _Report()
    failed = scheduler().emulator_launch(
        ctypes.c_void_p(kernel.call),
        pointers,
        (ctypes.c_uint * 3)(*grid),
        (ctypes.c_uint * 3)(*block),
        ctypes.c_void_p(kernel.shared),
        ctypes.c_size_t(kernel.shared_bytes),
        ctypes.c_size_t(shared_bytes),
        CODES[order],
        ctypes.c_uint64(seed),
        seconds,
        ctypes.byref(report),
    )
    if failed:
        return _words(report, heap)
    for cell, kind in zip(cells, kernel.parameters, strict=True):
        if kind == "pointer" and (stain := heap.stained(int(cell))) is not None:
            return stain
    return None


def _words(report: _Report, heap: Heap) -> str:
    what = report.message.decode()
    where = f"line {report.line}" if report.line else ""
    if report.signal:
        where = source_line(report.file.decode(), report.offset)
        if not what and report.signal == signal.SIGSEGV:
            verb = "writes" if report.write else "reads"
            what = f"{verb} {report.address:#x}: {heap.describe(report.address)}"
        what = what or REASONS.get(report.signal, f"signal {report.signal}")
    place = f"block {report.block}, thread {report.thread}"
    return f"{what} [{', '.join(filter(None, [where, place]))}]"
