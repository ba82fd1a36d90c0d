"""Noise that is drawn anew at every step: dropout and its relatives.

Each is by default that of training; with ``training=False`` it is the input itself.
The noise changes with every step of a program and depends on its seed, the step and
the key alone; the gradient sees the same noise.
"""

from __future__ import annotations

from math import sqrt

from graphgpu.dims import Size
from graphgpu.dtypes import accumulator
from graphgpu.errors import GraphError, ShapeError
from graphgpu.graph import Operand, Variable, located
from graphgpu.ops.activations.exponential_units import SELU_ALPHA, SELU_SCALE
from graphgpu.ops.comparison import greater_equal, where
from graphgpu.ops.elementwise import cast
from graphgpu.ops.random import key_of, number_of, random_normal, random_uniform
from graphgpu.ops.requirements import floating
from graphgpu.types import Shape

__all__ = [
    "alpha_dropout",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "feature_alpha_dropout",
    "gaussian_dropout",
    "gaussian_noise",
]

SELU_FLOOR = -SELU_SCALE * SELU_ALPHA
"""What SELU tends to for x → -∞: -λα with its published constants."""


def dropout(
    x: Operand, p: float = 0.5, training: bool = True, key: str | None = None
) -> Variable:
    """Return x with each element zeroed with probability p, the others / (1 - p).

    *Deep Learning*, section 7.12, with the scaling done while training: with
    ``training=False`` it is x.  The mask changes with every step of a program; the
    gradient sees the same mask.  A dropped element is 0 whatever it was.

    >>> import graphgpu as gg
    >>> x = gg.ones((10000,))
    >>> y = gg.evaluate(gg.dropout(x, 0.2))
    >>> sorted(set(y.tolist())), bool(abs(y.mean() - 1) < 0.03)
    ([0.0, 1.25], True)

    Raises
    ------
    GraphError
        p is not from 0 to 1.
    DTypeError
        x is not floating-point.
    """
    variable, p = _operand("dropout", x, p)
    return _dropped("dropout", variable, variable.shape, p, training, key)


def dropout1d(
    x: Operand, p: float = 0.5, training: bool = True, key: str | None = None
) -> Variable:
    """Return x (N, C, L) with each channel zeroed with probability p: see dropout2d."""
    return _maps_dropped("dropout1d", 1, x, p, training, key)


def dropout2d(
    x: Operand, p: float = 0.5, training: bool = True, key: str | None = None
) -> Variable:
    """Return x (N, C, H, W) with each map zeroed with probability p, others / (1 - p).

    A map of a sample is kept or zeroed as a whole, as its neighbouring elements say
    much the same (Tompson et al., "Efficient object localization using convolutional
    networks", 2015: spatial dropout).  See :func:`dropout`.

    >>> import graphgpu as gg
    >>> y = gg.evaluate(gg.dropout2d(gg.ones((2, 50, 3, 3))))
    >>> bool((y == y[:, :, :1, :1]).all()), sorted(set(y.ravel().tolist()))
    (True, [0.0, 2.0])

    Raises
    ------
    GraphError
        p is not from 0 to 1.
    ShapeError
        x is not of shape (N, C, H, W).
    """
    return _maps_dropped("dropout2d", 2, x, p, training, key)


def dropout3d(
    x: Operand, p: float = 0.5, training: bool = True, key: str | None = None
) -> Variable:
    """Return x (N, C, D, H, W), each map zeroed with probability p: see dropout2d."""
    return _maps_dropped("dropout3d", 3, x, p, training, key)


def alpha_dropout(
    x: Operand, p: float = 0.5, training: bool = True, key: str | None = None
) -> Variable:
    """Return a (x m + α' (1 - m)) + b, with m = 0 with probability p, else 1.

    α' = -λα is what SELU tends to on the left.  a = (q + α'² q (1 - q))^(-1/2) with
    q = 1 - p, and b = -a (1 - q) α', so that x of mean 0 and variance 1, as SELU
    makes them, keeps both (Klambauer et al., "Self-normalizing neural networks",
    2017).  For p = 1 it is 0, the limit.

    >>> import graphgpu as gg
    >>> y = gg.evaluate(gg.alpha_dropout(gg.random_normal((20000,)), 0.3))
    >>> bool(abs(y.mean()) < 0.03), bool(abs(y.var() - 1) < 0.05)
    (True, True)

    Raises
    ------
    GraphError
        p is not from 0 to 1.
    DTypeError
        x is not floating-point.
    """
    variable, p = _operand("alpha_dropout", x, p)
    return _alpha("alpha_dropout", variable, variable.shape, p, training, key)


def feature_alpha_dropout(
    x: Operand, p: float = 0.5, training: bool = True, key: str | None = None
) -> Variable:
    """Return :func:`alpha_dropout` of whole maps of x, of shape (N, C, d1, ...).

    Raises
    ------
    ShapeError
        x has fewer than two axes.
    """
    name = "feature_alpha_dropout"
    variable, p = _operand(name, x, p)
    return _alpha(name, variable, _by_map(name, variable, None), p, training, key)


