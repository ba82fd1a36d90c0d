"""Indices that the host gives and can check itself, before it launches anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import numpy as np

from graphgpu.backends.cuda.drivers.driver import DeviceArray
from graphgpu.backends.cuda.lowering.views import root
from graphgpu.backends.cuda.rules.checks import Range
from graphgpu.backends.cuda.runtime.link import is_given
from graphgpu.backends.cuda.runtime.status import complaint
from graphgpu.backends.cuda.translate import Code, Launch
from graphgpu.dtypes import Array
from graphgpu.nodes import Node

__all__ = ["HostChecks"]


@final
class HostChecks:
    """The checks of a program whose indices are inputs: class labels mostly.

    An error is then raised by the call that it belongs to, as on the CPU, although
    nobody waits for the device.
    """

    def __init__(self, code: Code) -> None:
        self._checks: list[tuple[Node, Range, Launch]] = []
        for launch in code.launches:
            if launch.checks is not None and not launch.checks.guarded:
                node, _ = root(launch.checks.indices, 0)
                if not node.inputs and is_given(node):
                    self._checks.append((node, launch.checks, launch))
        count = sum(x.kernel.status for x in code.launches)
        self._all = len(self._checks) == count

    def raise_if_wrong(self, inputs: Mapping[Node, Array | DeviceArray]) -> bool:
        """Look at the indices; return whether that was all that can be wrong.

        Raises
        ------
        ComputeError
            An index is out of range.
        """
        every = self._all
        for node, wanted, launch in self._checks:
            array = inputs[node]
            if not isinstance(array, np.ndarray):
                every = False
            elif (place := _first_outside(wanted, array)) is not None:
                raise complaint(launch, place)
        return every


def _first_outside(wanted: Range, array: Array) -> int | None:
    """Return the place of the first index that is out of range, if there is one."""
    least, most = np.minimum.reduce(array, None), np.maximum.reduce(array, None)
    if least >= wanted.low and most < wanted.high:
        return None
    wrong = (array < wanted.low) | (array >= wanted.high)
    if wanted.ignored is not None:
        wrong &= array != wanted.ignored
    return int(wrong.argmax()) if wrong.any() else None
