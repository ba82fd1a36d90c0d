"""What must be whole although an interrupt from the keyboard may come at any time."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable
from types import FrameType
from typing import Any, Protocol, final

__all__ = ["claimed", "held_interrupts"]


@final
class held_interrupts:  # noqa: N801 - a context manager reads like a function
    """Let a SIGINT that comes after :meth:`hold` take effect at the block's end.

    Python runs signal handlers in the main thread, between any two instructions:
    an update of many arrays would be cut in two.  In other threads, and where
    SIGINT has no handler of Python's, there is nothing to be done.
    """

    __slots__ = ("_came", "_handler")

    def __enter__(self) -> held_interrupts:
        self._handler: Any = None
        self._came: list[tuple[int, FrameType | None]] = []
        return self

    def hold(self) -> None:
        """Hold interrupts from here on; to be called in the block's own thread."""
        if self._handler is not None:
            return
        if threading.current_thread() is not threading.main_thread():
            return
        handler = signal.getsignal(signal.SIGINT)
        if callable(handler):
            self._handler = handler
            signal.signal(signal.SIGINT, self._keep)

    def _keep(self, number: int, frame: FrameType | None) -> None:
        self._came.append((number, frame))

    def __exit__(self, *error: object) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)
            if self._came:
                self._handler(*self._came[-1])


class _Lock(Protocol):
    def acquire(self) -> bool: ...

    def release(self) -> None: ...


@final
class claimed:  # noqa: N801
    """Hold all locks within a block; an ``ExitStack`` takes ten times as long."""

    __slots__ = ("_held", "_locks")

    def __init__(self, locks: Iterable[_Lock]) -> None:
        self._locks = locks
        self._held: list[_Lock] = []

    def __enter__(self) -> None:
        try:
            for lock in self._locks:
                lock.acquire()
                self._held.append(lock)
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *error: object) -> None:
        while self._held:
            self._held.pop().release()
