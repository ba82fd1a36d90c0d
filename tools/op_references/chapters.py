"""The chapters of the reference: the modules of the package and their public names."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import graphgpu
from op_references.properties import properties

__all__ = ["Chapter", "Entry", "chapters"]

_PARTS = ("ops", "gradient", "control", "sequences", "nn", "optim")
"""The parts of the package that have modules in the sense of the book."""


@dataclass(frozen=True)
class Entry:
    """A public function or class."""

    name: str
    """As a user writes it after ``gg.``: ``relu``, ``nn.Dense``."""
    value: Any

    @property
    def signature(self) -> str:
        """The name and what it takes."""
        try:
            taken = inspect.signature(self.value)
        except (TypeError, ValueError):
            return self.name
        plain = [
            p.replace(annotation=inspect.Parameter.empty)
            for p in taken.parameters.values()
        ]
        bare = taken.replace(
            parameters=plain, return_annotation=inspect.Signature.empty
        )
        return f"{self.name}{bare}"

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """What it takes, by name."""
        try:
            return inspect.signature(self.value).parameters
        except (TypeError, ValueError):
            return {}

    @property
    def summary(self) -> str:
        """The first paragraph of what it says of itself, as one line."""
        return " ".join(self.docstring.split("\n\n")[0].split())

    @property
    def docstring(self) -> str:
        """What it says of itself."""
        return inspect.getdoc(self.value) or ""

    @property
    def properties(self) -> dict[str, str]:
        """What its docstring says that tests check."""
        return properties(self.value)


@dataclass(frozen=True)
class Chapter:
    """A module of the package."""

    module: str
    """Its dotted name, without the package's."""
    title: str
    entries: tuple[Entry, ...]


def chapters() -> list[Chapter]:
    """Return the chapters, in the order of the pipeline, each name in one of them."""
    found = []
    seen: set[int] = set()
    for part in _PARTS:
        prefix = "" if part not in ("nn", "optim") else f"{part}."
        home = getattr(graphgpu, part, None) if prefix else graphgpu
        for module in _modules(f"graphgpu.{part}"):
            entries = []
            for name in getattr(module, "__all__", ()):
                value = getattr(home, name, None)
                own = value is not None and value is getattr(module, name)
                if own and callable(value) and id(value) not in seen:
                    seen.add(id(value))
                    entries.append(Entry(f"{prefix}{name}", value))
            if entries:
                title = (module.__doc__ or "").strip().splitlines()[0].rstrip(".")
                own_name = module.__name__.removeprefix("graphgpu.")
                found.append(Chapter(own_name, title, tuple(entries)))
    return found


def _modules(name: str) -> Iterator[ModuleType]:
    """Yield the modules of a part, its packages after what is in them."""
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError:
        return
    for found in pkgutil.iter_modules(getattr(module, "__path__", ())):
        yield from _modules(f"{name}.{found.name}")
    yield module
