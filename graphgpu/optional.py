"""The one place that loads optional packages."""

import importlib
from typing import Any

from graphgpu.errors import MissingDependencyError

__all__ = ["load_optional"]


def load_optional(
    module: str, package: str, needed_by: str, extra: str = "data"
) -> Any:
    """Import a module of an optional package.

    Parameters
    ----------
    module
        The name to import, for example ``"PIL.Image"``.
    package
        The name to install, for example ``"Pillow"``.
    needed_by
        What the caller was doing, for the message.
    extra
        The extra of graphgpu that installs the package.

    Raises
    ------
    MissingDependencyError
        If the import fails, with the reason and the command that cures it.

    Examples
    --------
    >>> load_optional("json", "json", "the example").loads("[1, 2]")
    [1, 2]
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"{needed_by}: the package {package} is needed and cannot be imported "
            f'({error}); install it with: pip install "graphgpu[{extra}]"'
        ) from error
