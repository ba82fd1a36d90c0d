"""One computation by graphgpu and by PyTorch on the same arrays, compared.

The error of an entry is relative to itself plus 1, or plus the largest entry of
the case where that is smaller; NaN and infinities must be at the same places.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import linalg
from torch.nn import functional

import graphgpu as gg

__all__ = ["Array", "Case", "Function", "Pair", "Random", "call", "peer", "same"]

Array: TypeAlias = np.ndarray[Any, Any]
Function: TypeAlias = Callable[..., Any]
Random: TypeAlias = np.random.Generator
Pair: TypeAlias = tuple[str, Any, Any]
"""What is compared, by name; as graphgpu has it; as PyTorch has it."""

torch.set_num_threads(1)  # the arrays are small


@dataclass(frozen=True)
class Case:
    """A computation by both; ``slack`` is a factor on the tolerance."""

    name: str
    pairs: Callable[[str], Iterable[Pair]]
    slack: float = 1.0

    def error(self, dtype: str) -> tuple[float, str]:
        """Return the largest error, and what has it."""
        try:
            with np.errstate(all="ignore"):
                pairs = [
                    (w, np.asarray(a), np.asarray(b)) for w, a, b in self.pairs(dtype)
                ]
        except Exception as error:
            return np.inf, f"{type(error).__name__}: {error}".splitlines()[0]
        tops = [np.abs(b[np.isfinite(b)]).max(initial=0.0) for _, _, b in pairs]
        scale = min(1.0, float(max(tops))) or 1.0
        return max((distance(a, b, scale), what) for what, a, b in pairs)


def distance(a: Array, b: Array, scale: float) -> float:
    """Return the largest relative error; infinity where one is no number."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return np.inf
    a, b = a.astype(np.float64), b.astype(np.float64)
    finite = np.isfinite(b)
    agree = np.array_equal(a[~finite], b[~finite], equal_nan=True)
    a, b = a[finite], b[finite]
    if not agree or not np.isfinite(a).all():
        return np.inf
    return float((np.abs(a - b) / (np.abs(b) + scale)).max(initial=0.0))


# --- calls: values, gradients, the derivatives of the gradients


def call(
    name: str,
    ours: Function,
    theirs: Function,
    *arrays: Any,
    order: int = 2,
    slack: float = 1.0,
) -> Case:
    """Return the case of a function of arrays that gives one or several."""
    given = [np.asarray(a) for a in arrays]
    seed = zlib.crc32(name.encode())
    return Case(name, partial(_called, ours, theirs, given, order, seed), slack)


def same(
    name: str, *arrays: Any, order: int = 2, slack: float = 1.0, **options: Any
) -> Case:
    """Return the case of a function that is called alike in both."""
    words = {"axis": "dim", "keepdims": "keepdim"}
    renamed = {words.get(k, k): v for k, v in options.items()}
    shapes = ", ".join(str(np.shape(a)) for a in arrays)
    listed = ", ".join(f"{k}={v}" for k, v in options.items())
    ours, theirs = partial(getattr(gg, name), **options), partial(peer(name), **renamed)
    shown = f"{name}({listed}) of {shapes}"
    return call(shown, ours, theirs, *arrays, order=order, slack=slack)


def _called(
    ours: Function,
    theirs: Function,
    given: Sequence[Array],
    order: int,
    seed: int,
    dtype: str,
) -> Iterator[Pair]:
    arrays = [a.astype(dtype) if a.dtype.kind == "f" else a for a in given]
    right, along, ways = _theirs(theirs, arrays, order, seed)
    left = _ours(ours, arrays, along, ways)
    for (name, a), b in zip(left, right, strict=True):
        yield name, a, b.numpy(force=True)


