"""Where a node was created: the user's frame, not ours."""

from __future__ import annotations

import sys
from functools import cache
from types import CodeType

__all__ = ["Trace", "here"]

_PACKAGE = __name__.partition(".")[0]


class Trace:
    """A place in a source file; the line is looked up only when it is printed."""

    __slots__ = ("_code", "_instruction")

    def __init__(self, code: CodeType, instruction: int) -> None:
        self._code = code
        self._instruction = instruction

    @property
    def filename(self) -> str:
        """The source file."""
        return self._code.co_filename

    @property
    def line(self) -> int:
        """The line in the source file."""
        for start, stop, line in self._code.co_lines():
            if start <= self._instruction < stop and line is not None:
                return line
        return self._code.co_firstlineno

    @property
    def function(self) -> str:
        """The function that the line belongs to."""
        return self._code.co_qualname

    def __str__(self) -> str:
        return f"{self.filename}:{self.line}"


def here() -> Trace:
    """Return the innermost place outside this package."""
    frame = sys._getframe(1)
    while _is_ours(frame.f_globals.get("__name__", "")):
        outer = frame.f_back
        if outer is None:
            break
        frame = outer
    return Trace(frame.f_code, frame.f_lasti)


@cache
def _is_ours(module: str) -> bool:
    return module == _PACKAGE or module.startswith(_PACKAGE + ".")
