"""The CPU: every operation by its ``numpy`` slot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import numpy as np

from graphgpu.backends.base import Device, Step
from graphgpu.dtypes import Array
from graphgpu.errors import ComputeError, GraphGPUError
from graphgpu.graph import describe

__all__ = ["CPU"]


@final
class CPU(Device):
    """The CPU, through NumPy."""

    name = "cpu"

    def prepare(self, steps: Sequence[Step]) -> Callable[[list[Any]], None]:
        """Return a loop over the steps."""
        calls = [(s.operation.numpy, s.inputs, s.output, s.release) for s in steps]

        def run(slots: list[Any]) -> None:
            done = 0
            try:
                with np.errstate(all="ignore"):
                    for function, inputs, output, release in calls:
                        slots[output] = function(*[slots[i] for i in inputs])
                        for slot in release:
                            slots[slot] = None
                        done += 1
            except GraphGPUError:
                raise
            except Exception as error:
                raise _failed(steps[done], slots, error) from error

        return run

    def output(self, value: Any, shared: Mapping[int, Any]) -> Array:
        """Copy what is a view, or what someone else holds."""
        array = np.asarray(value)
        if array.base is not None or id(array) in shared:
            return array.copy()
        return array


def _failed(step: Step, slots: Sequence[Any], error: Exception) -> ComputeError:
    got = " and ".join(_described(slots[i]) for i in step.inputs)
    return ComputeError(
        f"{step.operation} failed: {error}; got {got or 'no inputs'}; "
        f"{describe(step.variable)} no state was changed"
    )


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray | np.generic):
        return f"{value.dtype.name}{list(value.shape)}"
    return type(value).__name__
