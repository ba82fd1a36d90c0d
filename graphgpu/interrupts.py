"""What must be whole although an interrupt from the keyboard may come at any time."""

from __future__ import annotations

import operator
import signal
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, final

__all__ = ["claimed", "held_interrupts", "raise_if_stopped", "stopped_by"]

# The functions of C that signal's own wrap in conversions to enums: as long as a step.
_set_handler: Any = getattr(signal.signal, "__wrapped__", signal.signal)
_get_handler: Any = getattr(signal.getsignal, "__wrapped__", signal.getsignal)


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
        handler = _get_handler(signal.SIGINT)
        if callable(handler):
            self._handler = handler
            _set_handler(signal.SIGINT, self._keep)

    def _keep(self, number: int, frame: FrameType | None) -> None:
        self._came.append((number, frame))

    def __exit__(self, *error: object) -> None:
        if self._handler is not None:
            _set_handler(signal.SIGINT, self._handler)
            if self._came:
                self._handler(*self._came[-1])


_thread = threading.local()


@final
class stopped_by:  # noqa: N801
    """Let what a thread computes within the block be stopped from another one."""

    __slots__ = ("_asked", "_before")

    def __init__(self, asked: Callable[[], bool]) -> None:
        self._asked = asked

    def __enter__(self) -> None:
        self._before = getattr(_thread, "asked", None)
        _thread.asked = self._asked

    def __exit__(self, *error: object) -> None:
        _thread.asked = self._before


def raise_if_stopped() -> None:
    """Raise KeyboardInterrupt if this thread is to stop: what may not end, asks.

    The main thread need not ask: Python interrupts it.
    """
    asked = getattr(_thread, "asked", None)
    if asked is not None and asked():
        raise KeyboardInterrupt


# Of locks as they are made; by map, since a step may take some hundred.
_acquire: Any = type(threading.RLock()).acquire
_release: Any = type(threading.RLock()).release


@final
class claimed:  # noqa: N801
    """Hold all of some ``RLock`` within a block, taken in order."""

    __slots__ = ("_locks",)

    def __init__(self, locks: Sequence[Any]) -> None:
        self._locks = locks

    def __enter__(self) -> None:
        left = iter(self._locks)
        try:
            all(map(_acquire, left))
        except BaseException:
            taken = len(self._locks) - operator.length_hint(left) - 1
            any(map(_release, self._locks[:taken]))
            raise

    def __exit__(self, *error: object) -> None:
        any(map(_release, self._locks))
