"""BLAS at one thread for the length of our own calls.

Small products gain nothing from a second BLAS thread, and on a busy machine
its spinning makes a step ten times slower (a step of the digits net: 30 ms with
one thread, 390 ms with two beside one other busy process).  One thread also
makes the bits of a result independent of the number of cores.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, final

from threadpoolctl import ThreadpoolController

__all__ = ["one_thread"]


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one BLAS thread within a ``with`` block.

    Most BLAS have one pool for the process: where programs run in several Python
    threads at once, the first to enter sets the number and the last to leave
    restores it.  A BLAS on OpenMP has a number for each Python thread.
    """
    everywhere, here = _pools()
    everywhere.enter()
    try:
        with here.limit(limits=1):
            yield
    finally:
        everywhere.leave()


@final
class _SharedPool:
    """The threads of the whole process: one while anybody is inside."""

    def __init__(self, libraries: Any) -> None:
        self._libraries = libraries
        self._lock = threading.Lock()
        self._inside = 0
        self._limit: Any = None

    def enter(self) -> None:
        with self._lock:
            if not self._inside:
                self._open()
                self._limit = self._libraries.limit(limits=1)
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._open()
                self._limit.restore_original_limits()
                self._open()

    def _open(self) -> None:
        """Let this Python thread set the number of an OpenBLAS.

        Newer versions of threadpoolctl ignore what others ask for than the one
        that set it first; here the last to leave may be another one.
        """
        for library in self._libraries.lib_controllers:
            if hasattr(library, "clear_controlling_thread"):
                library.clear_controlling_thread(force=True)


@cache
def _pools() -> tuple[_SharedPool, Any]:
    """Return the libraries with one pool for the process, and the others."""
    found = ThreadpoolController().select(user_api="blas")
    layers = {getattr(lib, "threading_layer", None) for lib in found.lib_controllers}
    shared = found.select(threading_layer=list(layers - {"openmp"}))
    return _SharedPool(shared), found.select(threading_layer="openmp")
