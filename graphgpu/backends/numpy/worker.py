"""The process of a lane: it computes what its parent tells it to.

It is a fresh interpreter, which imports NumPy and little else.  Through a socket
it is given programs: source, and a namespace whose arrays lie in shared memory.
Through a page of shared memory it is told which part of which program to compute,
and answers that it has.  Aligned words of 8 bytes are written whole, and stores
are seen in the order in which they were made: that is so on x86-64.

After a part it spins for the next one, but soon sleeps in the socket.  Who would
wake it looks whether it sleeps; that can miss one who is just falling asleep, so
who waits for it looks again from time to time.  It ends when its parent closes
the socket or is gone.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import socket
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from graphgpu.dtypes import Array

__all__ = [
    "ARRIVED",
    "ASLEEP",
    "AWAITED",
    "FAILED",
    "GO",
    "LINE",
    "MOST_FILES",
    "PROGRAM",
    "STAGE",
    "LaneCode",
    "Patience",
    "main",
    "receive",
    "send",
]

LINE = 16
"""Words from one party's part of the page to the next: two lines of cache."""

GO, PROGRAM, STAGE = range(3)
"""Written by the parent: a count of what was begun, and what it is."""

ARRIVED, ASLEEP, FAILED = range(3)
"""Written by a process, in its own part: the last count that it is through with,
whether it sleeps, and whether it has sent errors."""

AWAITED = 8
"""Written by the parent in the part of a process: whether it sleeps until that
process is through."""

_SPINS = 500, 6000
"""How often to look before sleeping: 20 to 300 us; to wake takes 20 to 60."""

_LONGEST_WORD = 64
MOST_FILES = 250
"""Files that a message can bring, apart from its body."""

Stage = list[tuple[int, Callable[[int], object]]]


@dataclass(frozen=True, eq=False)
class LaneCode:
    """Source of functions of a lane, and the names that it uses."""

    source: str
    filename: str
    namespace: dict[str, Any]


