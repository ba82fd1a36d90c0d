"""write: a drawing as a file, DOT as it is, pictures through Graphviz."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import Any

from graphgpu.draw.figure import Drawable, to_dot
from graphgpu.errors import MissingDependencyError, SaveError

__all__ = ["write"]

_TEXT = (".dot", ".gv")
_PICTURES = (".svg", ".png", ".pdf")
_DPI = 150


def write(
    graph: Drawable,
    path: str | os.PathLike[str],
    *,
    timeout: float = 120.0,
    **options: Any,
) -> Path:
    """Draw a graph in a file; return its path.

    A ``.dot`` or ``.gv`` file holds the drawing as text and needs nothing else; a
    ``.svg``, ``.png`` or ``.pdf`` is laid out by Graphviz.  An SVG says of each
    node under the pointer what it is and where it was created.  The file is
    replaced when all is done, so what went wrong leaves the old one.

    Parameters
    ----------
    graph
        What :func:`to_dot` takes.
    path
        Where to; its suffix says what.
    timeout
        The seconds that Graphviz may take.
    **options
        Those of :func:`to_dot`.

    Raises
    ------
    MissingDependencyError
        A picture was asked for and Graphviz is not installed.
    SaveError
        The suffix is unknown, the file cannot be written, or Graphviz failed or
        took too long.
    GraphError
        ``graph`` is nothing to draw; an option is wrong, or the graph is too large.

    Examples
    --------
    >>> import graphgpu as gg
    >>> import tempfile
    >>> x = gg.placeholder("x", ())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     gg.draw.write(gg.exp(x), f"{folder}/graph.dot").name
    'graph.dot'
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in _TEXT + _PICTURES:
        listed = ", ".join(_TEXT + _PICTURES)
        raise SaveError(f"{target}: expected a suffix among {listed}")
    program = None if suffix in _TEXT else _graphviz(target)
    content = to_dot(graph, **options).encode()
    if program is not None:
        content = _lay_out(program, content, suffix, timeout, target)
    _replace(target, content)
    return target


def _graphviz(target: Path) -> str:
    """Return the path of the program that lays graphs out."""
    program = shutil.which("dot")
    if program is None:
        raise MissingDependencyError(
            f"{target}: the program dot of Graphviz is needed and was not found; "
            "install it (apt install graphviz, brew install graphviz, or conda "
            "install graphviz), or write a .dot file, which needs nothing"
        )
    return program


def _lay_out(
    program: str, text: bytes, suffix: str, timeout: float, target: Path
) -> bytes:
    """Return the picture that Graphviz makes of a drawing."""
    command = [program, f"-T{suffix[1:]}"]
    if suffix == ".png":
        command.append(f"-Gdpi={_DPI}")
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        raise SaveError(
            f"{target}: Graphviz has not laid the graph out in {timeout:g} s; open "
            "fewer scopes (depth=0 or 1), draw fewer outputs, turn clusters off "
            "(clusters=False), or allow more time (timeout=...)"
        ) from None
    except OSError as error:
        raise SaveError(f"{target}: {program} cannot be run: {error}") from None
    if done.returncode != 0 or not done.stdout:
        said = done.stderr.decode(errors="replace").strip() or "no message"
        raise SaveError(f"{target}: Graphviz failed: {said}")
    return done.stdout


def _replace(target: Path, content: bytes) -> None:
    """Write a file beside the target, then put it in its place."""
    place = Path(os.path.realpath(target))
    partial = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    try:
        try:
            partial.write_bytes(content)
            partial.replace(place)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise SaveError(
            f"{target} cannot be written: {error.strerror or error}"
        ) from None
