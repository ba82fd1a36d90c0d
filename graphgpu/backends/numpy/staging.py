"""Where the inputs of a call are copied to: outside the arena, in one piece."""

from __future__ import annotations

from functools import partial
from typing import final

from graphgpu.backends.numpy.shared_memory import memory
from graphgpu.backends.numpy.storage import Buffer
from graphgpu.backends.numpy.translation import Translation
from graphgpu.dtypes import Array

__all__ = ["Staging"]

_LINE = 64


@final
class Staging:
    """The memory of inputs; it is allocated when it is first asked for."""

    def __init__(self, whole: Translation) -> None:
        self._whole = whole
        self._bytes: Array | None = None
        self._size = 0

    def add(self, buffer: Buffer) -> None:
        """Give a buffer its place."""
        buffer.array = partial(self._at, buffer, self._size)
        self._size += -(-buffer.nbytes(1) // _LINE) * _LINE

    def _at(self, buffer: Buffer, offset: int) -> Array:
        if self._bytes is None:
            self._bytes = memory(self._size, self._whole.shared)
        own = self._bytes[offset : offset + buffer.nbytes(1)]
        return own.view(buffer.dtype).reshape(buffer.shape)
