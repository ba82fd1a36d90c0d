"""Who takes part: graphgpu, and what of PyTorch and JAX is installed."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from benchmarks.nets import Problem
from graphgpu.dtypes import Array

OURS = "graphgpu"
THREADS = 2


class Peer(Protocol):
    """A training step, with arrays in graphgpu's order and layout to compare."""

    def step(self) -> float:
        """Train one step and return the loss before it.

        The first call does all that a library does to get ready: it builds or
        traces the graph, compiles it and runs it.
        """
        ...

    def parameters(self) -> list[Array]:
        """Return the weights."""
        ...

    def momenta(self) -> list[Array]:
        """Return the momenta; after the first step they are the gradients."""
        ...

    def running(self) -> list[Array]:
        """Return the running statistics of batch normalisation."""
        ...

    def peak_bytes(self) -> int | None:
        """Return the peak of a step's memory, all that lives on between steps apart.

        That leaves activations, gradients and temporaries.  None if unknown.
        """
        ...


# The module and the options that make a peer; loaded only when it takes part.
_MAKERS: dict[str, tuple[str, dict[str, Any]]] = {
    OURS: ("graphgpu_peer", {}),
    "torch-default": ("torch_peer", {}),
    "torch-channels-last": ("torch_peer", {"channels_last": True}),
    "torch-compile": ("torch_peer", {"compiled": True}),
    "jax": ("jax_peer", {}),
}
GROUPS = {"torch": [n for n in _MAKERS if n.startswith("torch-")], "jax": ["jax"]}
NAMES = [*GROUPS, *GROUPS["torch"]]


def chosen(wanted: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the peers for names or groups, and the libraries that are missing."""
    listed = [peer for name in wanted for peer in GROUPS.get(name, [name])]
    missing = {p: p.partition("-")[0] for p in listed}
    missing = {p: library for p, library in missing.items() if not find_spec(library)}
    found = [p for p in dict.fromkeys(listed) if p not in missing]
    return found, list(dict.fromkeys(missing.values()))


def takes_part(name: str, problem: Problem) -> bool:
    """Whether a peer differs from the others on a net: layouts need images."""
    return name != "torch-channels-last" or problem.inputs.ndim == 4


def load(name: str) -> None:
    """Import what a peer needs, which is no part of its first step."""
    import_module(f"benchmarks.{_MAKERS[name][0]}")


def make(name: str, problem: Problem) -> Peer:
    """Return a peer that is ready for its first step."""
    module, options = _MAKERS[name]
    peer: Peer = import_module(f"benchmarks.{module}").make(problem, **options)
    return peer