def gaussian_dropout(
    x: Operand, p: float = 0.5, training: bool = True, key: str | None = None
) -> Variable:
    """Return x multiplied by numbers of N(1, p / (1 - p)).

    They have the mean and the variance of the factors of :func:`dropout` (Srivastava
    et al., "Dropout", 2014, section 10).

    >>> import graphgpu as gg
    >>> y = gg.evaluate(gg.gaussian_dropout(gg.ones((20000,)), 0.2))
    >>> bool(abs(y.mean() - 1) < 0.02), bool(abs(y.var() - 0.25) < 0.02)
    (True, True)

    Raises
    ------
    GraphError
        p is not from 0 to below 1.
    DTypeError
        x is not floating-point.
    """
    variable, p = _operand("gaussian_dropout", x, p)
    if p == 1:
        error = GraphError("expected p below 1, at which the variance is infinite")
        raise located(error, "gaussian_dropout(p=1)", (variable,))
    if not training:
        return variable
    key = key_of(key, "gaussian_dropout")
    wide = accumulator(variable.dtype)
    factor = random_normal(variable.shape, 1.0, sqrt(p / (1 - p)), wide, key)
    return cast(cast(variable, wide) * factor, variable.dtype)


def gaussian_noise(
    x: Operand, std: float = 0.1, training: bool = True, key: str | None = None
) -> Variable:
    """Return x plus numbers of N(0, std²) (*Deep Learning*, section 7.5).

    >>> import graphgpu as gg
    >>> y = gg.evaluate(gg.gaussian_noise(gg.zeros((20000,)), 0.5))
    >>> bool(abs(y.mean()) < 0.02), bool(abs(y.std() - 0.5) < 0.02)
    (True, True)

    Raises
    ------
    GraphError
        The standard deviation is negative.
    DTypeError
        x is not floating-point.
    """
    variable = floating("gaussian_noise", x)
    given = f"gaussian_noise(std={std!r})"
    if number_of(given, std) < 0:
        error = GraphError("expected a standard deviation >= 0")
        raise located(error, given, (variable,))
    if not training:
        return variable
    key = key_of(key, "gaussian_noise")
    wide = accumulator(variable.dtype)
    noise = random_normal(variable.shape, 0.0, float(std), wide, key)
    return cast(cast(variable, wide) + noise, variable.dtype)


def _operand(name: str, x: Operand, p: float) -> tuple[Variable, float]:
    """Return x, which must be floating-point, and p, which must be a probability."""
    variable = floating(name, x)
    given = f"{name}(p={p!r})"
    if not 0 <= number_of(given, p) <= 1:
        error = GraphError("expected a probability p from 0 to 1")
        raise located(error, given, (variable,))
    return variable, float(p)


def _by_map(name: str, x: Variable, axes: int | None) -> Shape:
    """Return the shape of one number for each map of x, with its spatial axes."""
    if x.ndim < 2 if axes is None else x.ndim != 2 + axes:
        listed = ", ".join(f"d{i + 1}" for i in range(axes or 1))
        more = ", ..." if axes is None else ""
        error = ShapeError(f"expected x of shape (N, C, {listed}{more})")
        raise located(error, name, (x,))
    ones: tuple[Size, ...] = (1,) * (x.ndim - 2)
    return (*x.shape[:2], *ones)


def _maps_dropped(
    name: str, axes: int, x: Operand, p: float, training: bool, key: str | None
) -> Variable:
    variable, p = _operand(name, x, p)
    shape = _by_map(name, variable, axes)
    return _dropped(name, variable, shape, p, training, key)


def _dropped(
    name: str, x: Variable, shape: Shape, p: float, training: bool, key: str | None
) -> Variable:
    """Return x with what a mask of that shape drops zeroed, and the rest scaled."""
    if not training:
        return x
    key = key_of(key, name)  # counted for p = 0 too: other keys stay as they are
    if p == 0:
        return x
    kept = greater_equal(random_uniform(shape, key=key), p)
    scale = 0.0 if p == 1 else 1 / (1 - p)
    scaled = cast(x, accumulator(x.dtype)) * scale
    return cast(where(kept, scaled, 0), x.dtype)


def _alpha(
    name: str, x: Variable, shape: Shape, p: float, training: bool, key: str | None
) -> Variable:
    """Return x with what a mask of that shape drops at SELU's floor, standardised."""
    if not training:
        return x
    key = key_of(key, name)
    if p == 0:
        return x
    q = 1 - p
    a = 0.0 if q == 0 else (q + SELU_FLOOR**2 * q * p) ** -0.5
    b = -a * p * SELU_FLOOR
    kept = greater_equal(random_uniform(shape, key=key), p)
    wide = cast(x, accumulator(x.dtype))
    return cast(where(kept, a * wide + b, a * SELU_FLOOR + b), x.dtype)
