"""Functions of whole arrays: reductions, order, products, indices, shapes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import linalg
from torch.nn import functional

import graphgpu as gg
from cross_checks.case import Case, Function, Random, call, peer, same

BOTH = (False, True)


def reductions(random: Random) -> Iterator[Case]:
    """Ties and zeros among the numbers; also what is normalised over an axis."""
    names = "sum mean max min prod any all count_nonzero logsumexp var std".split()
    axes = (None, 1, -1, (0, 2), (0, 1, 2))
    for name, axis, keepdims in product(names, axes, (False, True)):
        x = random.integers(-3, 4, (3, 4, 2)).astype(float)  # with ties and zeros
        if name in ("logsumexp", "var", "std"):
            x = random.standard_normal((3, 4, 2))
        more = {"correction": 0} if name in ("var", "std") else {}
        # PyTorch has no keepdims for this one.
        kept = {"keepdims": keepdims} if name != "count_nonzero" else {}
        if axis is None:
            theirs = partial(peer(name), dim=(0, 1, 2), **more)
            yield call(name, getattr(gg, name), theirs, x)
        else:
            yield same(name, x, axis=axis, **kept, **more)
    for name, correction, offset in product(("var", "std"), (1, 2.5), (0, 1e4)):
        # float32 has 3 digits left of a variance of 1 beside a mean of 1e4.
        x, slack = random.standard_normal((3, 5)) + offset, 200.0 if offset else 1.0
        yield same(name, x, axis=1, correction=correction, slack=slack)
    for name, axis, scale in product(
        ("softmax", "log_softmax", "logsumexp"), (0, 1, -1), (1, 30)
    ):
        yield same(name, scale * random.standard_normal((3, 4, 2)), axis=axis)


def cumulative(random: Random) -> Iterator[Case]:
    """Sums and products so far, with zeros."""

    def theirs(name: str, axis: int, reverse: bool, exclusive: bool, x: Any) -> Any:
        x = x.flip(axis) if reverse else x
        if exclusive:
            fill = torch.full_like(x.narrow(axis, 0, 1), float(name == "cumprod"))
            x = torch.cat([fill, x.narrow(axis, 0, x.shape[axis] - 1)], axis)
        y = peer(name)(x, axis)
        return y.flip(axis) if reverse else y

    for name, axis, *flags in product(("cumsum", "cumprod"), (0, 1, -1), BOTH, BOTH):
        x = random.integers(-2, 3, (3, 4, 3)).astype(float)
        options = {"axis": axis, "reverse": flags[0], "exclusive": flags[1]}
        ours = partial(getattr(gg, name), **options)
        yield call(f"{name}({options})", ours, partial(theirs, name, axis, *flags), x)


def sorting(random: Random) -> Iterator[Case]:
    """Order, with ties and NaN; the largest."""

    def ours(x: gg.Variable, **options: Any) -> tuple[gg.Variable, gg.Variable]:
        return gg.sort(x, **options), gg.argsort(x, **options)

    for axis, down in product((0, 1, -1), BOTH):
        ties = random.integers(0, 4, (4, 5, 3)).astype(float)
        ties[0, 0, 0] = np.nan
        f = partial(ours, axis=axis, descending=down)
        g = partial(torch.sort, stable=True, dim=axis, descending=down)
        yield call(f"sort({axis}, {down}) with ties", f, g, ties, order=0)
        x = random.permutation(60).reshape(4, 5, 3).astype(float)
        yield call(f"sort({axis}, {down})", f, g, x)
        yield same("top_k", x, k=2, axis=axis)
    for name, axis in product(("argmax", "argmin"), (None, 0, 1)):
        yield same(name, random.standard_normal((4, 5)), axis=axis)


def products(random: Random) -> Iterator[Case]:
    """Matrix products and einsum."""
    normal = random.standard_normal
    for left, right in (
        ((3, 4), (4, 2)), ((4,), (4,)), ((4,), (4, 2)), ((2, 3, 4), (4,)),
        ((5, 1, 3, 4), (2, 4, 2)), ((0, 4), (4, 2)), ((3, 0), (0, 2)),
    ):  # fmt: skip
        yield same("matmul", normal(left), normal(right))
    for left in ((3, 4), (2, 1, 4)):
        yield same("vecdot", normal(left), normal((3, 4)))
    sizes = dict(zip("ijklb", (3, 4, 2, 5, 2), strict=True))
    for text in """ij,jk->ik bij,bjk->bik i,j->ij ij->ji ij-> ii->i ii-> ij,jk,kl->il
        ij,ij-> bij,kj->bki ijk,ijl->kl i,i,i->i ij,jk,ki-> bi,ij,bj->b ij,kl->ik
        iij->j ...ij,jk->...ik""".split():
        terms = text.replace("...", "lb").split("->")[0].split(",")
        arrays = [normal([sizes[c] for c in t]) for t in terms]
        yield call(text, partial(gg.einsum, text), partial(torch.einsum, text), *arrays)


def linear_algebra(random: Random) -> Iterator[Case]:
    """Equations, factors and determinants of stacks of matrices."""

    def theirs(lower: bool, unit: bool, transpose: bool, a: Any, b: Any) -> Any:
        a = (a.tril() if lower else a.triu()).mT if transpose else a
        upper = lower == transpose
        return linalg.solve_triangular(a, b, upper=upper, unitriangular=unit)

    for stack, n in product(((), (2,), (2, 3)), (0, 1, 2, 4)):
        # Their derivatives magnify rounding by the condition: slack.
        a = random.standard_normal((*stack, n, n)) + 3 * np.eye(n)
        b = random.standard_normal((*stack, n, 2))
        positive = a @ a.swapaxes(-1, -2) + np.eye(n)
        yield same("solve", a, b, slack=20)
        for name in ("inv", "det", "slogdet"):
            yield same(name, a, slack=20)
        for upper in BOTH:
            yield same("cholesky", positive, upper=upper, slack=5)
        for flags in product(BOTH, repeat=3):
            names = ("lower", "unit_diagonal", "transpose")
            options = dict(zip(names, flags, strict=True))
            f = partial(gg.solve_triangular, **options)
            shown = f"solve_triangular({options}) of {a.shape}"
            yield call(shown, f, partial(theirs, *flags), a, b, slack=5)
    yield same("solve", a[0, 0], b[0, 0, :, 0], slack=5)


# --- indexing and shape


def indexing(random: Random) -> Iterator[Case]:
    """Subscripts, gathering and scattering."""
    x, i, j = random.standard_normal((4, 5, 3)), [[0, -1], [2, 2]], [1, 1]
    mask, rest = [True, False, True, True], slice(None)
    for index in (
        (1,), (-1,), (slice(1, None, 2),), (..., 0), (None, 1), (rest, -2, None), (i,),
        (slice(-3, None), ..., slice(0, 2)), (i, j), (rest, i), (i, 1), (rest, i, j),
        (j, rest, j), (mask,), (mask, 1), (..., j, slice(1, 3)), (slice(2, 2),),
    ):  # fmt: skip
        left = tuple(np.array(k) if isinstance(k, list) else k for k in index)
        right = tuple(torch.tensor(k) if isinstance(k, list) else k for k in index)
        f, g = (lambda x, k=k: x[k] for k in (left, right))
        yield call(f"x[{index}]", f, g, x)
    for axis, size in enumerate(x.shape):
        few, once = random.integers(0, size, 6), np.argsort(x, axis).take([0, 1], axis)
        updates = random.standard_normal(np.take(x, few, axis).shape)
        values = random.standard_normal(once.shape)
        again = random.integers(0, size, once.shape)
        yield same("take_along_axis", x, again, axis=axis)
        for name, theirs, arrays in (
            ("take", torch.index_select, (few,)),
            ("put_along_axis", torch.scatter, (once, values)),
            ("scatter_add", torch.index_add, (few, updates)),
        ):
            f = partial(getattr(gg, name), axis=axis)
            yield call(
                f"{name}({axis})", f, partial(_at_axis, theirs, axis), x, *arrays
            )
    y = random.standard_normal((5, 3))
    f, g = (lambda x, y, f=f: f(x > y, x, y) for f in (gg.where, torch.where))
    yield call("where", f, g, x, y)
    f = partial(gg.one_hot, dtype="int64", num_classes=5)
    g = partial(functional.one_hot, num_classes=5)
    yield call("one_hot", f, g, random.integers(0, 5, (3, 2)))


def _at_axis(f: Function, axis: int, x: Any, *rest: Any) -> Any:
    return f(x, axis, *rest)


ORDER, SIZES = (2, 0, 3, 1), (6, 2, 3, 5, 4)
SHAPES: list[tuple[str, Function, Function]] = [
    ("concat", lambda x: gg.concat([x, x], 1), lambda x: torch.cat([x, x], 1)),
    ("stack", lambda x: gg.stack([x, x], 1), lambda x: torch.stack([x, x], 1)),
    ("split", lambda x: gg.split(x, 2, 3), lambda x: x.split(2, 3)),
    ("split at", lambda x: gg.split(x, [1, 4], 2), lambda x: x.tensor_split([1, 4], 2)),
    ("unstack", lambda x: gg.unstack(x, 1), lambda x: x.unbind(1)),
    ("flip", lambda x: gg.flip(x, (0, 2)), lambda x: x.flip((0, 2))),
    ("roll", lambda x: gg.roll(x, (1, -7), (0, 2)), lambda x: x.roll((1, -7), (0, 2))),
    ("roll flat", lambda x: gg.roll(x, 3), lambda x: x.roll(3)),
    ("repeat", lambda x: gg.repeat(x, 3, 1), lambda x: x.repeat_interleave(3, 1)),
    ("tile", lambda x: gg.tile(x, (2, 1, 3)), lambda x: x.tile((2, 1, 3))),
    ("tril", lambda x: gg.tril(x, -1), lambda x: x.tril(-1)),
    ("triu", lambda x: gg.triu(x, 1), lambda x: x.triu(1)),
    ("diagonal", lambda x: gg.diagonal(x, 1), lambda x: x.diagonal(1, -2, -1)),
    ("diag", lambda x: gg.diag(x[0, 0, 0], -2), lambda x: x[0, 0, 0].diag(-2)),
    ("trace", lambda x: gg.trace(x[0, 0]), lambda x: x[0, 0].trace()),
    ("permute", lambda x: gg.permute_dims(x, ORDER), lambda x: x.permute(ORDER)),
    ("moveaxis", lambda x: gg.moveaxis(x, 1, -1), lambda x: x.moveaxis(1, -1)),
    ("expand", lambda x: gg.broadcast_to(x, SIZES), lambda x: x.expand(SIZES)),
]


def shape(random: Random) -> Iterator[Case]:
    """Padding and what only moves elements."""
    x = random.standard_normal((2, 3, 5, 4))
    modes = {"edge": "replicate", "wrap": "circular"}
    for mode in ("constant", "edge", "reflect", "wrap"):
        f = partial(gg.pad, pad_width=((0, 0), (0, 0), (2, 1), (0, 3)), mode=mode)
        g = partial(functional.pad, pad=(0, 3, 2, 1), mode=modes.get(mode, mode))
        yield call(f"pad {mode}", f, g, x)
    for name, ours, theirs in SHAPES:
        yield call(name, ours, theirs, x)
