"""A loop bound to memory once and for all, as another process can be sent it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from traceback import walk_tb
from typing import Any, NamedTuple, final

import numpy as np

from graphgpu.backends.numpy.calls import Call
from graphgpu.dtypes import Array
from graphgpu.errors import ComputeError

__all__ = ["Keys", "Turns", "located"]


class Keys(NamedTuple):
    """The run keys of iterations: where they are, and what they are made of."""

    rows: Array
    given: Array
    scale: int
    first: int
    step: int

    def number(self) -> None:
        """Write the key of each iteration."""
        keys = self.rows
        keys[:] = self.given
        numbers = np.arange(len(keys), dtype=np.uint64) * np.uint64(self.step)
        keys[:, 2] *= np.uint64(self.scale)
        keys[:, 2] += numbers + np.uint64(self.first)


@final
@dataclass(frozen=True, eq=False)
class Turns:
    """All iterations: what is called, and the copies before and after."""

    call: Call
    before: list[tuple[Array, Array]]
    after: list[tuple[Array, Array]]
    keys: Keys | None
    file: str
    messages: list[tuple[str, str]]
    """What comes before and after an error's text, for each statement."""
    where: str
    source: str

    def __call__(self, *_: Array) -> None:
        """Run them; it is called with what it is bound to, for the reader.

        Raises
        ------
        ComputeError
            An operation failed; the message names it and the iteration.
        """
        if self.keys is not None:
            self.keys.number()
        for out, value in self.before:
            np.copyto(out, value)
        try:
            self.call()
        except Exception as error:
            raise located(error, self.file, self.messages, self.where) from error
        for out, value in self.after:
            np.copyto(out, value)


def located(
    error: Exception, file: str, messages: Sequence[tuple[str, str]], where: str
) -> Exception:
    """Return the error with the node and the iteration that raised it."""
    found: tuple[int, Any] | None = None
    for frame, line in walk_tb(error.__traceback__):
        if frame.f_code.co_filename == file:
            found = line - 3, frame.f_locals.get("i")
    if found is None:
        return error
    statement, i = found
    text = str(error)
    if not isinstance(error, ComputeError):
        before, after = messages[statement]
        text = f"{before}{text}{after}"
    return ComputeError(f"{text}, in iteration {i} {where}")
