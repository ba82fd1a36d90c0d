"""Lanes of other processes, which have interpreters, and locks of them, of their own.

Two threads of one interpreter wait for each other between NumPy's calls; a second
process does not, which takes a tenth to a fifth off a step of ResNet-20, and to
meet one takes 2 us.  What is computed is the same.  Parts run as in
:mod:`graphgpu.backends.numpy.lanes`, except that the caller runs all actions.

Threads share the lanes until the processes have started and loaded the program,
while they compute for another Python thread, in a forked child, and when one is
lost.
"""

from __future__ import annotations

import io
import os
import pickle
import platform
import sys
import time
import types
import warnings
import weakref
from collections.abc import Sequence
from importlib import import_module
from itertools import count
from typing import Any, final

import numpy as np

from graphgpu.backends.numpy.lanes import Lanes, Part
from graphgpu.backends.numpy.shared_memory import Directory
from graphgpu.backends.numpy.team import LostError, Payload, Team, current_team
from graphgpu.backends.numpy.worker import MOST_FILES, LaneCode
from graphgpu.dtypes import Array
from graphgpu.errors import DeviceError

__all__ = [
    "LaneCode",
    "ProcessLanes",
    "UnshareableError",
    "current_team",
    "unavailable",
]

_TRUSTED = frozenset(
    "graphgpu numpy ml_dtypes builtins functools operator math itertools _operator "
    "collections importlib os sys time".split()
)
"""Where the classes and functions come from that a process may be sent: importing
a user's module would run it again."""

_numbers = count(1)


@final
class UnshareableError(Exception):
    """A program that other processes cannot be sent."""


def unavailable() -> str | None:
    """Return why lanes cannot be computed by other processes here, if so."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "processes share memory in the order of x86-64 Linux alone"
    if len(os.sched_getaffinity(0)) < 2:
        return "there is one core"
    name = os.path.basename(sys.executable or "")
    if not name.startswith("python") or getattr(sys, "frozen", False):
        return f"the program is no Python interpreter: {sys.executable!r}"
    return None


@final
class ProcessLanes:
    """The lanes of one program, shared by the processes of a team.

    Parameters
    ----------
    parts
        As in :meth:`Lanes.run`; a parallel function is called here for the
        caller's lanes, and known to a process by its ``__name__``.
    codes
        For each lane the source that defines those functions, and the names that
        it uses.  Arrays that are written lie in blocks of
        :func:`~graphgpu.backends.numpy.shared_memory.allocate`; others are
        constants, and read-only.
    team
        From :func:`current_team`, which may have been asked long before.
    repeatable
        Whether the parts can be done again from the first on: then threads do them
        where a process is lost among them.

    Raises
    ------
    UnshareableError
        The names have an array that is not shared, or something that no other
        process can be given.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        codes: Sequence[LaneCode],
        team: Team,
        repeatable: bool = False,
    ) -> None:
        self._parts = list(parts)
        self._repeatable = repeatable
        self._threads = Lanes(len(codes), team.size)
        self._lanes = range(0, len(codes), team.size)
        self._number = next(_numbers)
        self._team = team
        self._ready = False
        self._given_up = False
        names = [p.parallel.__name__ for p in parts if p.parallel]
        payloads = [
            _payload(codes, range(member, len(codes), team.size), names)
            for member in range(1, team.size)
        ]
        team.load(self._number, payloads)
        weakref.finalize(self, team.forget, self._number).atexit = False

    def run(self) -> None:
        """Do the parts; return when every process is through.

        Raises
        ------
        DeviceError
            A process ended within the step, which is not repeatable. Some parts may
            have been computed; later steps are shared by threads.
        BaseException
            What a lane or an action raised, as :meth:`Lanes.run` does.  One of
            another process has the lines that it passed as ``lane_lines``.
        """
        team = self._team
        if not self._given_up and team.lock.acquire(blocking=False):
            try:
                if not team.running and self._is_ready():
                    team.run(self._number, self._parts, self._lanes)
                    return
            except LostError as lost:
                reason = f"a lane's {lost} within a step, perhaps for want of memory"
                self._give_up(reason if self._repeatable else "")
                if not self._repeatable:
                    later = "later steps are shared by threads"
                    raise DeviceError(f"{reason}; {later}") from None
            finally:
                team.lock.release()
        self._threads.run(self._parts)

    def wait(self, seconds: float) -> bool:
        """Wait for the processes to be ready; return whether they are."""
        end = time.monotonic() + seconds
        while not self._given_up and time.monotonic() < end:
            with self._team.lock:
                if self._is_ready():
                    return True
            time.sleep(0.001)
        return False

    def _is_ready(self) -> bool:
        """Whether the processes can compute; warn if they never will."""
        team = self._team
        if team.is_alive() and not self._ready:
            refusal = team.loaded(self._number)
            if refusal:
                self._give_up(refusal)
            self._ready = refusal == ""
        if team.lost is not None:
            self._give_up(team.lost)
        return self._ready and not self._given_up

    def _give_up(self, reason: str) -> None:
        self._given_up = True
        if reason:
            message = f"threads share the lanes from now on: {reason}"
            warnings.warn(message, RuntimeWarning, stacklevel=4)


