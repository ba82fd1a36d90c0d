"""What a module of the catalogue is tested with.

The files of ``cases/`` say ``from case import Case`` and list theirs in ``CASES``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Case:
    """A module, inputs for it, and an independent reference.

    Every public function and layer of the catalogue has at least one; the harness
    checks its value, its first and second derivatives, its extremes and both on the
    emulated device.
    """

    name: str
    """The public name, ``gelu`` or ``BatchNorm``; then a comma and the variant."""
    function: Callable[..., Any] | None = None
    """Of variables, one for each input; for layers, None."""
    layer: Callable[[str], Any] | None = None
    """Of a dtype's name, the layer; its inputs are those below."""
    training: bool = False
    """Whether the layer is called for training."""
    inputs: Sequence[Any]
    """Float64 arrays, away from kinks, and integer or bool ones."""
    reference: Callable[..., Any] | None = None
    """Of float64 arrays, the same by other means.  Of a layer: of the input and of
    the parameters in order."""
    extremes: Sequence[Sequence[Any]] | str = ()
    """Inputs at which float32 must be the float64 value rounded, and so must the
    gradient; or, where that cannot be asked, the reason in words.  Functions of one
    operand, element by element, need none: the harness has a table for them; of a
    layer's inputs it makes some."""
    scales: Sequence[float] = (1e4, 1e30)
    """What the inputs of a layer without extremes of its own are multiplied by."""
    order: int = 2
    """How many derivatives there are."""
    tolerance: float = 1.0
    """A factor on the table of tolerances, for what is ill-conditioned."""
    dtypes: Sequence[str] = ("float64", "float32")
    symbolic: bool = True
    """Whether sizes may all be named."""
    seed: int = 4
    """Of the layer's parameters and of random numbers."""
