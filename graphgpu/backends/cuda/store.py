"""Parameters and state on a device: uploaded once, and fetched when they are read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import final
from weakref import WeakKeyDictionary

from graphgpu.backends.cuda.driver import Driver, Memory, Stream
from graphgpu.dtypes import Array
from graphgpu.graph import Storage

__all__ = ["Store"]


@dataclass(eq=False, slots=True)
class _Copy:
    memory: Memory
    version: int


@final
class Store:
    """What a device has of the storages that its programs read and write.

    The programs of a device share it, and so the memory of parameters that they
    have in common.  Callers hold the storages' locks.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._copies: WeakKeyDictionary[Storage, _Copy] = WeakKeyDictionary()

    def address(self, storage: Storage, stream: Stream) -> int:
        """Return where a storage's contents are, up to date; it never changes."""
        copy = self._copies.get(storage)
        if copy is None:
            copy = _Copy(self._driver.allocate(storage.array.nbytes), -1)
            self._copies[storage] = copy
        if copy.version != storage.version:
            self._driver.upload(copy.memory.address, storage.array, stream)
            copy.version = storage.version
        return copy.memory.address

    def written(self, storage: Storage, stream: Stream) -> None:
        """Say that a program has written new contents, of the next version."""
        copy = self._copies[storage]
        copy.version = storage.version + 1
        storage.supersede(partial(self._fetch, copy.memory, stream))

    def _fetch(self, memory: Memory, stream: Stream, array: Array) -> None:
        self._driver.download(memory.address, array, stream)
