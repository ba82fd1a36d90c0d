"""The CPU: every operation by its ``numpy`` slot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import numpy as np

from graphgpu.backends.base import Device, Step
from graphgpu.backends.numpy.blas import one_thread
from graphgpu.dtypes import Array
from graphgpu.errors import GraphGPUError
from graphgpu.graph import failure

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
                with one_thread(), np.errstate(all="ignore"):
                    for function, inputs, output, release in calls:
                        slots[output] = function(*[slots[i] for i in inputs])
                        for slot in release:
                            slots[slot] = None
                        done += 1
            except GraphGPUError:
                raise
            except Exception as error:
                step = steps[done]
                given = [slots[i] for i in step.inputs]
                raise failure(step.variable, step.operation, given, error) from error

        return run

    def output(self, value: Any, shared: Mapping[int, Any]) -> Array:
        """Copy what is a view, or what someone else holds."""
        array = np.asarray(value)
        others = array.base is not None or not array.flags.writeable
        if others or id(array) in shared:
            return array.copy()
        return array
