"""Elementwise functions, at numbers of every kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from cross_checks.case import Array, Case, Random, same

UNARY: dict[str, tuple[float, float]] = {
    **dict.fromkeys("acos asin atanh".split(), (-0.95, 0.95)),
    **dict.fromkeys("log log2 log10 sqrt rsqrt".split(), (0.1, 4.0)),
    "acosh": (1.1, 4.0),
    "log1p": (-0.9, 3.0),
    **dict.fromkeys(
        """abs asinh atan ceil cos cosh elu erf exp expm1 floor isfinite isinf isnan
        leaky_relu logical_not negative reciprocal relu round sigmoid sign silu sin sinh
        softplus square tan tanh trunc""".split(),
        (-4.0, 4.0),
    ),
}
"""Functions of one array, with the same name in both, and where to try them."""

BINARY = """add subtract multiply divide floor_divide remainder power maximum minimum
    atan2 hypot equal not_equal less less_equal greater greater_equal logical_and
    logical_or logical_xor""".split()
SPECIAL = np.array(
    """nan inf -inf 0 -0 1 -1 0.5 -0.5 1.5 -1.5 2.5 -2.5 3 -3 30 -30 80 -80
    1e-30 -1e-30 1e30 -1e30""".split(),
    float,
)
APART: dict[str, Callable[..., Array]] = {
    "rsqrt": lambda x: (x == 0) & np.signbit(x),  # the slope at -0: -inf, not +inf
    "acosh": lambda x: (x < 1) | (x > 1e20),  # slopes: NaN below 1; no overflow
    "abs": np.isnan,  # the sign of NaN is NaN, as in NumPy, not 0
    "sign": np.isnan,
    "elu": np.isnan,  # PyTorch's slope at NaN depends on the dtype
    "power": lambda x, y: np.isnan(x) & (y == 0),  # the slope at NaN**0: NaN, not 0
    "maximum": lambda x, y: np.isnan(x) | np.isnan(y),  # neither is larger: slopes 0
    "minimum": lambda x, y: np.isnan(x) | np.isnan(y),
    "atan2": lambda y, x: (x == 0) & (y == 0),  # no slopes at the origin: NaN, not 0
    "hypot": lambda x, y: (x == 0) & (y == 0),  # the slopes there: 0, not NaN
}
"""Which special values are left out, and why: what is here, not what is there."""


def elementwise(random: Random) -> Iterator[Case]:
    """Every function of numbers, where it is smooth."""
    for name, (low, high) in UNARY.items():
        yield same(name, random.uniform(low, high, (4, 5)))
    for name in BINARY:
        signs = (1, 1) if name == "power" else random.choice([-1, 1], 2)
        x, y = random.uniform(0.2, 3, (3, 1, 4)), random.uniform(0.2, 3, (2, 1))
        yield same(name, signs[0] * x, signs[1] * y)
    yield same("clip", random.uniform(-3, 3, (4, 5)), min=-1, max=2)


def special_values(_: Random) -> Iterator[Case]:
    """NaN, infinities, zeros, kinks, halves, poles, what overflows."""
    for name in UNARY:
        yield same(name, *_kept(name, SPECIAL[None]), order=1)
    # Products of the largest overflow in float32, by PyTorch earlier than by us.
    grid = np.stack([a.ravel() for a in np.meshgrid(SPECIAL[:-4], SPECIAL[:-4])])
    for name in BINARY:
        yield same(name, *_kept(name, grid), order=1)
    yield same("acosh", [-np.inf, -1, 0.5], order=0)
    rows = [[1.0, -np.inf, 2], [np.inf, 1, 2], [np.nan, 1, np.inf], [-np.inf, 0, 90]]
    for name in ("softmax", "log_softmax", "logsumexp"):
        yield same(name, rows, axis=-1, order=1)
    for name in ("softmax", "log_softmax", "logsumexp", "max", "min"):
        yield same(name, [*rows, [-np.inf] * 3], axis=-1, order=0)
    for decimals in (-2, 0, 1, 2):
        x = [*np.arange(-6, 7) / 2, 0.125, 0.375, 1250.0, 1350]
        yield same("round", x, decimals=decimals, order=0)
    for name in ("sum", "mean", "prod", "logsumexp"):
        yield same(name, np.zeros((3, 0)), axis=1, order=1)
    yield same("std", [[2.0, 2, 2], [1, 2, 3]], axis=1, correction=0, order=1)


def _kept(name: str, points: Array) -> Array:
    """Return the points, given by rows of coordinates, that are not set apart."""
    return points[:, ~APART[name](*points)] if name in APART else points
