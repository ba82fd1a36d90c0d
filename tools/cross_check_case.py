"""One computation by graphgpu and by PyTorch on the same arrays, compared.

Used by ``cross_check.py``, which says what is compared and how errors are meant.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np

import graphgpu as gg

try:
    import torch
    from torch import linalg
    from torch.nn import functional
except ModuleNotFoundError:
    sys.exit("PyTorch is missing, the peer to compare with: pip install torch==2.13.0")

__all__ = ["Array", "Case", "Function", "Pair", "call", "peer", "same"]

Array: TypeAlias = np.ndarray[Any, Any]
Function: TypeAlias = Callable[..., Any]
Pair: TypeAlias = tuple[str, Any, Any]
"""What is compared, by name; as graphgpu has it; as PyTorch has it."""


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
    """Return the largest relative error; infinity where no number is one."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return np.inf
    a, b = a.astype(np.float64), b.astype(np.float64)
    finite = np.isfinite(b)
    same = np.array_equal(a[~finite], b[~finite], equal_nan=True)
    if not same or not np.isfinite(a[finite]).all():
        return np.inf
    error = np.abs(a - b)[finite] / (np.abs(b[finite]) + scale)
    return float(error.max(initial=0.0))


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
    renamed = {
        {"axis": "dim", "keepdims": "keepdim"}.get(k, k): v for k, v in options.items()
    }
    shapes = ", ".join(str(np.shape(a)) for a in arrays)
    listed = ", ".join(f"{k}={v}" for k, v in options.items())
    ours, theirs = partial(getattr(gg, name), **options), partial(peer(name), **renamed)
    shown = f"{name}({listed}) of {shapes}, order {order}"
    return call(shown, ours, theirs, *arrays, order=order, slack=slack)


def _called(
    ours: Function,
    theirs: Function,
    given: Sequence[Array],
    order: int,
    seed: int,
    dtype: str,
) -> Iterator[Pair]:
    random = np.random.default_rng([seed, 1])
    arrays = [a.astype(dtype) if a.dtype.kind == "f" else a for a in given]
    smooth = [i for i, a in enumerate(arrays) if a.dtype.kind == "f"]
    tensors = [torch.tensor(a, requires_grad=i in smooth) for i, a in enumerate(arrays)]
    leaves = _placeholders("x", arrays)
    right, left = _several(theirs(*tensors)), _several(ours(*leaves))
    names = [f"value {i}" for i in range(len(right))]
    ends = [i for i, t in enumerate(right) if t.is_floating_point()]
    if order and smooth and ends:
        along = [random.standard_normal(right[i].shape).astype(dtype) for i in ends]
        known, us = (
            _placeholders("u", along),
            [torch.tensor(u, requires_grad=True) for u in along],
        )
        x, t = [leaves[i] for i in smooth], [tensors[i] for i in smooth]
        slopes = _grad([right[i] for i in ends], t, us, create_graph=order > 1)
        first = gg.vjp([left[i] for i in ends], x, known)
        names += [f"gradient {i}" for i in smooth]
        if order > 1:
            ways = [random.standard_normal(g.shape).astype(dtype) for g in slopes]
            cost = sum((g * w).sum() for g, w in zip(first, ways, strict=True))
            total = sum(
                (g * torch.tensor(w)).sum() for g, w in zip(slopes, ways, strict=True)
            )
            first += gg.gradients(cost, [*x, *known], disconnected="zero")
            slopes += _grad([total], [*t, *us], None)
            names += [f"second derivative {i}" for i in range(len(x) + len(known))]
        left, right = left + first, right + slopes
        leaves, arrays = leaves + known, arrays + along
    results = gg.compile(leaves, left, device="cpu")(*arrays)
    for name, a, b in zip(names, results, right, strict=True):
        yield name, a, b.numpy(force=True)


def _placeholders(name: str, arrays: Sequence[Array]) -> list[gg.Variable]:
    return [
        gg.placeholder(f"{name}{i}", a.shape, a.dtype) for i, a in enumerate(arrays)
    ]


def _grad(
    outputs: Any, inputs: Any, cotangents: Any, create_graph: bool = False
) -> list[Any]:
    """Return PyTorch's gradients, zeros where there is no path."""
    if not any(o.requires_grad for o in outputs):
        return [torch.zeros_like(i) for i in inputs]
    options = {"allow_unused": True, "materialize_grads": True}
    return list(
        torch.autograd.grad(
            outputs, inputs, cotangents, create_graph=create_graph, **options
        )
    )


def _several(results: Any) -> list[Any]:
    return list(results) if isinstance(results, tuple | list) else [results]


# --- what PyTorch calls by another name


def _prod(x: Any, dim: Any, keepdim: bool = False) -> Any:
    for d in sorted({d % x.ndim for d in np.atleast_1d(dim).tolist()}, reverse=True):
        x = x.prod(d, keepdim)
    return x


PEERS: dict[str, Function] = {
    "adaptive_max_pool1d": functional.adaptive_max_pool1d,
    "bce": functional.binary_cross_entropy_with_logits,
    "equal": torch.eq,
    "floor_divide": partial(torch.div, rounding_mode="floor"),
    "inv": linalg.inv,
    "max": torch.amax,
    "min": torch.amin,
    "power": torch.pow,
    "prod": _prod,
    "softplus": partial(functional.softplus, threshold=800),
    "take_along_axis": lambda x, i, dim: x.gather(dim, i),
    "top_k": torch.topk,
}


def peer(name: str) -> Function:
    """Return PyTorch's function for one of ours."""
    places = (torch, functional, linalg)
    found = next((getattr(p, name) for p in places if hasattr(p, name)), None)
    return PEERS.get(name) or found or getattr(functional, name)
