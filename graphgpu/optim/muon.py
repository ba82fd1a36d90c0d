"""Muon: momentum, orthogonalised."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod, sqrt
from typing import Literal, final, get_args

from graphgpu.errors import GraphError
from graphgpu.graph import Variable
from graphgpu.ops.arithmetic import maximum, square
from graphgpu.ops.arithmetic import sqrt as root
from graphgpu.optim.hyperparameters import at_least_zero, below_one, count, positive
from graphgpu.optim.optimizer import Memory, Optimizer, Rate, Scalar

__all__ = ["Muon", "orthogonalized"]

Adjustment = Literal["original", "match_rms_adamw"]


@final
@dataclass(eq=False)
class Muon(Optimizer):
    """Muon (K. Jordan et al., "Muon: an optimizer for hidden layers", 2024).

    For a matrix x with gradient g, and NS an approximation to the nearest
    orthogonal matrix, U Vᵀ of U S Vᵀ (:func:`orthogonalized`)::

        b ← μ b + (1 - μ) g
        d = (1 - μ) g + μ b                     (b itself if not nesterov)
        x ← (1 - lr weight_decay) x - lr c NS(d)

    c is √max(1, out / in), or for ``adjust_lr="match_rms_adamw"``
    0.2 √max(out, in): then AdamW's rate and decay serve (J. Liu et al., "Muon is
    scalable for LLM training", 2025).  A weight of two axes is of shape (in, out),
    as :class:`~graphgpu.nn.Dense` has it; one of more is a convolution's (out, in,
    window...), and a matrix of ``out`` rows.

    Muon is for the hidden layers' weights; biases, gains, embeddings and the last
    layer are for another optimiser: see :class:`Combined`.  Defaults are PyTorch's,
    which iterates in bfloat16 where this does in the state's dtype, and whose
    matrices are (out, in).

    State: ``<path>/momentum``.

    Raises
    ------
    GraphError
        A number is out of range; a parameter has fewer than two axes.
    """

    lr: Rate = 1e-3
    weight_decay: float = 0.1
    momentum: float = 0.95
    nesterov: bool = True
    coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315)
    eps: float = 1e-7
    steps: int = 5
    adjust_lr: Adjustment = "original"

    def __post_init__(self) -> None:
        """Check what was given."""
        Optimizer.__post_init__(self)
        at_least_zero("weight_decay", self.weight_decay)
        below_one("momentum", self.momentum)
        positive("eps", self.eps)
        count("steps", self.steps)
        given = self.coefficients
        if not isinstance(given, tuple | list) or len(given) != 3:
            raise GraphError(f"coefficients are three numbers; got {given!r}")
        if self.adjust_lr not in get_args(Adjustment):
            raise GraphError(
                "adjust_lr is 'original' or 'match_rms_adamw'; got "
                f"adjust_lr={self.adjust_lr!r}"
            )

    def rule(
        self, memory: Memory, x: Variable, g: Variable, *scalars: Scalar
    ) -> Variable:
        """Shrink the parameter, then step along the orthogonal matrix."""
        (rate,) = scalars
        sizes = [s for s in x.shape if isinstance(s, int)]
        if len(sizes) < 2:
            raise GraphError(
                f"Muon trains weights of two axes or more; got one of type {x.type} at "
                f"{memory.path!r}; give it to another optimiser with gg.optim.Combined"
            )
        b = self.momentum * memory.read("momentum") + (1 - self.momentum) * g
        memory.write("momentum", b)
        d = (1 - self.momentum) * g + self.momentum * b if self.nesterov else b
        rows, columns = sizes[0], prod(sizes[1:])
        matrix = orthogonalized(
            d.reshape((rows, columns)), self.coefficients, self.steps, self.eps
        )
        if self.weight_decay:
            x = x * (1 - rate * self.weight_decay)
        factor = self._factor(
            *((columns, rows) if len(sizes) == 2 else (rows, columns))
        )
        return x - (rate * factor) * matrix.reshape(x.shape)

    def _factor(self, out: int, into: int) -> float:
        if self.adjust_lr == "original":
            return sqrt(max(1.0, out / max(into, 1)))
        return 0.2 * sqrt(max(out, into))


def orthogonalized(
    g: Variable,
    coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
    steps: int = 5,
    eps: float = 1e-7,
) -> Variable:
    """Return almost the orthogonal matrix that is nearest: Newton-Schulz's iteration.

    From X = G / max(‖G‖, ε), Frobenius' norm, which has no singular value above 1::

        X ← a X + (b A + c A²) X,   A = X Xᵀ

    takes every singular value s to a s + b s³ + c s⁵.  Jordan's coefficients raise
    small ones fastest, at the price of ending not at 1 but within about 0.7 to 1.2.
    """
    a, b, c = coefficients
    rows, columns = g.shape
    wide = isinstance(rows, int) and isinstance(columns, int) and rows <= columns
    x = g if wide else g.T
    x = x / maximum(root(square(x).sum()), eps)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x if wide else x.T
