"""The names of layers, of which paths are made."""

from __future__ import annotations

import re
from functools import cache

from graphgpu.errors import GraphError

__all__ = ["checked_name", "joined", "snake_case"]


def joined(path: str, name: str) -> str:
    """Return the path of a part."""
    return f"{path}/{name}" if path and name else path or name


def checked_name(name: str) -> str:
    """Return the name of a layer, or raise."""
    if not isinstance(name, str) or not name or "/" in name:
        raise GraphError(f"a layer's name is a word without a slash; got {name!r}")
    return name


@cache
def snake_case(name: str) -> str:
    """Return the name of a class as that of a layer: ``batch_norm``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
