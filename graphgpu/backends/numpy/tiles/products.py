"""Products of tall matrices, cut into pieces that BLAS computes fastest.

OpenBLAS multiplies without packing its operands first where a product has at
most 10^6 multiplications (on x86 with AVX-512).  One call of ``matmul`` on a
stack of matrices computes all pieces.  GFLOP/s on one core of a Zen 4:

    [8192, 48] @ [48, 16]       60-80 whole     105 in pieces of 1024 rows
    [512, 384] @ [384, 128]     98              112 in pieces of 32 rows, 64 columns
    [512, 192]ᵀ @ [512, 64]     96              115 in pieces of 24 columns
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from graphgpu.dtypes import Array

__all__ = ["OuterProducts", "Products", "largest_divisor"]

_WITHOUT_PACKING = 10**6
_ROWS = 32
_COLUMNS = 12
_SUMMANDS = 256
"""Least sizes of pieces: smaller ones cost more than they gain."""


def largest_divisor(size: int, least: int, most: int) -> int | None:
    """Return the largest divisor within bounds, None if there is none.

    >>> largest_divisor(8192, 32, 1302), largest_divisor(49, 8, 40)
    (1024, None)
    """
    found = (d for d in range(min(size, most), least - 1, -1) if size % d == 0)
    return next(found, None)


class Products:
    """out[M, N] = Σ_i A_i[M, L] W_i[L, N], of pieces of ``rows`` by ``columns``."""

    def __init__(self, M: int, L: int, N: int, rows: int | None = None) -> None:
        self.rows, self.columns = _cut(M, L, N, rows)
        self._left = (-1, 1, self.rows, L)
        self._right = (L, -1, self.columns)
        self._out = (-1, self.rows, N // self.columns, self.columns)

    def compute(
        self,
        matrices: Sequence[Array],
        weights: Iterable[Array],
        out: Array,
        term: Array | None,
    ) -> None:
        """Write the sum into out; ``term`` is scratch of M N, for i > 0."""
        out = out.reshape(self._out)
        target = out
        for matrix, weight in zip(matrices, weights, strict=True):
            np.matmul(
                matrix.reshape(self._left),
                weight.reshape(self._right).transpose(1, 0, 2),
                out=target.transpose(0, 2, 1, 3),
            )
            if target is not out:
                np.add(out, target, out=out)
            elif term is not None:
                target = term.reshape(self._out)


class OuterProducts:
    """acc[L, N] += A[M, L]ᵀ Y[M, N], of pieces of ``columns`` of A.

    Where M is too large for that, each piece has ``rows`` of the M summands, and
    the ``parts`` products are added up.
    """

    def __init__(self, M: int, L: int, N: int) -> None:
        self.rows, self.columns = _cut_outer(M, L, N)
        self.parts = M // self.rows
        self._left = (self.parts, self.rows, L // self.columns, self.columns)
        self._right = (self.parts, 1, self.rows, N)
        self._out = (self.parts, L // self.columns, self.columns, N)

    def add(
        self, matrix: Array, other: Array, acc: Array, first: bool, *scratch: Array
    ) -> None:
        """Add to acc, or write it if it is the first.

        ``scratch`` is [L, N], and [parts, L, N] if there are several.
        """
        target = acc if first else scratch[0]
        products = scratch[1] if self.parts > 1 else target
        np.matmul(
            matrix.reshape(self._left).transpose(0, 2, 3, 1),
            other.reshape(self._right),
            out=products.reshape(self._out),
        )
        if self.parts > 1:
            np.add.reduce(products, axis=0, out=target)
        if not first:
            np.add(acc, target, out=acc)


def _cut(M: int, L: int, N: int, fixed: int | None) -> tuple[int, int]:
    """Return rows and columns of a piece of [M, L] @ [L, N]."""
    for columns in (N, 64, 32):
        if columns <= N and N % columns == 0:
            most = _WITHOUT_PACKING // (L * columns)
            least = fixed or min(M, _ROWS)
            rows = largest_divisor(fixed or M, least, most)
            if rows:
                return rows, columns
    return fixed or M, N


def _cut_outer(M: int, L: int, N: int) -> tuple[int, int]:
    """Return rows and columns of a piece of A in [M, L]ᵀ @ [M, N]."""
    least = min(L, _COLUMNS)
    most = _WITHOUT_PACKING // (N * least)
    rows = largest_divisor(M, min(M, _SUMMANDS), most)
    columns = rows and largest_divisor(L, least, _WITHOUT_PACKING // (N * rows))
    return (rows, columns) if rows and columns else (M, L)
