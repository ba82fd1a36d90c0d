"""What lanes call: functions of generated code, which other processes can be sent."""

from __future__ import annotations

import marshal
from collections.abc import Collection
from types import CodeType, FunctionType
from typing import Any, final

__all__ = ["Call", "Calls"]


@final
class Call:
    """A function of generated code, and what it is called with.

    Another process is sent its code and the globals that it names.

    >>> import pickle
    >>> names = {"offset": 2}
    >>> exec("def add(numbers): numbers.append(offset)", names)
    >>> call = pickle.loads(pickle.dumps(Call(names["add"], [1])))
    >>> call()
    >>> call.arguments
    ([1, 2],)
    """

    __slots__ = ("arguments", "function")

    def __init__(self, function: FunctionType, *arguments: Any) -> None:
        self.function = function
        self.arguments = arguments

    def __call__(self) -> None:
        """Call it."""
        self.function(*self.arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        """Write the code as this version of Python runs it."""
        code, everything = self.function.__code__, self.function.__globals__
        names = {n: everything[n] for n in _named(code) if n in everything}
        return _call, (marshal.dumps(code), names, self.arguments)


def _call(code: bytes, names: dict[str, Any], arguments: tuple[Any, ...]) -> Call:
    return Call(FunctionType(marshal.loads(code), names), *arguments)


def _named(code: CodeType) -> dict[str, None]:
    """Return the names that code looks up, and functions within it."""
    found = dict.fromkeys(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _named(constant)
    return found


@final
class Calls:
    """What each lane calls in one part of a program."""

    __slots__ = ("__name__", "_lanes")

    def __init__(self, name: str, lanes: dict[int, list[Call]]) -> None:
        self.__name__ = name
        self._lanes = lanes

    def __call__(self, lane: int) -> None:
        """Do what a lane does."""
        for call in self._lanes[lane]:
            call()

    def of(self, lanes: Collection[int]) -> Calls:
        """Return what some of the lanes call."""
        return Calls(self.__name__, {n: self._lanes[n] for n in lanes})
