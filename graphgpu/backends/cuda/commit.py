"""The last kernels of a step: new values over old ones, unless something is wrong."""

from __future__ import annotations

import numpy as np

from graphgpu.backends.cuda.driver import Driver, Function, Stream

__all__ = ["Commit"]

_THREADS = 256
_BLOCKS = 1024

_SOURCE = f"""extern "C" __global__ void __launch_bounds__({_THREADS})
commit(unsigned char* __restrict__ target, const unsigned char* __restrict__ source,
       long long nbytes, const unsigned long long* __restrict__ status, int words) {{
  for (int w = 0; w < words; ++w)
    if (status[w] != ~0ull) return;
  const long long first = (long long)blockIdx.x * {_THREADS} + threadIdx.x;
  const long long step = (long long)gridDim.x * {_THREADS};
  const long long wide = nbytes / 16;
  for (long long o = first; o < wide; o += step)
    ((uint4*)target)[o] = ((const uint4*)source)[o];
  for (long long o = wide * 16 + first; o < nbytes; o += step) target[o] = source[o];
}}
"""


class Commit:
    """Copies that are made if all words of a step's status are clear."""

    def __init__(self, driver: Driver, status: int, words: int) -> None:
        self._driver = driver
        self._status = np.uint64(status)
        self._words = np.int32(words)
        self._function: Function | None = None
        if words:
            self._function = driver.compile(_SOURCE, "commit")

    def copy(self, target: int, source: int, nbytes: int, stream: Stream) -> None:
        """Copy, on the device; nothing if something is wrong."""
        if self._function is None:
            self._driver.copy(target, source, nbytes, stream)
            return
        blocks = min(_BLOCKS, -(-nbytes // (16 * _THREADS)))
        numbers = np.uint64(target), np.uint64(source), np.int64(nbytes)
        arguments: list[np.generic] = [*numbers, self._status, self._words]
        grid, block = (blocks, 1, 1), (_THREADS, 1, 1)
        self._driver.launch(self._function, grid, block, arguments, stream)
