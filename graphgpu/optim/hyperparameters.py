"""Checks of the numbers that optimisers and schedules are given."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphgpu.errors import GraphError

__all__ = ["at_least_zero", "below_one", "count", "positive", "two_betas"]


def at_least_zero(name: str, value: Any) -> float:
    """Return a finite number that is not negative as a float, or raise."""
    number = _finite(value)
    if number is None or number < 0:
        raise GraphError(f"{name} must be a number >= 0; got {value!r}")
    return number


def positive(name: str, value: Any) -> float:
    """Return a finite number above 0 as a float, or raise."""
    number = _finite(value)
    if number is None or number <= 0:
        raise GraphError(f"{name} must be a number above 0; got {value!r}")
    return number


def below_one(name: str, value: Any) -> float:
    """Return a number of [0, 1) as a float, or raise."""
    number = _finite(value)
    if number is None or not 0 <= number < 1:
        raise GraphError(f"{name} must be a number from 0 to below 1; got {value!r}")
    return number


def count(name: str, value: Any) -> int:
    """Return a positive whole number as an int, or raise."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise GraphError(f"{name} must be an int above 0; got {value!r}")
    return int(value)


def two_betas(betas: Any) -> None:
    """Require the rates of decay of two moments, or raise."""
    if not isinstance(betas, tuple | list) or len(betas) != 2:
        raise GraphError(f"betas are two numbers; got {betas!r}")
    for index, beta in enumerate(betas):
        below_one(f"betas[{index}]", beta)


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(
        value, int | float | np.integer | np.floating
    ):
        return None
    return float(value) if math.isfinite(value) else None
