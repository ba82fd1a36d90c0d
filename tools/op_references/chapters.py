"""The chapters of the reference: the modules of the package and their public names."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from op_references.properties import properties

__all__ = ["Chapter", "Entry", "chapters"]

_HOMES = {
    "ops": "",
    "gradient": "",
    "control": "",
    "sequences": "",
    "nn": "nn",
    "nn.init": "nn.init",
    "optim": "optim",
    "optim.schedules": "optim.schedules",
    "compiling": "",
    "saving": "",
    "data": "data",
    "train": "train",
    "draw": "draw",
    "testing": "testing",
}
"""The parts of the package, and where users find their names, after ``graphgpu``."""
_ROLE = re.compile(r":\w+:`~?(?:graphgpu\.)?([^`]+)`")


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
            p.replace(annotation=inspect.Parameter.empty, default=_shown(p.default))
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
        return _ROLE.sub(r"`\1`", inspect.getdoc(self.value) or "")

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


class _Named:
    """A default that is printed by its name."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __repr__(self) -> str:
        return str(self._value.__name__)


def _shown(default: Any) -> Any:
    """Return a default; of a function, what is printed as its name."""
    named = callable(default) and default is not inspect.Parameter.empty
    return _Named(default) if named and hasattr(default, "__name__") else default


def _is_code(value: Any) -> bool:
    """Whether something is a function or a class, and no type alias."""
    return isinstance(value, type) or inspect.isfunction(value)


def chapters() -> list[Chapter]:
    """Return the chapters, in the order of the pipeline, each name in one of them."""
    found = []
    seen: set[int] = set()
    for part, place in _HOMES.items():
        home = importlib.import_module(f"graphgpu.{place}".rstrip("."))
        for module in _modules(f"graphgpu.{part}"):
            entries = []
            for name in getattr(module, "__all__", ()):
                value = getattr(home, name, None)
                own = value is not None and value is getattr(module, name)
                if own and _is_code(value) and id(value) not in seen:
                    seen.add(id(value))
                    entries.append(Entry(f"{place}.{name}".lstrip("."), value))
            if entries:
                first = (module.__doc__ or "").strip().splitlines()[0]
                title = _ROLE.sub(r"\1", first).rstrip(".")
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
