"""The processes that compute lanes: started, told what to do, waited for, ended.

A process is a fresh interpreter and not a fork, which would be unsafe beside
other threads.  It is in a process group of its own, so that an interrupt from
the keyboard reaches its parent alone.
"""

from __future__ import annotations

import json
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import RLock
from typing import Any, final

from graphgpu.backends.numpy.lanes import BUFFER, Part
from graphgpu.backends.numpy.shared_memory import allocate
from graphgpu.backends.numpy.worker import (
    ARRIVED,
    ASLEEP,
    AWAITED,
    FAILED,
    GO,
    LINE,
    PROGRAM,
    STAGE,
    Patience,
    receive,
    send,
)

__all__ = ["LostError", "Team", "current_team"]

Payload = tuple[bytes, list[int]]

_START = """
import json, sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
paths, packages = json.loads(sys.argv[1])
sys.path[:] = paths
for name, folder in packages.items():
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = [folder]
    sys.modules[name] = module_from_spec(spec)
from graphgpu.backends.numpy.worker import main
main(*map(int, sys.argv[2:]))
"""
"""Imports the worker without what the packages around it import."""

_ONE_THREAD = dict.fromkeys(
    [f"{n}_NUM_THREADS" for n in ("OPENBLAS", "MKL", "OMP", "BLIS")], "1"
)
_PATIENCE = 2
"""Milliseconds after which to look whether a process overlooked its call."""

_GRACE = 2.0
"""Seconds that a process has to end by itself."""


@final
class LostError(Exception):
    """A process of the team has ended."""


@final
class Team:
    """A number of processes beside the caller, which is number 0.

    Hold ``lock`` while calling :meth:`run` or :meth:`loaded`; a step that is
    ``running`` may be the caller's own.
    """

    def __init__(self, processes: int) -> None:
        self.lock = RLock()
        self.running = False
        self.lost: str | None = None
        """Why the team is of no use any more."""
        block = allocate(max(4096, 8 * LINE * processes))
        self._page = block.array.data.cast("q")
        self._members: list[_Member] = []
        weakref.finalize(self, _end, self._members, os.getpid())
        for number in range(1, processes):
            self._members.append(_Member(number, self._page, block.handle))
        _teams.add(self)

    @property
    def size(self) -> int:
        """The number of processes, with the caller's."""
        return len(self._members) + 1

    def load(self, program: int, payloads: Sequence[Payload]) -> None:
        """Send each process a program."""
        for member, (body, files) in zip(self._members, payloads, strict=True):
            try:
                send(member.socket, b"load %d" % program, body, files)
            except OSError:
                self._give_up(member.fate())

    def forget(self, program: int) -> None:
        """Let the processes free a program."""
        for member in self._members:
            member.say(b"forget %d" % program)

    def is_alive(self) -> bool:
        """Whether no process has ended."""
        for member in self._members:
            if self.lost is None and member.process.poll() is not None:
                self._give_up(member.fate())
        return self.lost is None

    def loaded(self, program: int) -> str | None:
        """Return nothing until all have read a program; then why they refuse it."""
        for member in self._members:
            try:
                while program not in member.loaded:
                    member.read(socket.MSG_DONTWAIT)
            except BlockingIOError:
                return None
            except (EOFError, OSError):
                self._give_up(member.fate())
                return None
        return "; ".join({m.loaded[program] for m in self._members} - {""})

    def run(self, program: int, parts: Sequence[Part], lanes: Sequence[int]) -> None:
        """Do the parts, ``lanes`` of them here.

        Raises
        ------
        LostError
            A process ended; some of the parts were computed.
        BaseException
            What a lane or an action raised.
        """
        page = self._page
        for member in self._members:
            member.tidy()
        page[PROGRAM] = program
        stage = 0
        errors: dict[int, BaseException] = {}
        try:
            self.running = True
            for parallel, serial in parts:
                if parallel:
                    page[STAGE] = stage
                    page[GO] += 1
                    stage += 1
                    self._wake()
                    errors = {}
                    for lane in lanes:
                        try:
                            parallel(lane)
                        except Exception as error:
                            errors[lane] = error
                    self._meet(errors)
                    if errors:
                        raise errors[min(errors)]
                if serial:
                    serial()
        finally:
            try:
                self._settle()
            finally:
                self.running = False
                errors = {}  # whose frames refer to this one

    def _wake(self) -> None:
        for member in self._members:
            if member.asleep:
                member.say(b"wake")

    def _meet(self, errors: dict[int, BaseException]) -> None:
        """Wait until all are through; add what was raised elsewhere."""
        go = self._page[GO]
        for member in self._members:
            member.await_(go)
            if member.failed:
                errors.update(member.errors())

    def _settle(self) -> None:
        """Wait until no process computes, whatever happens meanwhile."""
        interrupt: BaseException | None = None
        settled = False
        while not settled:
            try:
                self._meet({})
                settled = True
            except LostError as lost:
                self._give_up(str(lost))
                settled = True
            except BaseException as error:
                interrupt = error
        if interrupt:
            raise interrupt

    def _give_up(self, reason: str) -> None:
        """End the processes, and make no further use of them."""
        self.lost = reason if self.lost is None else self.lost
        _end(self._members, os.getpid())

    def leave_to_parent(self) -> None:
        """In a forked child: the processes are the parent's."""
        self.lost = ""
        for member in self._members:
            member.socket.close()
            member.process.returncode = 0  # not ours to wait for
        self._members.clear()


