"""Name scopes: which part of a model a node belongs to.

Scopes live in a context variable, so threads and coroutines do not mix.  A
root scope also counts the random nodes and the parameters of each path, from
which their keys are made; it carries the seed from which initial values are
drawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Literal

from graphgpu.errors import GraphError
from graphgpu.graph.trace import Trace

__all__ = ["Context", "Phase", "current", "inside", "root_scope", "scope"]

Phase = Literal["forward", "gradient", "update"]


@dataclass(eq=False, slots=True)
class Root:
    """What a root scope owns: a seed, and how often each path was counted."""

    seed: int = 0
    counts: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Context:
    """What every node remembers of the moment when it was created.

    ``path`` is the scope's path, such as ``block1/conv``; ``phase`` tells
    forward, gradient and update nodes apart; ``origin`` is the place where the
    node that this one is the gradient of was created.
    """

    path: str = ""
    phase: Phase = "forward"
    origin: Trace | None = None
    root: Root = field(default_factory=Root, repr=False)

    def key(self, kind: str) -> str:
        """Return a key that no other node of this root has: ``path/kind#0``."""
        name = f"{self.path}/{kind}" if self.path else kind
        ordinal = self.root.counts[name]
        self.root.counts[name] += 1
        return f"{name}#{ordinal}"


_context: ContextVar[Context] = ContextVar("graphgpu_context")


def current() -> Context:
    """Return the context that a node created now belongs to."""
    context = _context.get(None)
    if context is None:
        context = Context()
        _context.set(context)
    return context


def inside(context: Context) -> AbstractContextManager[Context]:
    """Create nodes in the context given, for the length of a ``with`` block."""
    return _Inside(context)


class _Inside:
    """What :func:`inside` returns: gradients enter one a node, so it is lean."""

    __slots__ = ("_context", "_token")

    def __init__(self, context: Context) -> None:
        self._context = context

    def __enter__(self) -> Context:
        self._token = _context.set(self._context)
        return self._context

    def __exit__(self, *_: object) -> None:
        _context.reset(self._token)


@contextmanager
def scope(name: str) -> Iterator[str]:
    """Name a part of the model; scopes nest, and the path is given back.

    >>> import graphgpu as gg
    >>> with gg.scope("block"), gg.scope("conv") as path:
    ...     w = gg.parameter("weight", [1.0])
    >>> path, w.path
    ('block/conv', 'block/conv/weight')

    Raises
    ------
    GraphError
        The name is empty or contains a slash.
    """
    if not isinstance(name, str) or not name or "/" in name:
        raise GraphError(f"a scope's name is a word without a slash; got {name!r}")
    context = current()
    path = f"{context.path}/{name}" if context.path else name
    with inside(replace(context, path=path)):
        yield path


@contextmanager
def root_scope(seed: int = 0) -> Iterator[None]:
    """Start names and keys afresh, as in a new process.

    A model built twice inside its own root scope has the same parameter names,
    initial values and random keys both times.  ``seed`` is what initial values
    are drawn from.

    >>> import graphgpu as gg
    >>> def build(seed):
    ...     with gg.root_scope(seed):
    ...         return gg.nn.Dense(3, 2).weight.value
    >>> bool((build(1) == build(1)).all()), bool((build(1) == build(2)).all())
    (True, False)
    """
    with inside(Context(root=Root(seed))):
        yield
