"""Plots of functions and their slopes, computed by graphgpu, as SVG."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

import graphgpu as gg
from op_references.chapters import Entry
from op_references.properties import evaluated

__all__ = ["COMPARED", "comparison", "loss_plot", "scalar_plot", "vector_plot"]

matplotlib.rcParams["svg.hashsalt"] = "graphgpu"  # the same file for the same plot
matplotlib.rcParams["svg.fonttype"] = "none"

COMPARED = {
    "saturating": ("sigmoid", "tanh", "softsign", "hardtanh"),
    "rectifiers": ("relu", "leaky_relu", "elu", "softplus"),
    "smooth rectifiers": ("silu", "gelu", "mish", "softplus"),
    "shrinkage": ("tanhshrink", "softshrink", "hardshrink"),
}
"""Functions that are drawn in one picture, with their slopes beside."""

_GRID = np.linspace(-4, 4, 1601)
_BLUE, _RED = "#1f6feb", "#d1495b"


def values(function: Any, grid: Any = _GRID) -> tuple[Any, Any]:
    """Return a function of one number and its derivative on a grid."""
    x = gg.placeholder("x", grid.shape, "float64")
    y = function(x)
    (slope,) = gg.gradients(gg.sum(y), [x], disconnected="zero")
    found = gg.compile([x], [y, slope], device="cpu")(grid)
    return found[0], found[1]


def scalar_plot(entry: Entry, path: Path) -> None:
    """Draw f and f' of a function of one number."""
    f, slope = values(entry.value)
    _save({"f": f, "f′": slope}, path)


def vector_plot(entry: Entry, path: Path) -> bool:
    """Draw the first component of f(x, 0) and its slope; False if f wants more."""
    needed = [
        p for p in entry.parameters.values() if p.default is inspect.Parameter.empty
    ]
    if len(needed) != 1 or "axis" not in entry.parameters:
        return False
    pairs = np.stack([_GRID, 0 * _GRID], axis=-1)
    x = gg.placeholder("x", pairs.shape, "float64")
    first = entry.value(x, axis=-1)[:, 0]
    (slope,) = gg.gradients(gg.sum(first), [x])
    f, slopes = gg.compile([x], [first, slope], device="cpu")(pairs)
    _save({"f(x, 0)₁": f, "∂/∂x": slopes[:, 0]}, path)
    return True


def loss_plot(entry: Entry, path: Path) -> bool:
    """Draw a loss of x at y = 1, and its slope; False if its formula is of arrays."""
    stated = entry.properties
    labels = {"formula": "loss at y = 1", "derivative": "slope"}
    curves = {
        label: curve
        for key, label in labels.items()
        if key in stated and (curve := _curve(entry, stated[key])) is not None
    }
    if "loss at y = 1" not in curves:
        return False
    _save(curves, path)
    return True


def _curve(entry: Entry, formula: str) -> Any:
    """Return a formula of x and y at y = 1, if it is one of numbers."""
    names = {
        name: parameter.default
        for name, parameter in entry.parameters.items()
        if isinstance(parameter.default, int | float)
    }
    try:
        curve, *single = (
            np.asarray(evaluated(formula, names | {"x": x, "y": np.ones_like(x)}))
            for x in (_GRID, _GRID[:1], _GRID[1000:1001], _GRID[1300:1301])
        )
    except (TypeError, NameError, ValueError, IndexError):  # of arrays
        return None
    if curve.shape != _GRID.shape or any(s.shape != (1,) for s in single):
        return None
    expected = curve[[0, 1000, 1300]]
    if not np.array_equal(np.ravel(single), expected, equal_nan=True):
        return None
    curve = np.where(np.isfinite(curve), curve, np.nan)
    return None if np.isnan(curve).all() else curve


def comparison(functions: Sequence[Entry], path: Path) -> None:
    """Draw several functions in one picture, and their slopes in another beside."""
    figure = Figure(figsize=(8, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    for entry in functions:
        f, slope = values(entry.value)
        left.plot(_GRID, _cut(f), label=entry.name)
        right.plot(_GRID, _cut(slope))
    left.set_title("f")
    right.set_title("f′")
    left.legend(fontsize=8)
    for axes in (left, right):
        _frame(axes)
    figure.savefig(path, format="svg", metadata={"Date": None})


def _save(curves: Mapping[str, Any], path: Path) -> None:
    figure = Figure(figsize=(2.6, 1.9), layout="constrained")
    axes = figure.subplots()
    for (label, curve), color in zip(curves.items(), (_BLUE, _RED), strict=False):
        axes.plot(_GRID, _cut(curve), color=color, label=label, linewidth=1.4)
    axes.legend(fontsize=6)
    _frame(axes)
    figure.savefig(path, format="svg", metadata={"Date": None})


def _frame(axes: Any) -> None:
    axes.axhline(0, color="#8888", linewidth=0.6)
    axes.axvline(0, color="#8888", linewidth=0.6)
    axes.tick_params(labelsize=6)
    axes.set_ylim(max(axes.get_ylim()[0], -4.2), min(axes.get_ylim()[1], 4.2))


def _cut(curve: Any) -> Any:
    """Return a curve with a gap wherever it jumps."""
    curve = np.array(curve, np.float64)
    jumps = np.flatnonzero(np.abs(np.diff(curve)) > 0.05)
    curve[jumps] = np.nan
    return curve
