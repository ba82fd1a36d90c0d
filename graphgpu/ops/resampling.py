"""Resampling of images: up and down, to a size or by a factor.

Along an axis of H elements, output i of Q stands at the place s(i) of the input,
where element h is at h.  With corners aligned, s(i) = i (H - 1) / (Q - 1); else,
what is aligned is the borders, s(i) = (i + 1/2) step - 1/2, and step is H / Q,
or 1 / factor.  Places are fractions n / d of integers, so nothing is rounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from numbers import Real
from typing import Any

import numpy as np

from graphgpu.dims import Dim, Size
from graphgpu.dtypes import DType
from graphgpu.errors import GraphError, ShapeError
from graphgpu.graph import Operand, Variable, apply, constant, located
from graphgpu.ops.adaptive_pooling import AdaptiveAveragePool
from graphgpu.ops.arithmetic import maximum, minimum
from graphgpu.ops.creation import Extent, arange
from graphgpu.ops.elementwise import cast
from graphgpu.ops.gather import Gather
from graphgpu.ops.requirements import floating, widened
from graphgpu.ops.windows import AXES
from graphgpu.types import Shape, make_shape

__all__ = ["interpolate"]

Sizes = Size | str | Sequence[Size | str]
Factors = float | Sequence[float]

MODES = {
    "nearest": (1, 2, 3),
    "nearest-exact": (1, 2, 3),
    "linear": (1,),
    "bilinear": (2,),
    "trilinear": (3,),
    "bicubic": (2,),
    "area": (1, 2, 3),
}
"""The modes, and for how many spatial axes each is."""
_SLOPE = -0.75
"""Of the cubic kernel at 1: the a of Keys."""


def interpolate(
    x: Operand,
    size: Sizes | None = None,
    scale_factor: Factors | None = None,
    mode: str = "nearest",
    align_corners: bool = False,
) -> Variable:
    """Return an image resampled to a size, or by a factor.

    Along each axis, output i of Q stands at s = (i + 1/2) step - 1/2 among the
    H elements, with step = H / Q or 1 / factor:

    ==================  ====================================================
    ``nearest``         x[⌊i step⌋], of equally near ones the first
    ``nearest-exact``   x[⌊(i + 1/2) step⌋]
    ``linear``          (1 - t) x[⌊s⌋] + t x[⌊s⌋ + 1], where t = s - ⌊s⌋ and s
                        is no less than 0; ``bilinear`` along two axes,
                        ``trilinear`` along three
    ``bicubic``         Σ_k w(s - ⌊s⌋ - k) x[⌊s⌋ + k], k from -1 to 2, along two
                        axes, with the kernel of R. Keys, "Cubic convolution
                        interpolation for digital image processing", 1981,
                        a = -3/4
    ``area``            the mean over Q equal parts: ``adaptive_avg_pool2d``
    ==================  ====================================================

    An index beyond the border stands for the last element.  The coordinates are
    PyTorch's, but are computed with integers: so an output that lies between two
    elements, ``nearest``, is never given to the wrong one by a rounding.

    Parameters
    ----------
    x
        Floating-point, of the axes N, C and one, two or three more.
    size
        The sizes of the spatial axes, or one for all.
    scale_factor
        The factor, or one for each spatial axis, in place of sizes:
        Q = ⌊H factor⌋.
    mode
        As above.
    align_corners
        Let s = i (H - 1) / (Q - 1), so that the corners keep their values; for
        the linear and the cubic modes.

    Raises
    ------
    ShapeError
        A size or a factor is none of the above, or nothing would be left.
    GraphError
        Not just one of size and factor is given; the mode is none of the above,
        or not for so many axes; corners are to be aligned in another mode.
    DTypeError
        x is of integers.

    Examples
    --------
    >>> import graphgpu as gg
    >>> x = gg.constant([[[1.0, 3.0]]])
    >>> gg.evaluate(gg.interpolate(x, scale_factor=2))
    array([[[1., 1., 3., 3.]]], dtype=float32)
    >>> gg.evaluate(gg.interpolate(x, 4, mode="linear"))
    array([[[1. , 1.5, 2.5, 3. ]]], dtype=float32)
    >>> images = gg.placeholder("images", ("batch", 3, "h", "w"))
    >>> gg.interpolate(images, scale_factor=2, mode="bilinear").type
    float32[batch,3,2*h,2*w]
    """
    call = f"interpolate(size={size!r}, scale_factor={scale_factor!r}, mode={mode!r})"
    image = floating(call, x)
    try:
        axes = _axes(image, mode, align_corners)
        samples = _samples(image.shape[2:], size, scale_factor, align_corners)
        if mode == "area":
            counts = tuple(s.count for s in samples)
            return apply(AdaptiveAveragePool(counts), image)
    except GraphError as error:
        raise located(error, call, (image,)) from None
    if mode.startswith("nearest"):
        return _nearest(image, samples, exact=mode == "nearest-exact")
    wide = widened(image)
    for axis, along in enumerate(samples, start=2):
        if not along.is_identity:
            taps = _cubic(along) if mode == "bicubic" else _linear(along)
            wide = _weighted(wide, axis, taps)
    assert axes == len(samples)
    return cast(wide, image.dtype)


@dataclass(frozen=True, slots=True)
class Samples:
    """``count`` outputs along an axis of ``size``, ``rise`` / ``run`` apart.

    With integers or variables as ``rise`` and ``run``, all places are n / d.
    """

    size: Size
    count: Size
    rise: Size
    run: Size
    aligned: bool

    @property
    def is_identity(self) -> bool:
        """Whether every output stands on an element, the next one on the next."""
        same: bool = self.size == self.count and self.rise == self.run
        return same

    @property
    def repeats(self) -> int | None:
        """How often each element is repeated, if evenly."""
        rise, run = self.rise, self.run
        if self.aligned or not isinstance(rise, int) or not isinstance(run, int):
            return None
        times, rest = divmod(run, rise)
        return times if rest == 0 and self.size * times == self.count else None

    @property
    def is_known(self) -> bool:
        """Whether all of it is numbers."""
        sizes = (self.size, self.count, self.rise, self.run)
        return all(isinstance(s, int) for s in sizes)

    def number(self, size: Size) -> Any:
        """Return a size as a number, or a variable that will have it."""
        if self.is_known or isinstance(size, int):
            return size
        return apply(Extent(size, np.dtype("int64")))

    def outputs(self) -> Any:
        """Return i, as an array or a variable."""
        count: Any = self.count
        return np.arange(count) if self.is_known else arange(count)

    def clipped(self, place: Any, last: Any) -> Any:
        """Return a place no less than 0 and no more than the last."""
        if self.is_known:
            return np.clip(place, 0, last)
        return minimum(maximum(place, 0), last)

    def steps(self) -> tuple[Any, Any]:
        """Return n and d with n / d = i step."""
        return self.outputs() * self.number(self.rise), self.number(self.run)

    def places(self) -> tuple[Any, Any]:
        """Return n and d with n / d = s(i)."""
        n, d = self.steps()
        if self.aligned:
            return n, d if isinstance(self.run, int) else maximum(d, 1)
        return n * 2 + self.number(self.rise) - d, d * 2


def _nearest(x: Variable, samples: Sequence[Samples], exact: bool) -> Variable:
    """Repeat elements, where that is even; else gather them."""
    repeats = [s.repeats for s in samples]
    if all(r is not None for r in repeats):
        return _repeated(x, [r or 1 for r in repeats])
    for axis, along in enumerate(samples, start=2):
        n, d = along.steps()
        if exact:
            n, d = n * 2 + along.number(along.rise), d * 2
        index = along.clipped(n // d, along.number(along.size) - 1)
        x = x if along.is_identity else _gathered(x, axis, index)
    return x


def _repeated(x: Variable, repeats: Sequence[int]) -> Variable:
    """Return x with each element so many times along each spatial axis."""
    apart: list[Size] = list(x.shape[:2])
    wide: list[Size] = list(x.shape[:2])
    for size, times in zip(x.shape[2:], repeats, strict=True):
        apart += [size, 1]
        wide += [size, times]
    shape = [s * r for s, r in zip(x.shape[2:], repeats, strict=True)]
    return x.reshape(apart).broadcast_to(wide).reshape((*x.shape[:2], *shape))


def _linear(along: Samples) -> list[tuple[Any, Any]]:
    """Return indices and weights of the two neighbours."""
    n, d = along.places()
    last = along.number(along.size) - 1
    n = along.clipped(n, last * d)
    low = n // d
    ahead = n - low * d
    return [
        (low, _quotient(d - ahead, d)),
        (along.clipped(low + 1, last), _quotient(ahead, d)),
    ]


def _cubic(along: Samples) -> list[tuple[Any, Any]]:
    """Return indices and weights of the four neighbours."""
    n, d = along.places()
    last = along.number(along.size) - 1
    low = n // d
    t = _quotient(n - low * d, d)
    weights = [_far(t + 1), _near(t), _near(1 - t), _far(2 - t)]
    return [(along.clipped(low + k, last), w) for k, w in enumerate(weights, start=-1)]


def _near(t: Any) -> Any:
    """Return the cubic kernel at 0 ≤ t ≤ 1."""
    return ((_SLOPE + 2) * t - (_SLOPE + 3)) * t * t + 1


def _far(t: Any) -> Any:
    """Return the cubic kernel at 1 ≤ t ≤ 2."""
    return ((t - 5) * t + 8) * t * _SLOPE - 4 * _SLOPE


def _quotient(n: Any, d: Any) -> Any:
    """Return n / d in float64."""
    if isinstance(n, Variable):
        wide = cast(n, "float64")
        return wide / (cast(d, "float64") if isinstance(d, Variable) else float(d))
    return n / d


def _weighted(x: Variable, axis: int, taps: Sequence[tuple[Any, Any]]) -> Variable:
    """Return the sum of elements along an axis, each times its weight."""
    total: Variable | None = None
    for index, weight in taps:
        along = _shaped(weight, x.ndim - axis - 1, x.dtype)
        term = _gathered(x, axis, index) * along
        total = term if total is None else total + term
    assert total is not None
    return total


def _shaped(weight: Any, axes: int, dtype: DType) -> Variable:
    """Return weights with so many axes of size 1 after them."""
    if not isinstance(weight, Variable):
        return constant(np.asarray(weight, dtype).reshape(-1, *[1] * axes))
    return cast(weight, dtype).reshape((*weight.shape, *[1] * axes))


def _gathered(x: Variable, axis: int, index: Any) -> Variable:
    places = index if isinstance(index, Variable) else constant(index)
    return apply(Gather((axis,)), x, places)


# --- arguments


def _axes(x: Variable, mode: str, align_corners: bool) -> int:
    """Return the number of spatial axes, for which the mode must be."""
    axes = x.ndim - 2
    if axes not in AXES:
        raise ShapeError("expected an input with axes N, C and one, two or three more")
    if mode not in MODES:
        raise GraphError(f"expected a mode of {', '.join(MODES)}; got {mode!r}")
    if axes not in MODES[mode]:
        fitting = ", ".join(m for m, counts in MODES.items() if axes in counts)
        raise GraphError(
            f"expected a mode for {axes} spatial axes, of {fitting}; got {mode!r}"
        )
    if align_corners and mode in ("nearest", "nearest-exact", "area"):
        raise GraphError(
            f"expected align_corners=False in mode {mode!r}, which has no corners "
            "to align"
        )
    return axes


def _samples(
    sizes: Shape,
    size: Sizes | None,
    scale_factor: Factors | None,
    align_corners: bool,
) -> list[Samples]:
    """Return how the outputs stand along each axis."""
    if (size is None) == (scale_factor is None):
        found = "neither" if size is None else "both"
        raise GraphError(f"expected either size or scale_factor, got {found}")
    if size is None:
        factors = _factors(scale_factor, len(sizes))
        counts = tuple(
            h * f.numerator // f.denominator
            for h, f in zip(sizes, factors, strict=True)
        )
        _require_some(sizes, counts)
        steps: list[tuple[Size, Size]] = [f.as_integer_ratio()[::-1] for f in factors]
    else:
        given = make_shape(size)
        counts = given * len(sizes) if len(given) == 1 else given
        if len(counts) != len(sizes):
            raise ShapeError(
                f"expected size to be one, or one for each of {len(sizes)} axes"
            )
        _require_some(sizes, counts)
        steps = [_reduced(h, q) for h, q in zip(sizes, counts, strict=True)]
    samples = []
    for h, q, step in zip(sizes, counts, steps, strict=True):
        corners = _reduced(h - 1, q - 1) if align_corners and q != 1 else (0, 1)
        rise, run = corners if align_corners else step
        samples.append(Samples(h, q, rise, run, bool(align_corners)))
    return samples


def _require_some(sizes: Shape, counts: Shape) -> None:
    """Require elements along each axis, before and after."""
    for h, q in zip(sizes, counts, strict=True):
        if h == 0 or q == 0:
            raise ShapeError(
                "expected at least 1 element along each spatial axis, before and "
                f"after; got {h} elements that become {q}"
            )


def _reduced(h: Size, q: Size) -> tuple[Size, Size]:
    """Return the fraction h / q in lowest terms, if it is known."""
    if isinstance(h, Dim) or isinstance(q, Dim):
        return (1, 1) if h == q else (h, q)
    return Fraction(h, q).as_integer_ratio()


def _factors(scale_factor: Any, axes: int) -> list[Fraction]:
    """Return the factors as fractions: 0.1 as a tenth."""
    many = isinstance(scale_factor, tuple | list)
    listed = list(scale_factor) if many else [scale_factor] * axes
    numbers = [isinstance(f, Real) and not isinstance(f, bool) for f in listed]
    if (
        len(listed) != axes
        or not all(numbers)
        or not all(0 < f < float("inf") for f in listed)
    ):
        raise ShapeError(
            f"expected scale_factor to be a number > 0, or one for each of {axes} axes"
        )
    return [Fraction(float(f)).limit_denominator(10**6) for f in listed]