def _payload(
    codes: Sequence[LaneCode], lanes: Sequence[int], names: Sequence[str]
) -> Payload:
    """Return a program as a process is sent it: with its own lanes alone."""
    own: list[LaneCode] = []
    places = []
    for lane in lanes:
        if codes[lane] not in own:
            own.append(codes[lane])
        places.append((lane, own.index(codes[lane])))
    try:
        return _written((own, places, list(names)))
    except UnshareableError as error:
        for code in own:
            for name, value in code.namespace.items():
                _written(value, f" as {name!r}")
        raise error


def _written(value: Any, name: str = "") -> Payload:
    """Return a value as it is sent, and the blocks that it lies in."""
    body = io.BytesIO()
    writer = _Writer(body)
    try:
        writer.dump(value)
    except (pickle.PicklingError, AttributeError, TypeError, ValueError) as error:
        what = f"a process cannot be sent {value!r:.60}{name}: {error}"
        raise UnshareableError(what) from error
    return body.getvalue(), writer.files


@final
class _Writer(pickle.Pickler):
    """Writes names; of an array it writes where it lies."""

    def __init__(self, body: io.BytesIO) -> None:
        super().__init__(body, pickle.HIGHEST_PROTOCOL)
        self.files: list[int] = []
        """The descriptors of the blocks that arrays lie in."""
        self._directory = Directory()
        self._kept: list[Array] = []

    def persistent_id(self, obj: Any) -> Any:
        """Return where a shared array lies, and a number that tells it from others."""
        if type(obj) is not np.ndarray or not obj.size:
            return None
        found = self._directory.find(obj)
        if found is None:
            if obj.flags.writeable:
                raise ValueError(
                    f"expected arrays in shared memory, or read-only; got "
                    f"{obj.dtype.name}{list(obj.shape)}"
                )
            return None
        file, offset = found
        if file not in self.files:
            if len(self.files) == MOST_FILES:
                raise ValueError(f"arrays lie in over {MOST_FILES} blocks")
            self.files.append(file)
        block = self.files.index(file)
        place = block, offset, obj.shape, obj.strides, obj.dtype, obj.flags.writeable
        self._kept.append(obj)  # or another could get its number
        return id(obj), place

    def reducer_override(self, obj: Any) -> Any:
        """Refuse what a process would have to import from elsewhere."""
        named = isinstance(obj, type | types.ModuleType) or hasattr(obj, "__qualname__")
        is_module = isinstance(obj, types.ModuleType)
        module = obj.__name__ if is_module else getattr(obj, "__module__", None)
        if named and module and module.split(".")[0] not in _TRUSTED:
            raise ValueError(f"{module} is imported here alone")
        return (import_module, (module,)) if is_module else NotImplemented
