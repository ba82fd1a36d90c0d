"""The output unit of numbers that may be one of several: a mixture of Gaussians."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from graphgpu.dtypes import Array
from graphgpu.graph import Variable
from graphgpu.nn.init import Fans
from graphgpu.nn.outputs.spread import Spreading
from graphgpu.nn.outputs.unit import LOG_2PI, drawn
from graphgpu.ops.activations.normalized import log_softmax, softmax
from graphgpu.ops.arithmetic import sqrt, square
from graphgpu.ops.comparison import equal, where
from graphgpu.ops.elementwise import cast
from graphgpu.ops.joining import split
from graphgpu.ops.random import random_normal
from graphgpu.ops.reduction import logsumexp
from graphgpu.ops.shape import expand_dims
from graphgpu.ops.sorting import argmax

__all__ = ["MixtureDensityOutput"]


@final
class MixtureDensityOutput(Spreading):
    """y ~ Σₖ πₖ N(μₖ, diag vₖ): a mixture density network's output.

    C. Bishop, "Mixture density networks", 1994; *Deep Learning*, section 6.2.2.4.
    Of the scores, K make the weights, π = softmax; K d are the means, component by
    component; and K d make the variances as in :class:`GaussianOutput`::

        -log p(y | h) = -log Σₖ exp [log πₖ + log N(y; μₖ, diag vₖ)]

    by :func:`graphgpu.logsumexp`, so that no density under- or overflows.  A target
    that may be one of several values, as in inverse problems, has its modes found,
    where the squared error finds the mean between them.  Called, it returns π, then
    the means, then the variances along the last axis.  The biases of the means are
    at first N(0, 1), so that the components differ.

    Parameters
    ----------
    in_features, out_features
        The sizes of the last axis of the features and of the target, d.
    components
        K.
    positive, min_variance, options
        As for :class:`GaussianOutput`.

    Raises
    ------
    GraphError
        A size is no int > 0, ``positive`` none of the two, m not above 0.

    Examples
    --------
    >>> import graphgpu as gg
    >>> unit = gg.nn.MixtureDensityOutput(3, 2, components=5)
    >>> h, y = gg.placeholder("h", ("n", 3)), gg.placeholder("y", ("n", 2))
    >>> unit.nll(h, y).type, unit.mode(h).type, unit.distribution(h)["means"].type
    (float32[], float32[n,2], float32[n,5,2])
    """

    shown = ("in_features", "out_features", "components", "positive_by")

    def __init__(
        self,
        in_features: int,
        out_features: int,
        components: int,
        positive: str = "softplus",
        min_variance: float = 1e-6,
        **options: Any,
    ) -> None:
        self.components = components
        bias_init = options.pop("bias_init", None) or Apart(components)
        super().__init__(in_features, out_features, bias_init=bias_init, **options)
        self.take_spread(positive, min_variance)

    def score_count(self) -> int:
        """Return 1 + 2d for each component."""
        return self.positive("components", self.components) * (
            1 + 2 * self.out_features
        )

    def _parts(self, scores: Variable) -> tuple[Variable, Variable, Variable]:
        """Return the logits, the means, and what makes the variances."""
        size = self.components * self.out_features
        cuts = [self.components, self.components + size]
        logits, means, r = split(scores, cuts, axis=-1)
        shape = (*scores.shape[:-1], self.components, self.out_features)
        return logits, means.reshape(shape), r.reshape(shape)

    def of_distribution(self, scores: Variable) -> dict[str, Variable]:
        """Return the weights, means and variances of the components."""
        logits, means, r = self._parts(scores)
        variances = self.spread.value(r)
        return {"weights": softmax(logits), "means": means, "variances": variances}

    def of_nll(self, scores: Variable, target: Variable) -> Variable:
        """Sum the densities by their logarithms."""
        logits, means, r = self._parts(scores)
        away = expand_dims(self.target_of(scores, target), -2) - means
        terms = self.spread.log(r) + square(self.spread.divided(away, r, 0.5))
        logs = log_softmax(logits) - 0.5 * terms.sum(-1)
        return 0.5 * self.out_features * LOG_2PI - logsumexp(logs, -1)

    def of_mean(self, scores: Variable) -> Variable:
        """Return Σₖ πₖ μₖ."""
        logits, means, _ = self._parts(scores)
        return (expand_dims(softmax(logits), -1) * means).sum(-2)

    def of_mode(self, scores: Variable) -> Variable:
        """Return the mean of the component that is highest at its own mean.

        Bishop's approximation, good where the components lie apart.
        """
        logits, means, r = self._parts(scores)
        heights = log_softmax(logits) - 0.5 * self.spread.log(r).sum(-1)
        mode = self._picked(argmax(heights, axis=-1), means)
        return cast(mode, self.affine.weight.dtype)

    def of_sample(self, scores: Variable, key: str | None) -> Variable:
        """Draw a component, then a number for each output."""
        logits, means, r = self._parts(scores)
        chosen = drawn(softmax(logits), None if key is None else f"{key}/component")
        shape = (*scores.shape[:-1], self.out_features)
        noise = random_normal(shape, dtype=scores.dtype, key=key)
        width = sqrt(self.spread.value(self._picked(chosen, r)))
        sample = self._picked(chosen, means) + width * noise
        return cast(sample, self.affine.weight.dtype)

    def _picked(self, index: Variable, values: Variable) -> Variable:
        """Return the values of one component of each sample."""
        chosen = equal(expand_dims(index, -1), np.arange(self.components))
        return where(expand_dims(chosen, -1), values, 0).sum(-2)


@dataclass(frozen=True, slots=True)
class Apart:
    """Biases of a mixture: standard normal for the means, else 0."""

    components: int

    def __call__(
        self, random: np.random.Generator, shape: tuple[int, ...], fans: Fans
    ) -> Array:
        """Draw."""
        values = np.zeros(shape)
        size = (shape[0] - self.components) // 2
        means = slice(self.components, self.components + size)
        values[means] = random.standard_normal(size)
        return values
