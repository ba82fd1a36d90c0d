"""The folder that a training run leaves behind."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import final

from graphgpu.errors import SaveError

__all__ = ["RunFolder"]


@final
class RunFolder:
    """A folder to write results into, known to be writable before work begins.

    Parameters
    ----------
    path
        The folder; it is made, with its parents, if it is not there.

    Raises
    ------
    SaveError
        It cannot be made or written, a file has its name, or it holds
        something, which is never written over.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path):
                pass
        except OSError as error:
            raise _unusable(path, error) from None
        self.require_empty(path)

    @staticmethod
    def require_empty(path: Path) -> None:
        """Refuse a folder that holds something; none is made where there is none."""
        try:
            empty = not any(path.iterdir())
        except FileNotFoundError:
            return
        except OSError as error:
            raise _unusable(path, error) from None
        if not empty:
            raise SaveError(
                f"the run folder {path} is not empty; choose another with --out"
            )

    @classmethod
    def next_free(cls, parent: Path, name: str) -> RunFolder:
        """Make the first of ``name-1``, ``name-2``, ... that is not there yet."""
        ordinal = 1
        while (parent / f"{name}-{ordinal}").exists():
            ordinal += 1
        return cls(parent / f"{name}-{ordinal}")

    def write(self, name: str, text: str) -> Path:
        """Write a text file, whole or not at all."""
        return self.replace(name, lambda path: path.write_text(text, encoding="utf-8"))

    def replace(self, name: str, write: Callable[[Path], object]) -> Path:
        """Let ``write`` make a file beside ``name``, then put it in its place."""
        target = self.path / name
        partial = self.path / f".partial-{os.getpid()}-{name}"
        try:
            write(partial)
            partial.replace(target)
        except OSError as error:
            raise SaveError(
                f"{target} cannot be written: {error.strerror or error}"
            ) from None
        finally:
            partial.unlink(missing_ok=True)
        return target


def _unusable(path: Path, error: OSError) -> SaveError:
    return SaveError(
        f"the run folder {path} cannot be written: {error.strerror or error}; "
        "choose another with --out"
    )