@final
class Patience:
    """How long to spin: longer after it was worth it, shorter after it was not.

    On a busy machine who spins keeps others from the core that they would need.
    """

    __slots__ = ("_spins",)

    def __init__(self) -> None:
        self._spins = _SPINS[1]

    def spin(self, page: memoryview[Any], word: int, value: int) -> bool:
        """Wait until a word of the page has a value; return whether it came to."""
        least, most = _SPINS
        for _ in range(self._spins):
            if page[word] == value:
                self._spins = min(2 * self._spins, most)
                return True
        self._spins = max(self._spins // 2, least)
        return False


# --- messages: a word, and a file in memory if there is more to say


def send(
    to: socket.socket, word: bytes, body: bytes = b"", files: Sequence[int] = ()
) -> None:
    """Send a word, a body of any size, and the descriptors of other files."""
    file = os.memfd_create("graphgpu message", os.MFD_CLOEXEC)
    try:
        with open(file, "wb", closefd=False) as writer:
            writer.write(body)
        socket.send_fds(to, [word], [file, *files])
    finally:
        os.close(file)


def receive(source: socket.socket, flags: int = 0) -> tuple[bytes, bytes, list[int]]:
    """Return the next message.

    Raises
    ------
    EOFError
        The other end is closed.
    """
    word, files, _, _ = socket.recv_fds(
        source, _LONGEST_WORD, MOST_FILES + 1, flags | socket.MSG_CMSG_CLOEXEC
    )
    if not word:
        raise EOFError
    if not files:
        return word, b"", []
    with open(files.pop(0), "rb") as body:
        body.seek(0)  # the writer has left it at the end
        return word, body.read(), files


# --- programs


@final
class _Loader(pickle.Unpickler):
    """Reads a program; its arrays are views of the blocks that came with it."""

    def __init__(self, data: bytes, descriptors: list[int]) -> None:
        super().__init__(io.BytesIO(data))
        self._blocks = [_mapped(d) for d in descriptors]
        self._arrays: dict[int, Array] = {}

    def persistent_load(self, pid: Any) -> Array:
        """Return an array; one that was the same object is so again."""
        number, place = pid
        if number not in self._arrays:
            block, offset, shape, strides, dtype, writeable = place
            array: Array = np.ndarray(
                shape, dtype, self._blocks[block], offset, strides
            )
            array.flags.writeable = writeable
            self._arrays[number] = array
        return self._arrays[number]


def _mapped(descriptor: int) -> mmap.mmap:
    """Return the memory of a file, and close it."""
    try:
        return mmap.mmap(descriptor, 0)
    finally:
        os.close(descriptor)


def _prepared(data: bytes, descriptors: list[int]) -> list[Stage]:
    """Return for each stage of a program the functions to call, with their lanes."""
    codes, lanes, names = _Loader(data, descriptors).load()
    for code in codes:
        exec(compile(code.source, code.filename, "exec"), code.namespace)
    return [
        [(lane, codes[index].namespace[name]) for lane, index in lanes]
        for name in names
    ]


def _portable(error: BaseException) -> tuple[bytes, list[tuple[str, int]]]:
    """Return an error as it can be sent, and the lines that it passed."""
    frames = traceback.extract_tb(error.__traceback__)
    where = [(f.filename, f.lineno or 0) for f in frames]
    error.__traceback__ = error.__cause__ = error.__context__ = None
    try:
        data = pickle.dumps(error)
        pickle.loads(data)
    except Exception:
        name = type(error).__name__
        data = pickle.dumps(RuntimeError(f"{name}: {error}"))
    return data, where


# --- the process


@final
class _Worker:
    """What the process knows of its parent and its programs."""

    def __init__(self, commands: int, page: int, number: int) -> None:
        self._socket = socket.socket(fileno=commands)
        self._page = memoryview(_mapped(page)).cast("q")
        self._own = number * LINE
        self._programs: dict[int, list[Stage]] = {}
        self._patience = Patience()
        self._seen = 0

    def serve(self) -> None:
        """Compute until the parent is gone."""
        page, arrived = self._page, self._own + ARRIVED
        while True:
            self._wait()
            self._seen = page[GO]
            errors = {}
            for lane, function in self._programs[page[PROGRAM]][page[STAGE]]:
                try:
                    function(lane)
                except BaseException as error:
                    errors[lane] = _portable(error)
            if errors:
                send(self._socket, b"errors", pickle.dumps(errors))
                page[self._own + FAILED] = 1
            page[arrived] = self._seen
            if page[self._own + AWAITED]:
                with suppress(BlockingIOError):  # there is enough to wake it
                    self._socket.send(b"wake", socket.MSG_DONTWAIT)

    def _wait(self) -> None:
        """Wait until the parent begins something."""
        page, seen, asleep = self._page, self._seen, self._own + ASLEEP
        if self._patience.spin(page, GO, seen + 1):
            return
        while page[GO] == seen:
            page[asleep] = 1
            if page[GO] == seen:
                self._read_message()
            page[asleep] = 0

    def _read_message(self) -> None:
        """Read of a program to load or to forget, or of nothing but the time."""
        word, body, files = receive(self._socket)
        kind, _, number = word.partition(b" ")
        if kind == b"forget":
            self._programs.pop(int(number), None)
        elif kind == b"load":
            refusal = b""
            try:
                self._programs[int(number)] = _prepared(body, files)
            except Exception as error:
                refusal = f"{type(error).__name__}: {error}".encode()
            send(self._socket, b"loaded " + number, refusal)


def main(commands: int, page: int, number: int, buffer: int) -> None:
    """Be the process with a number; return when the parent is gone.

    ``buffer`` is the size of NumPy's buffers.
    """
    np.seterr(all="ignore")
    np.setbufsize(buffer)
    try:
        _Worker(commands, page, number).serve()
    except (EOFError, ConnectionError):
        os._exit(0)