def _theirs(
    f: Function, arrays: list[Array], order: int, seed: int
) -> tuple[list[Any], list[Array], list[Array]]:
    """Return values, gradients, second derivatives; the directions of both."""
    tensors = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    values = _several(f(*tensors))
    ends = [v for v in values if v.is_floating_point()]
    x = [t for t in tensors if t.requires_grad]
    if not (order and ends and x):
        return values, [], []
    # A stream of its own: the arrays' would give directions that are like them.
    random = np.random.default_rng([seed, 1])
    along, u = _directions(random, ends)
    first = _grad(ends, x, u, create_graph=order > 1)
    if order == 1:
        return values + first, along, []
    ways, v = _directions(random, first)
    total = sum((g * w).sum() for g, w in zip(first, v, strict=True))
    return values + first + _grad([total], x + u, None), along, ways


def _ours(
    f: Function, arrays: list[Array], along: list[Array], ways: list[Array]
) -> Iterator[tuple[str, Any]]:
    """Yield the same, each with a name; without directions, no derivatives."""
    leaves = _placeholders("x", arrays)
    u = _placeholders("u", along)
    results = {f"value {i}": v for i, v in enumerate(_several(f(*leaves)))}
    x = [v for v in leaves if v.dtype.kind == "f"]
    if along:
        ends = [v for v in results.values() if v.dtype.kind == "f"]
        first = gg.vjp(ends, x, u)
        results |= {f"gradient {i}": v for i, v in enumerate(first)}
        if ways:
            total = gg.sum(gg.zeros((), x[0].dtype))
            for slope, way in zip(first, ways, strict=True):
                total = total + (slope * way).sum()
            second = gg.gradients(total, x + u, disconnected="zero")
            results |= {f"second derivative {i}": v for i, v in enumerate(second)}
    program = gg.compile(leaves + u, results, device="cpu")
    yield from program(*arrays, *along).items()


def _directions(random: Random, tensors: list[Any]) -> tuple[list[Array], list[Any]]:
    """Return random arrays like the tensors, and tensors of them."""
    types = [t.numpy(force=True).dtype for t in tensors]
    drawn = [random.standard_normal(t.shape) for t in tensors]
    arrays = [np.asarray(a, d) for a, d in zip(drawn, types, strict=True)]
    return arrays, [torch.tensor(a, requires_grad=True) for a in arrays]


def _placeholders(name: str, arrays: Sequence[Array]) -> list[gg.Variable]:
    named = enumerate(arrays)
    return [gg.placeholder(f"{name}{i}", a.shape, a.dtype) for i, a in named]


def _grad(
    outputs: list[Any], inputs: list[Any], along: Any, create_graph: bool = False
) -> list[Any]:
    """Return PyTorch's gradients, zeros where there is no path."""
    if not any(o.requires_grad for o in outputs):
        return [torch.zeros_like(i) for i in inputs]
    slopes = torch.autograd.grad(
        outputs,
        inputs,
        along,
        create_graph=create_graph,
        allow_unused=True,
        materialize_grads=True,
    )
    return list(slopes)


def _several(results: Any) -> list[Any]:
    return list(results) if isinstance(results, tuple | list) else [results]


# --- what PyTorch calls by another name


def _prod(x: Any, dim: Any, keepdim: bool = False) -> Any:
    for d in sorted({d % x.ndim for d in np.atleast_1d(dim).tolist()}, reverse=True):
        x = x.prod(d, keepdim)
    return x


PEERS: dict[str, Function] = {
    # Functions of these names in torch are others.
    "adaptive_max_pool1d": functional.adaptive_max_pool1d,
    "binary_cross_entropy_with_logits": functional.binary_cross_entropy_with_logits,
    "equal": torch.eq,
    "floor_divide": partial(torch.div, rounding_mode="floor"),
    "max": torch.amax,
    "min": torch.amin,
    "power": torch.pow,
    "prod": _prod,
    # Above its threshold PyTorch takes x for log(1 + e^x).
    "softplus": partial(functional.softplus, threshold=800),
    "take_along_axis": lambda x, i, dim: x.gather(dim, i),
    "top_k": torch.topk,
}


def peer(name: str) -> Function:
    """Return PyTorch's function for one of ours."""
    places = (linalg, torch, functional)
    found = next((getattr(p, name) for p in places if hasattr(p, name)), None)
    return PEERS.get(name) or found or getattr(functional, name)
