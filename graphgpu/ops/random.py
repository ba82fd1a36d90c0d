"""Random numbers that depend on seed, key, step, iteration and place alone.

A random node has a key, fixed when it is created: the scope's path, the kind and
an ordinal (``conv1/dropout#0``), or what the caller gave.  Its one input is the
run key: seed, step and iteration.  So it is a pure function, the same on every
device and however a graph is rewritten; element i, in row-major order, is made of
fixed words of the node's stream (:mod:`graphgpu.ops.philox`), so that the first n
numbers do not depend on the shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from graphgpu.dims import Size
from graphgpu.dtypes import Array, DType, accumulator, dtype, is_floating, is_integer
from graphgpu.errors import DTypeError, GraphError
from graphgpu.graph import (
    RUN_KEY,
    Constant,
    Operand,
    Operation,
    Variable,
    apply,
    as_variable,
    current,
    located,
)
from graphgpu.ops.comparison import less
from graphgpu.ops.elementwise import cast
from graphgpu.ops.philox import (
    random_double_words,
    random_words,
    standard_normal,
    unit_uniform,
)
from graphgpu.types import Guards, Shape, TensorType, make_shape

__all__ = [
    "random_bernoulli",
    "random_bits",
    "random_integers",
    "random_normal",
    "random_uniform",
]

Sizes = Sequence[Size | str] | Size | str
_FLOAT32, _FLOAT64 = np.dtype("float32"), np.dtype("float64")


class Random(Operation):
    """An operation that computes random numbers from the run key. Abstract."""

    key: str
    shape: Shape
    dtype: DType

    def infer(self, guards: Guards, run_key: TensorType) -> TensorType:
        """Return the type asked for."""
        return TensorType(self.dtype, self.shape)


@dataclass(frozen=True, slots=True)
class RandomBits(Random):
    """Words of the stream: element i is word i, or words 2i (low) and 2i + 1."""

    key: str
    shape: Shape
    dtype: DType

    def numpy(self, run_key: Array) -> Array:
        """Return the words."""
        count = _count(self.shape)
        if self.dtype.itemsize == 4:
            return random_words(self.key, run_key, count).reshape(self.shape)
        return random_double_words(self.key, run_key, count).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class RandomIntegers(Random):
    """low + ⌊w (high - low) / 2⁶⁴⌋ with 64 random bits w."""

    key: str
    shape: Shape
    low: int
    high: int
    dtype: DType

    def numpy(self, run_key: Array) -> Array:
        """Multiply in two halves: the upper 64 bits of a product of 64 and 33."""
        words = random_words(self.key, run_key, 2 * _count(self.shape)).reshape(-1, 2)
        low, high = words.astype(np.uint64).T
        extent = np.uint64(self.high - self.low)
        offset = (high * extent + (low * extent >> 32)) >> 32
        start = np.uint64(self.low % 2**64)
        values: Array = (start + offset).astype(self.dtype)
        return values.reshape(self.shape)


@dataclass(frozen=True, slots=True)
class RandomUniform(Random):
    """low + u (high - low), u uniform in [0, 1): a multiple of 2⁻²⁴, or 2⁻⁵³.

    In float32, u is the upper 24 bits of word i; in float64, the upper 53 of the
    64 in words 2i and 2i + 1.  Then there is one product and one sum, each rounded
    once; halves are float32 numbers rounded.  What rounds up to ``high`` becomes
    the number below it.
    """

    key: str
    shape: Shape
    low: float
    high: float
    dtype: DType

    def numpy(self, run_key: Array) -> Array:
        """Scale the random bits."""
        wide = accumulator(self.dtype).type
        unit = unit_uniform(self.key, run_key, _count(self.shape), self.dtype)
        low, high = self.dtype.type(self.low), self.dtype.type(self.high)
        values = wide(self.low) + unit * (wide(self.high) - wide(self.low))
        below = np.nextafter(high, low)
        values = np.minimum(values.astype(self.dtype), below)
        return np.reshape(values, self.shape)


@dataclass(frozen=True, slots=True)
class RandomNormal(Random):
    """mean + std z, z standard normal (:func:`~graphgpu.ops.philox.standard_normal`).

    z is computed in float64 and the sum rounded at the end; a device that computes
    z in float32 is within 2⁻²⁰ (1 + |z|) of it.
    """

    key: str
    shape: Shape
    mean: float
    std: float
    dtype: DType

    def numpy(self, run_key: Array) -> Array:
        """Scale and shift in float64."""
        z = standard_normal(self.key, run_key, _count(self.shape), self.dtype)
        values: Array = (self.mean + self.std * z).astype(self.dtype)
        return values.reshape(self.shape)


def random_bits(
    shape: Sizes, dtype: object = "uint32", key: str | None = None
) -> Variable:
    """Return uniformly distributed unsigned integers of all bits: uint32 or uint64.

    >>> import graphgpu as gg
    >>> gg.random_bits(("batch", 2)).type
    uint32[batch,2]

    Raises
    ------
    DTypeError
        The dtype is neither uint32 nor uint64.
    """
    chosen = _dtype(dtype)
    if chosen.name not in ("uint32", "uint64"):
        error = DTypeError(f"expected dtype uint32 or uint64; got {chosen.name}")
        raise located(error, "random_bits")
    sizes = _shape("random_bits", shape)
    return _random(RandomBits(key_of(key, "random_bits"), sizes, chosen))


def random_integers(
    shape: Sizes, low: int, high: int, dtype: object = "int64", key: str | None = None
) -> Variable:
    """Return integers low, low + 1, ..., high - 1, each as likely as the others.

    As likely to a relative 2⁻³²: the numbers come from 64 random bits.

    >>> import graphgpu as gg
    >>> dice = gg.evaluate(gg.random_integers((100,), 1, 7))
    >>> int(dice.min()), int(dice.max())
    (1, 6)

    Raises
    ------
    GraphError
        There is no integer from low to high - 1, or more than 2**32, or one that
        the dtype does not hold.
    DTypeError
        The bounds or the dtype are no integers.
    """
    chosen = _dtype(dtype)
    name = f"random_integers(low={low}, high={high}, dtype={chosen.name})"
    if not is_integer(chosen):
        raise located(DTypeError("expected an integer dtype"), name)
    if not (hasattr(low, "__index__") and hasattr(high, "__index__")):
        raise located(DTypeError("expected integers as bounds"), name)
    info = np.iinfo(chosen)
    if not 1 <= high - low <= 2**32:
        error = GraphError("expected from 1 to 2**32 integers between low and high")
        raise located(error, name)
    if low < info.min or high - 1 > info.max:
        raise located(GraphError(f"{chosen.name} does not hold all of them"), name)
    sizes = _shape("random_integers", shape)
    key = key_of(key, "random_integers")
    return _random(RandomIntegers(key, sizes, int(low), int(high), chosen))


def random_uniform(
    shape: Sizes,
    low: float = 0.0,
    high: float = 1.0,
    dtype: object = "float32",
    key: str | None = None,
) -> Variable:
    """Return numbers uniformly distributed in [low, high).

    They depend on the seed of the program, its step, and the key: the path of the
    scope with an ordinal, or the one given.  Nodes with equal keys have equal
    numbers.  The numbers have the same bits on every device.

    >>> import graphgpu as gg
    >>> noise = gg.random_uniform(("batch", 3), -1, 1)
    >>> noise.type
    float32[batch,3]

    Raises
    ------
    GraphError
        The bounds are not finite or not in order.
    DTypeError
        The dtype is no floating-point one.
    """
    chosen = _floating("random_uniform", dtype)
    name = f"random_uniform(low={low}, high={high})"
    bounds = number_of(name, low), number_of(name, high)
    with np.errstate(all="ignore"):
        wide = accumulator(chosen).type
        extent = wide(chosen.type(bounds[1])) - wide(chosen.type(bounds[0]))
    if not (extent >= 0 and isfinite(extent)):
        error = GraphError(f"expected low <= high, a finite {chosen.name} apart")
        raise located(error, name)
    sizes = _shape("random_uniform", shape)
    return _random(RandomUniform(key_of(key, "random_uniform"), sizes, *bounds, chosen))


def random_normal(
    shape: Sizes,
    mean: float = 0.0,
    std: float = 1.0,
    dtype: object = "float32",
    key: str | None = None,
) -> Variable:
    """Return normally distributed numbers of a mean and a standard deviation.

    For a mean or deviation that is a variable, write ``mean + std *
    gg.random_normal(shape)``: gradients flow to both.  See
    :func:`random_uniform` for what the numbers depend on.

    >>> import graphgpu as gg
    >>> z = gg.evaluate(gg.random_normal((10000,)))
    >>> abs(z.mean()) < 0.03, abs(z.std() - 1) < 0.03
    (np.True_, np.True_)

    Raises
    ------
    GraphError
        The mean is not finite, or the deviation negative.
    DTypeError
        The dtype is no floating-point one.
    """
    chosen = _floating("random_normal", dtype)
    name = f"random_normal(mean={mean}, std={std})"
    moments = number_of(name, mean), number_of(name, std)
    if moments[1] < 0:
        raise located(GraphError("expected a standard deviation >= 0"), name)
    sizes = _shape("random_normal", shape)
    return _random(RandomNormal(key_of(key, "random_normal"), sizes, *moments, chosen))


def random_bernoulli(
    p: Operand,
    shape: Sizes | None = None,
    dtype: object = "bool",
    key: str | None = None,
) -> Variable:
    """Return True, or 1, with probability p, and False, or 0, otherwise.

    ``p`` may be a variable, such as the probabilities of a layer of units, and is
    broadcast to ``shape``, by default its own.  0 and 1 are exact: never and
    always.  No gradient flows to p.

    >>> import graphgpu as gg
    >>> h = gg.sigmoid(gg.placeholder("x", ("batch", 3)))
    >>> gg.random_bernoulli(h, dtype="float32").type
    float32[batch,3]

    Raises
    ------
    GraphError
        A number p is not from 0 to 1.
    ShapeError
        p does not broadcast to the shape.
    """
    probability = as_variable(p, TensorType(_FLOAT32, ()))
    if isinstance(probability, Constant):
        value = probability.value
        if not np.all((value >= 0) & (value <= 1)):
            error = GraphError(f"expected probabilities from 0 to 1; got {value}")
            raise located(error, "random_bernoulli")
    if probability.dtype != _FLOAT64:
        probability = cast(probability, _FLOAT32)
    sizes = probability.shape if shape is None else _shape("random_bernoulli", shape)
    key = key_of(key, "random_bernoulli")
    uniform = random_uniform(sizes, dtype=probability.dtype, key=key)
    return cast(less(uniform, probability.broadcast_to(sizes)), dtype)


def _random(operation: Random) -> Variable:
    return apply(operation, RUN_KEY)


def _count(shape: Shape) -> int:
    total = 1
    for size in shape:
        assert isinstance(size, int)
        total *= size
    return total


def key_of(key: str | None, kind: str) -> str:
    """Return the key given, or the next of the present scope."""
    if key is None:
        return current().key(kind)
    if not isinstance(key, str) or not key:
        raise located(GraphError(f"expected a key that is a text; got {key!r}"), kind)
    return key


def _shape(name: str, shape: Sizes) -> Shape:
    try:
        return make_shape(shape)
    except GraphError as error:
        raise located(error, f"{name}(shape={shape})") from None


def _floating(name: str, wanted: object) -> DType:
    chosen = _dtype(wanted)
    if not is_floating(chosen):
        error = DTypeError(f"expected a floating-point dtype; got {chosen.name}")
        raise located(error, name)
    return chosen


def number_of(name: str, value: object) -> float:
    """Return a finite number, or an error that says where."""
    if isinstance(value, Variable):
        error = DTypeError(
            "expected a number; scale and shift the result where it is a variable"
        )
        raise located(error, name, (value,))
    array = isinstance(value, np.ndarray) and value.ndim > 0
    if isinstance(value, bool) or array or not hasattr(value, "__float__"):
        raise located(DTypeError(f"expected a number; got {value!r}"), name)
    number = float(value)
    if not isfinite(number):
        raise located(GraphError(f"expected a finite number; got {number}"), name)
    return number


def _dtype(name: object) -> DType:
    return dtype(name)
