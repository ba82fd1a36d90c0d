"""Philox4x32-10: random words as a pure function of a counter and a key.

J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as
easy as 1, 2, 3", SC'11.  A block of four 32-bit words is encrypted in ten rounds;
as no state is carried along, any element of any random array can be computed
alone, on any device, in any order.

How graphgpu uses it, the same on every device:

* a random node has a key, a string; ``hash_key`` makes 64 bits of it, which are
  part of the node and known when it is compiled;
* at run time the run key gives seed, step and iteration, 64 bits each.  Philox
  with the hash as key encrypts (seed low, seed high, step high, iteration high);
  the first two words are the key of the node's stream (``stream_key``);
* block b of the stream encrypts (b low, b high, step low, iteration low) with it;
* word i of the stream is word i mod 4 of block ⌊i / 4⌋ (``random_words``).

No two blocks of a stream share a counter, and what element i of an array is made
of depends on i alone, not on the shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, TypeAlias

import numpy as np

from graphgpu.dtypes import Array, DType

__all__ = [
    "hash_key",
    "philox4x32",
    "random_double_words",
    "random_words",
    "standard_normal",
    "stream_key",
    "unit_uniform",
]

Word: TypeAlias = Any
"""An int, or a uint64 array of them: the rounds are the same."""

_FLOAT64 = np.dtype("float64")
_ROUNDS = 10
_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_WEYL = 0x9E3779B9, 0xBB67AE85  # the golden ratio, √3 - 1
_MASK = 0xFFFFFFFF
_BLOCKS = 1 << 14  # at a time: the rounds then work in the cache


def philox4x32(counter: Sequence[Word], key: tuple[int, int]) -> list[Word]:
    """Return four words: Philox4x32-10 of four words.

    >>> [hex(word) for word in philox4x32([0, 0, 0, 0], (0, 0))]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    x0, x1, x2, x3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        left = x0 * _MULTIPLIERS[0]
        right = x2 * _MULTIPLIERS[1]
        x0 = (right >> 32) ^ (x1 ^ k0)
        x2 = (left >> 32) ^ (x3 ^ k1)
        x1 = right & _MASK
        x3 = left & _MASK
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return [x0, x1, x2, x3]


def hash_key(key: str) -> tuple[int, int]:
    """Return two words: the low and the high half of BLAKE2b-64 of the UTF-8 text."""
    digest = int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "little")
    return digest & _MASK, digest >> 32


def stream_key(key: str, run_key: Array) -> tuple[int, int]:
    """Return the key of a node's stream of words for a run key.

    ``run_key`` is uint64[3]: seed, step, iteration.
    """
    seed, step, iteration = (int(part) for part in run_key)
    counter = seed & _MASK, seed >> 32, step >> 32, iteration >> 32
    first, second, _, _ = philox4x32(counter, hash_key(key))
    return first, second


def random_words(key: str, run_key: Array, count: int) -> Array:
    """Return the first ``count`` words of the stream of a node: uint32[count]."""
    stream = stream_key(key, run_key)
    step, iteration = (int(part) & _MASK for part in run_key[1:])
    blocks = -(-count // 4)
    words = np.empty((blocks, 4), np.uint32)
    for start in range(0, blocks, _BLOCKS):
        index = np.arange(start, min(start + _BLOCKS, blocks), dtype=np.uint64)
        counter = index & _MASK, index >> 32, step, iteration
        for lane, word in enumerate(philox4x32(counter, stream)):
            words[start : start + _BLOCKS, lane] = word
    return words.reshape(-1)[:count]


def random_double_words(key: str, run_key: Array, count: int) -> Array:
    """Return uint64[count]: of element i, word 2i is the low half, 2i + 1 the high."""
    words = random_words(key, run_key, 2 * count).astype(np.uint64)
    pairs: Array = words[0::2] | words[1::2] << 32
    return pairs


def unit_uniform(key: str, run_key: Array, count: int, dtype: DType) -> Array:
    """Return numbers in [0, 1): multiples of 2⁻⁵³ for float64, else float32 of 2⁻²⁴.

    They are the upper bits of word i, or of double word i, and so exact.
    """
    if dtype == _FLOAT64:
        return (random_double_words(key, run_key, count) >> 11) * 2.0**-53
    bits = random_words(key, run_key, count) >> 8
    return bits.astype(np.float32) * np.float32(2.0**-24)


def standard_normal(key: str, run_key: Array, count: int, dtype: DType) -> Array:
    """Return float64 numbers, normally distributed with mean 0 and variance 1.

    z₂ₚ = √(-2 ln u) cos 2πv and z₂ₚ₊₁ = √(-2 ln u) sin 2πv, u in (0, 1] and v in
    [0, 1) being uniform (G. E. P. Box and M. E. Muller, "A note on the generation
    of random normal deviates", 1958).  For float64, u and v have 53 bits, of double
    words 2p and 2p + 1; else 32 bits, of words 2p and 2p + 1.
    """
    pairs = -(-count // 2)
    if dtype == _FLOAT64:
        bits, unit = random_double_words(key, run_key, 2 * pairs) >> 11, 2.0**-53
    else:
        bits, unit = random_words(key, run_key, 2 * pairs), 2.0**-32
    u, v = (bits.reshape(-1, 2) * unit).T
    radius, angle = np.sqrt(-2 * np.log(u + unit)), 2 * np.pi * v
    z = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    numbers: Array = z.reshape(-1)[:count]
    return numbers
