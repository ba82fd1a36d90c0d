"""Every error that graphgpu raises on purpose.

::

    GraphGPUError
    ├── GraphError            building a graph
    │   ├── ShapeError        (a ValueError) sizes, ranks, axes
    │   └── DTypeError        (a TypeError) dtypes and kinds of values
    ├── GradientError         asking for a derivative that does not exist
    ├── CompileError          compile() was given something it cannot use
    ├── InputError            (a ValueError) calling a program, setting a value
    ├── ComputeError          (an ArithmeticError) an operation failed while running
    │   └── NonFiniteError    check_finite found a value that is NaN or infinite
    ├── DeviceError           (a RuntimeError) a device that is not there
    ├── DataError             (a ValueError) a data file is absent or damaged
    ├── SaveError             (an OSError) a file that cannot be read or written
    └── MissingDependencyError (an ImportError) an optional package or program

A message says what was expected, what came, where the node was created, and
the cure.  Nothing has changed when one is raised: parameters, files and
checkpoints are as they were.
"""

from typing import Any

__all__ = [
    "CompileError",
    "ComputeError",
    "DTypeError",
    "DataError",
    "DeviceError",
    "GradientError",
    "GraphError",
    "GraphGPUError",
    "InputError",
    "MissingDependencyError",
    "NonFiniteError",
    "SaveError",
    "ShapeError",
]


class GraphGPUError(Exception):
    """The root of the tree: ``except graphgpu.GraphGPUError`` catches all."""


class GraphError(GraphGPUError):
    """A graph cannot be built as asked."""

    located: bool = False
    """Whether the message already names the operation and the user's line."""
    reason: str = ""
    """What was expected: the message before it was located."""


class ShapeError(GraphError, ValueError):
    """Sizes, ranks or axes do not fit."""


class DTypeError(GraphError, TypeError):
    """A dtype, or a kind of value, does not fit."""


class GradientError(GraphGPUError):
    """A derivative was asked for that does not exist."""


class CompileError(GraphGPUError):
    """``compile`` cannot make a program of what it was given."""


class InputError(GraphGPUError, ValueError):
    """A program was called, or a value set, with the wrong arrays."""


class ComputeError(GraphGPUError, ArithmeticError):
    """An operation failed while a program ran: a singular matrix, say."""


class NonFiniteError(ComputeError):
    """A value is NaN or infinite, in a program made with ``check_finite``."""

    variable: Any = None
    """The node that computed it, or the leaf that holds it."""
    index: tuple[int, ...] = ()
    """Where the first such element is."""
    inputs: tuple[Any, ...] = ()
    """The ranges of what it was computed from, input by input."""


class DeviceError(GraphGPUError, RuntimeError):
    """The device that was asked for cannot be used."""


class DataError(GraphGPUError, ValueError):
    """A data file is absent, truncated or of the wrong format."""


class SaveError(GraphGPUError, OSError):
    """A file or folder cannot be read or written."""


class MissingDependencyError(GraphGPUError, ImportError):
    """An optional package or program is not installed."""
