"""The dtypes and the one promotion table.

Between two arrays: the same dtype stays; an integer or bool with a float gives
that float; two floats give the wider, and bfloat16 with float16 gives float32;
two integers give the smallest integer that holds both, as NumPy has it (uint64
with a signed integer gives float64).  Python scalars and NumPy arrays mixed
into an expression are weak: they take the dtype of the variable they meet, or,
when their kind is higher, the default of their kind: int64, float32.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import ml_dtypes
import numpy as np

from graphgpu.errors import DTypeError

__all__ = [
    "Array",
    "DType",
    "accumulator",
    "epsilon",
    "bfloat16",
    "dtype",
    "is_floating",
    "is_integer",
    "kind",
    "promote",
    "weak_dtype",
]

DType: TypeAlias = np.dtype[Any]
Array: TypeAlias = np.ndarray[Any, Any]

bfloat16: DType = np.dtype(ml_dtypes.bfloat16)

_NAMES: dict[str, DType] = {
    **{
        name: np.dtype(name)
        for name in (
            "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 "
            "float16 float32 float64"
        ).split()
    },
    "bfloat16": bfloat16,
}
_KNOWN = {d: d for d in _NAMES.values()}
_FLOATS = {d for n, d in _NAMES.items() if "float" in n}
_INTEGERS = {d for n, d in _NAMES.items() if "int" in n}
_BOOL = np.dtype(bool)


def dtype(name: object) -> DType:
    """Return the dtype for a name, a NumPy dtype or a NumPy scalar type.

    The order of bytes does not matter: values are kept in that of the machine.

    >>> dtype("bfloat16")
    dtype(bfloat16)

    Raises
    ------
    DTypeError
        It is none of the thirteen that graphgpu computes with.
    """
    if isinstance(name, str) and name in _NAMES:
        return _NAMES[name]
    try:
        if name is None:  # which NumPy reads as float64
            raise TypeError
        native = np.dtype(name).newbyteorder("=")  # type: ignore[call-overload]
        found = _KNOWN.get(native)
    except TypeError:
        found = None
    if found is None:
        known = ", ".join(_NAMES)
        raise DTypeError(f"dtype {name!r} is not supported; use one of {known}")
    return found


def is_floating(d: DType) -> bool:
    """Whether a dtype is a floating-point one (and so has gradients)."""
    return d in _FLOATS


def is_integer(d: DType) -> bool:
    """Whether a dtype is an integer one, bool apart."""
    return d in _INTEGERS


def kind(d: DType) -> int:
    """Return 0 for bool, 1 for integers, 2 for floats: the promotion order."""
    return 2 if d in _FLOATS else 1 if d in _INTEGERS else 0


def promote(left: DType, right: DType) -> DType:
    """Return the dtype of an operation between two arrays.

    >>> promote(dtype("int64"), dtype("bfloat16"))
    dtype(bfloat16)
    >>> promote(dtype("float16"), dtype("bfloat16"))
    dtype('float32')
    """
    if left == right:
        return left
    if kind(left) != kind(right):
        return left if kind(left) > kind(right) else right
    if {left, right} == {bfloat16, _NAMES["float16"]}:
        return _NAMES["float32"]
    return np.promote_types(left, right)


def weak_dtype(value: DType, other: DType) -> DType:
    """Return the dtype that a weak value takes beside a variable.

    >>> weak_dtype(dtype("float64"), dtype("float32"))
    dtype('float32')
    >>> weak_dtype(dtype("float64"), dtype("int32"))
    dtype('float32')
    """
    if kind(value) <= kind(other):
        return other
    return _NAMES["float32"] if kind(value) == 2 else _NAMES["int64"]


def accumulator(d: DType) -> DType:
    """Return the dtype in which sums of a dtype are formed: float32 for halves."""
    return _NAMES["float32"] if d in _FLOATS and d.itemsize == 2 else d


def epsilon(dtype: DType) -> float:
    """Return the distance from 1 to the next number of a floating-point dtype.

    >>> epsilon(bfloat16)
    0.0078125
    """
    limits: Any = ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]
    return float(limits.eps)
