"""Output units: an affine map of the features, read as a distribution of the target.

What a net computes last says what it believes of its target y, given the features h
(*Deep Learning*, section 6.2.2).  The cost is then minus the logarithm of the
likelihood, ``unit.nll(h, y)``; the conditional mean, the mode and samples come from
the same parameters.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import ClassVar, Literal, final, get_args

from graphgpu.errors import GraphError
from graphgpu.graph import Operand, Variable, as_variable, current, inside, located
from graphgpu.nn.dense import Dense
from graphgpu.nn.init import Initializer
from graphgpu.nn.layer import Layer
from graphgpu.ops.cumulative import cumsum
from graphgpu.ops.elementwise import cast
from graphgpu.ops.joining import concat
from graphgpu.ops.random import random_uniform
from graphgpu.ops.requirements import of_shape, require, widened

__all__ = ["LOG_2PI", "OutputUnit", "drawn"]

Reduction = Literal["mean", "sum", "none"]
LOG_2PI = math.log(2 * math.pi)


class OutputUnit(Layer):
    """p(y | h): a distribution whose parameters are functions of Wh + b. Abstract.

    Called, it returns the parameters along the last axis, one after another as in
    :meth:`distribution`.  A target is of ``out_features`` numbers.  One of your own
    defines the methods whose names start with ``of_``: they are given the scores
    Wh + b, halves in float32.

    Parameters
    ----------
    in_features, out_features
        The sizes of the last axis of the features and of the target.
    weight_init, bias_init
        Initialisers of W and b.
    dtype
        The dtype of the parameters.
    name
        The layer's name.
    """

    shown: ClassVar[tuple[str, ...]] = ("in_features", "out_features")

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        weight_init: Initializer | None = None,
        bias_init: Initializer | None = None,
        dtype: object = "float32",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.in_features = self.positive("in_features", in_features)
        self.out_features = self.positive("out_features", out_features)
        self.affine = Dense(
            in_features,
            self.score_count(),
            weight_init=weight_init,
            bias_init=bias_init,
            dtype=dtype,
        )

    # --- what a unit is made of

    def score_count(self) -> int:
        """Return how many scores there are: one for each output, unless overridden."""
        return self.out_features

    @abstractmethod
    def of_distribution(self, scores: Variable) -> dict[str, Variable]:
        """Return the parameters of the distribution by name."""

    @abstractmethod
    def of_nll(self, scores: Variable, target: Variable) -> Variable:
        """Return -log p(y | h) of each sample."""

    @abstractmethod
    def of_mean(self, scores: Variable) -> Variable:
        """Return E(y | h)."""

    @abstractmethod
    def of_mode(self, scores: Variable) -> Variable:
        """Return the target that is the most probable."""

    @abstractmethod
    def of_sample(self, scores: Variable, key: str | None) -> Variable:
        """Return a target drawn from the distribution."""

    # --- what it is used by

    def forward(self, h: Variable, *, training: bool) -> Variable:
        """Return the parameters along the last axis, one after another."""
        scores = self._scores(h)
        batch = scores.shape[:-1]
        parts = [
            v if v.ndim == scores.ndim else v.reshape((*batch, -1))
            for v in self.of_distribution(scores).values()
        ]
        joined = parts[0] if len(parts) == 1 else concat(parts, axis=-1)
        return cast(joined, self.affine.weight.dtype)

    @final
    def distribution(self, features: Operand) -> dict[str, Variable]:
        """Return the parameters of the distribution by name."""
        with self._inside(features) as h:
            scores = self._scores(h)
            found = self.of_distribution(scores)
            return {n: cast(v, self.affine.weight.dtype) for n, v in found.items()}

    @final
    def nll(
        self, features: Operand, target: Operand, reduction: Reduction = "mean"
    ) -> Variable:
        """Return -log p(y | h), summed over the outputs of a sample.

        Of all samples the mean; their sum, or each, by ``reduction``.

        Raises
        ------
        ShapeError
            The target is not of the unit's shape.
        GraphError
            ``reduction`` is none of these.
        """
        known = reduction in get_args(Reduction)
        require("nll", known, f"{reduction=}", "'mean', 'sum' or 'none'")
        with self._inside(features) as h:
            losses = self.of_nll(self._scores(h), as_variable(target, h.tensor))
            if reduction != "none":
                losses = losses.mean() if reduction == "mean" else losses.sum()
            return cast(losses, self.affine.weight.dtype)

    @final
    def mean(self, features: Operand) -> Variable:
        """Return E(y | h), what the least squared error would find."""
        with self._inside(features) as h:
            return cast(self.of_mean(self._scores(h)), self.affine.weight.dtype)

    @final
    def mode(self, features: Operand) -> Variable:
        """Return the target that is the most probable."""
        with self._inside(features) as h:
            return self.of_mode(self._scores(h))

    @final
    def sample(self, features: Operand, key: str | None = None) -> Variable:
        """Return a target drawn from p(y | h); see :func:`graphgpu.random_normal`."""
        with self._inside(features) as h:
            return self.of_sample(self._scores(h), key)

    def target_of(self, scores: Variable, target: Variable) -> Variable:
        """Return a target of a number for each output, in the dtype of the scores."""
        shape = (*scores.shape[:-1], self.out_features)
        return cast(of_shape("nll", "a target", target, shape), scores.dtype)

    def _scores(self, h: Variable) -> Variable:
        return widened(self.affine(h))

    @contextmanager
    def _inside(self, features: Operand) -> Iterator[Variable]:
        """Build in the scope of the unit, as a call of it does."""
        h = as_variable(features)
        with inside(replace(current(), path=self.path)):
            try:
                yield h
            except GraphError as error:
                if not error.located:
                    raise located(error, self.title(), (h,)) from None
                error.add_note(f"in {self.title()}")
                raise


def drawn(p: Variable, key: str | None) -> Variable:
    """Return an index with the probabilities along the last axis: the inverse CDF."""
    uniform = random_uniform((*p.shape[:-1], 1), dtype=p.dtype, key=key)
    cumulated = cumsum(p, -1)
    # Of the sum as it was rounded: else the last index might be drawn that has p = 0.
    below = uniform * cumulated[..., -1:] >= cumulated
    return cast(below, "int64").sum(-1)