@final
class _Member:
    """A process, as its parent knows it."""

    def __init__(self, number: int, page: memoryview[Any], handle: int) -> None:
        self.loaded: dict[int, str] = {}
        """For programs that it has read: why it cannot compute them, or nothing."""
        self._page = page
        self._own = number * LINE
        self._errors: dict[int, BaseException] = {}
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                self.process = _started(theirs.fileno(), handle, number)
        except BaseException:
            self.socket.close()
            raise
        self._patience = Patience()
        self._ring = select.poll()
        self._ring.register(self.socket, select.POLLIN)

    def await_(self, go: int) -> None:
        """Wait until it is through with a part."""
        page, arrived = self._page, self._own + ARRIVED
        if page[arrived] == go or self._patience.spin(page, arrived, go):
            return
        page[self._own + AWAITED] = 1
        while page[arrived] != go:
            if not self._ring.poll(_PATIENCE):
                self.check()
            else:
                self._listen()
        page[self._own + AWAITED] = 0

    def _listen(self) -> None:
        """Read a message, or hear that it has ended."""
        try:
            self.read(socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass
        except (EOFError, OSError):
            raise LostError(self.fate()) from None

    @property
    def asleep(self) -> bool:
        """Whether it has to be woken."""
        return bool(self._page[self._own + ASLEEP])

    @property
    def failed(self) -> bool:
        """Whether it has sent errors."""
        return bool(self._page[self._own + FAILED])

    def say(self, word: bytes) -> None:
        """Send a word, if the socket takes it at once."""
        with suppress(OSError):  # unread yet, or ended: seen when it is waited for
            self.socket.send(word, socket.MSG_DONTWAIT)

    def check(self) -> None:
        """Raise if it has ended; wake it in case it overlooked that it was called."""
        if self.process.poll() is not None:
            raise LostError(self.fate())
        if self.asleep:
            self.say(b"wake")

    def fate(self) -> str:
        """Return how it ended."""
        try:
            code = self.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            return f"process {self.process.pid} closed its socket"
        how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        return f"process {self.process.pid} ended with {how}"

    def read(self, flags: int = 0) -> None:
        """Take notice of a message."""
        word, body, _ = receive(self.socket, flags)
        kind, _, number = word.partition(b" ")
        if kind == b"loaded":
            self.loaded[int(number)] = body.decode()
        elif kind == b"errors":
            self._errors = _received(body, self.process.pid)

    def errors(self) -> dict[int, BaseException]:
        """Return what its lanes raised: it has sent it before saying so."""
        self._page[self._own + FAILED] = 0
        try:
            while not self._errors:
                self.read(socket.MSG_DONTWAIT)
        except BlockingIOError:  # an interrupt came after it was read
            return {}
        except (EOFError, OSError):
            raise LostError(self.fate()) from None
        return self._errors

    def tidy(self) -> None:
        """Drop what an interrupt has left."""
        self._page[self._own + AWAITED] = 0
        self._errors = {}


def _started(commands: int, page: int, number: int) -> subprocess.Popen[bytes]:
    """Return a new process, which is given a socket and a page of memory."""
    package = Path(__file__).parents[2]
    packages = {
        "graphgpu": str(package),
        "graphgpu.backends": str(package / "backends"),
        "graphgpu.backends.numpy": str(package / "backends" / "numpy"),
    }
    settings = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PYTHON") or name == "PYTHONHOME"
    }
    return subprocess.Popen(
        [
            *[sys.executable, "-P", "-S", "-c", _START],
            json.dumps([[str(p) for p in sys.path], packages]),
            *[str(n) for n in (commands, page, number, BUFFER)],
        ],
        env={**settings, **_ONE_THREAD},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=(commands, page),
        process_group=0,
    )


def _received(body: bytes, process: int) -> dict[int, BaseException]:
    """Return the errors of lanes, noting where they were raised."""
    errors = {}
    for lane, (data, where) in pickle.loads(body).items():
        error: BaseException = pickle.loads(data)
        error.lane_lines = where  # type: ignore[attr-defined]
        lines = "".join(f"\n  {file}:{line}" for file, line in where)
        error.add_note(f"raised in lane {lane}, by process {process}, at{lines}")
        errors[lane] = error
    return errors


# --- the life of teams


_teams: weakref.WeakSet[Team] = weakref.WeakSet()


def current_team(processes: int) -> Team:
    """Return the team of the process, starting one if need be; keep it in hand.

    A team's processes end when nothing refers to it any more.
    """
    for team in list(_teams):
        if team.size == processes and team.lost is None:
            return team
    return Team(processes)


def _end(members: list[_Member], owner: int) -> None:
    """Close the sockets, upon which the processes end; wait for them."""
    if os.getpid() != owner:
        return
    for member in members:
        member.socket.close()
    for member in members:
        try:
            member.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            member.process.kill()
            member.process.wait()


def _leave_to_parent() -> None:
    for team in list(_teams):
        team.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
