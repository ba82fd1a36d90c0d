"""BLAS at one thread for the length of our own calls.

Small products gain nothing from a second BLAS thread, and on a busy machine
its spinning makes a step ten times slower (a step of the digits net: 30 ms with
one thread, 390 ms with two beside one other busy process).  One thread also
makes the bits of a result independent of the number of cores.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

__all__ = ["one_thread"]


def one_thread() -> AbstractContextManager[Any]:
    """Return a context in which BLAS computes with one thread.

    BLAS has one pool for the process: where programs run in several threads at
    once, the first of them sets and restores it.
    """
    limit: AbstractContextManager[Any] = _libraries().limit(limits=1)
    return limit


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")
