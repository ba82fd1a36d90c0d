"""BLAS at one thread for the length of our own calls.

Small products gain nothing from a second BLAS thread, and on a busy machine
its spinning makes a step ten times slower (a step of the digits net: 30 ms with
one thread, 390 ms with two beside one other busy process).  One thread also
makes the bits of a result independent of the number of cores.

threadpoolctl finds the libraries; the numbers are read and set by calling them
directly, since a program of a few small operations takes no longer than one of
threadpoolctl's limits (13 us; here 1.4).
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from functools import cache
from typing import Any, final

from threadpoolctl import ThreadpoolController

__all__ = ["one_thread", "one_thread_from_now_on"]


@final
class one_thread:  # noqa: N801 - a context manager reads like a function
    """Compute with one BLAS thread within a ``with`` block.

    Most BLAS have one pool for the process: where programs run in several Python
    threads at once, the first to enter sets the number and the last to leave
    restores it.  MKL, and a BLAS on OpenMP, have a number for each Python thread.
    """

    __slots__ = ("_changed",)

    def __enter__(self) -> None:
        everywhere, here = _libraries()
        with everywhere.lock:
            if not everywhere.inside:
                everywhere.changed = _lower(everywhere.libraries)
            everywhere.inside += 1
        if here:
            self._changed = _lower(here)

    def __exit__(self, *error: object) -> None:
        everywhere, here = _libraries()
        if here:
            _restore(self._changed)
        with everywhere.lock:
            everywhere.inside -= 1
            if not everywhere.inside:
                _restore(everywhere.changed)


def one_thread_from_now_on() -> None:
    """Hold the calling Python thread to one BLAS thread, where it has its own number.

    For a thread that only ever computes for another one, which entered
    :class:`one_thread`.
    """
    _lower(_libraries()[1])


@final
class _Library:
    """How to read and set the number of threads of one BLAS."""

    __slots__ = ("get", "set")

    def __init__(self, get: Callable[[], int], set_: Callable[[int], object]) -> None:
        self.get = get
        self.set = set_


def _lower(libraries: list[_Library]) -> list[tuple[_Library, int]]:
    """Set the numbers of libraries to one; return those that were others."""
    changed = []
    for library in libraries:
        number = library.get()
        if number != 1:
            changed.append((library, number))
            library.set(1)
    return changed


def _restore(changed: list[tuple[_Library, int]]) -> None:
    """Set the numbers of libraries to what they were."""
    for library, number in changed:
        library.set(number)


@final
class _Shared:
    """The libraries with one pool for the process, and how many are inside."""

    __slots__ = ("changed", "inside", "libraries", "lock")

    def __init__(self, libraries: list[_Library]) -> None:
        self.libraries = libraries
        self.lock = threading.Lock()
        self.inside = 0
        self.changed: list[tuple[_Library, int]] = []

    def renew_lock(self) -> None:
        """Forget who held the lock: after a fork that thread is gone."""
        self.lock = threading.Lock()


@cache
def _libraries() -> tuple[_Shared, list[_Library]]:
    """Return the libraries with one pool for the process, and the others."""
    everywhere: list[_Library] = []
    here: list[_Library] = []
    for found in ThreadpoolController().select(user_api="blas").lib_controllers:
        each_thread = (
            found.internal_api == "mkl"
            or getattr(found, "threading_layer", None) == "openmp"
        )
        (here if each_thread else everywhere).append(_direct(found) or _guarded(found))
    shared = _Shared(everywhere)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=shared.renew_lock)
    return shared, here


_OPENBLAS_NAMES = [
    f"{prefix}openblas_{{}}_num_threads{suffix}"
    for prefix in ("", "scipy_")
    for suffix in ("", "64_", "_64")
]


def _direct(found: Any) -> _Library | None:
    """Return the functions of an OpenBLAS with its own threads.

    They are called with the interpreter's lock held: they are short, and letting
    go of it would invite another thread to take it.
    """
    if found.internal_api != "openblas" or found.threading_layer == "openmp":
        return None
    for name in _OPENBLAS_NAMES:
        get = getattr(found.dynlib, name.format("get"), None)
        set_ = getattr(found.dynlib, name.format("set"), None)
        if get and set_:
            return _Library(
                ctypes.PYFUNCTYPE(ctypes.c_int)(_address(get)),
                ctypes.PYFUNCTYPE(None)(_address(set_)),
            )
    return None


def _address(function: Any) -> int:
    """Return where a function of a library lies."""
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    return address


def _guarded(found: Any) -> _Library:
    """Return threadpoolctl's own functions.

    Newer versions ignore what other Python threads ask of an OpenBLAS than the
    one that set it first; here the last to leave may be another one.
    """
    clear = getattr(found, "clear_controlling_thread", None)

    def set_(number: int) -> None:
        if clear:
            clear(force=True)
        found.set_num_threads(number)
        if clear:
            clear(force=True)

    return _Library(lambda: found.get_num_threads() or 1, set_)
