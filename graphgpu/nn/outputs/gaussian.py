"""Output units of numbers: Gaussian distributions."""

from __future__ import annotations

import math
from typing import Any, final

import numpy as np

from graphgpu.graph import Variable, constant
from graphgpu.nn.outputs.spread import Spread, Spreading
from graphgpu.nn.outputs.unit import LOG_2PI, OutputUnit
from graphgpu.ops.arithmetic import sqrt, square
from graphgpu.ops.comparison import where
from graphgpu.ops.creation import zeros_like
from graphgpu.ops.elementwise import cast
from graphgpu.ops.indexing import take
from graphgpu.ops.joining import concat, split
from graphgpu.ops.linalg import solve_triangular
from graphgpu.ops.matrix_product import matmul
from graphgpu.ops.random import random_normal
from graphgpu.ops.shape import expand_dims, squeeze

__all__ = ["GaussianOutput", "LinearRegression", "MultivariateGaussianOutput"]


@final
class LinearRegression(OutputUnit):
    """y ~ N(Wh + b, I): linear units (*Deep Learning*, sections 5.5.1 and 6.2.2.1).

    -log p(y | h) = ½‖y - Wh - b‖² + d/2 log 2π for d outputs: the squared error and
    a constant.  Linear units do not saturate.  Called, it returns the mean.

    >>> import graphgpu as gg
    >>> unit = gg.nn.LinearRegression(3)
    >>> h, y = gg.placeholder("h", ("n", 3)), gg.placeholder("y", ("n", 1))
    >>> unit(h).type, unit.nll(h, y).type
    (float32[n,1], float32[])

    Raises
    ------
    GraphError
        A size is no int > 0.
    """

    def __init__(self, in_features: int, out_features: int = 1, **options: Any) -> None:
        super().__init__(in_features, out_features, **options)

    def of_distribution(self, scores: Variable) -> dict[str, Variable]:
        """Return the mean."""
        return {"mean": scores}

    def of_nll(self, scores: Variable, target: Variable) -> Variable:
        """Return ½‖y - μ‖² + d/2 log 2π."""
        away = self.target_of(scores, target) - scores
        return 0.5 * square(away).sum(-1) + 0.5 * self.out_features * LOG_2PI

    def of_mean(self, scores: Variable) -> Variable:
        """Return the scores."""
        return scores

    def of_mode(self, scores: Variable) -> Variable:
        """Return the scores."""
        return cast(scores, self.affine.weight.dtype)

    def of_sample(self, scores: Variable, key: str | None) -> Variable:
        """Add standard normal noise."""
        noise = random_normal(scores.shape, dtype=scores.dtype, key=key)
        return cast(scores + noise, self.affine.weight.dtype)


@final
class GaussianOutput(Spreading):
    """y ~ N(μ, diag v): a variance for each output (*Deep Learning*, 6.2.2.4).

    The scores are μ, and r with v = softplus(r) + m, or exp(r) + m::

        -log p(y | h) = ½ Σⱼ [log 2π + log vⱼ + (yⱼ - μⱼ)² / vⱼ]

    A heteroscedastic model: where the targets scatter, v grows and errors weigh
    less.  m, the least variance, keeps the likelihood bounded on targets that are
    met exactly.  Called, it returns μ and then v along the last axis.

    Parameters
    ----------
    in_features, out_features
        The sizes of the last axis of the features and of the target.
    positive
        ``"softplus"``, whose slope does not explode, or ``"exp"``.
    min_variance
        m.
    options
        ``weight_init``, ``bias_init``, ``dtype``, ``name``: of :class:`OutputUnit`.

    Raises
    ------
    GraphError
        A size is no int > 0, ``positive`` none of the two, m not above 0.

    Examples
    --------
    >>> import graphgpu as gg
    >>> unit = gg.nn.GaussianOutput(3, 2)
    >>> h, y = gg.placeholder("h", ("n", 3)), gg.placeholder("y", ("n", 2))
    >>> unit(h).type, unit.nll(h, y).type, unit.distribution(h)["variance"].type
    (float32[n,4], float32[], float32[n,2])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int = 1,
        positive: str = "softplus",
        min_variance: float = 1e-6,
        **options: Any,
    ) -> None:
        super().__init__(in_features, out_features, **options)
        self.take_spread(positive, min_variance)

    def score_count(self) -> int:
        """Return two for each output."""
        return 2 * self.out_features

    def of_distribution(self, scores: Variable) -> dict[str, Variable]:
        """Return the mean and the variance."""
        mean, r = split(scores, 2, axis=-1)
        return {"mean": mean, "variance": self.spread.value(r)}

    def of_nll(self, scores: Variable, target: Variable) -> Variable:
        """Return the sum over the outputs."""
        mean, r = split(scores, 2, axis=-1)
        away = self.spread.divided(self.target_of(scores, target) - mean, r, 0.5)
        terms = self.spread.log(r) + square(away)
        return 0.5 * (terms.sum(-1) + self.out_features * LOG_2PI)

    def of_mean(self, scores: Variable) -> Variable:
        """Return μ."""
        return split(scores, 2, axis=-1)[0]

    def of_mode(self, scores: Variable) -> Variable:
        """Return μ."""
        return cast(self.of_mean(scores), self.affine.weight.dtype)

    def of_sample(self, scores: Variable, key: str | None) -> Variable:
        """Return μ + √v z."""
        mean, r = split(scores, 2, axis=-1)
        noise = random_normal(mean.shape, dtype=mean.dtype, key=key)
        sample = mean + sqrt(self.spread.value(r)) * noise
        return cast(sample, self.affine.weight.dtype)


@final
class MultivariateGaussianOutput(Spreading):
    """y ~ N(μ, LLᵀ): a full covariance (*Deep Learning*, section 6.2.2.4).

    Of the scores, d are μ, d(d - 1)/2 the entries of L below its diagonal, row by
    row, and d make the diagonal: √m + softplus or exp of them.  So L is the Cholesky
    factor of a covariance that is positive definite, whatever the scores::

        -log p(y | h) = d/2 log 2π + Σᵢ log Lᵢᵢ + ½‖L⁻¹(y - μ)‖²

    Called, it returns μ and then the d² entries of L along the last axis.  The
    parameters are those of :class:`GaussianOutput`.

    >>> import graphgpu as gg
    >>> unit = gg.nn.MultivariateGaussianOutput(3, 2)
    >>> h, y = gg.placeholder("h", ("n", 3)), gg.placeholder("y", ("n", 2))
    >>> unit.nll(h, y).type, unit.distribution(h)["factor"].type
    (float32[], float32[n,2,2])
    >>> unit.covariance(h).type
    float32[n,2,2]

    Raises
    ------
    GraphError
        A size is no int > 0, ``positive`` none of the two, m not above 0.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        positive: str = "softplus",
        min_variance: float = 1e-6,
        **options: Any,
    ) -> None:
        super().__init__(in_features, out_features, **options)
        self.take_spread(positive, min_variance)
        self.spread = Spread(self.spread.positive, math.sqrt(min_variance))

    def score_count(self) -> int:
        """Return d for the mean and d (d + 1) / 2 for the factor."""
        d = self.out_features
        return d + d * (d + 1) // 2

    def covariance(self, features: Variable) -> Variable:
        """Return LLᵀ."""
        factor = self.distribution(features)["factor"]
        return matmul(factor, factor.mT)

    def _parts(self, scores: Variable) -> tuple[Variable, Variable, Variable]:
        """Return μ, what makes the diagonal, and L below it."""
        d = self.out_features
        mean, r, below = split(scores, [d, 2 * d], axis=-1)
        table = np.full((d, d), d * (d - 1) // 2)
        table[np.tril_indices(d, -1)] = np.arange(d * (d - 1) // 2)
        entries = concat([below, zeros_like(mean[..., :1])], axis=-1)
        return mean, r, take(entries, constant(table), axis=-1)

    def _factor(self, r: Variable, below: Variable) -> Variable:
        diagonal = expand_dims(self.spread.value(r), -1)
        return where(np.eye(self.out_features, dtype=bool), diagonal, below)

    def of_distribution(self, scores: Variable) -> dict[str, Variable]:
        """Return the mean and the factor L."""
        mean, r, below = self._parts(scores)
        return {"mean": mean, "factor": self._factor(r, below)}

    def of_nll(self, scores: Variable, target: Variable) -> Variable:
        """Solve with L, its rows divided by its diagonal; nothing is inverted."""
        mean, r, below = self._parts(scores)
        away = expand_dims(self.target_of(scores, target) - mean, -1)
        r_of_rows = expand_dims(r, -1)
        white = solve_triangular(
            self.spread.divided(below, r_of_rows, 1),
            self.spread.divided(away, r_of_rows, 1),
            unit_diagonal=True,
        )
        terms = self.spread.log(r) + 0.5 * square(squeeze(white, -1))
        return terms.sum(-1) + 0.5 * self.out_features * LOG_2PI

    def of_mean(self, scores: Variable) -> Variable:
        """Return μ."""
        return scores[..., : self.out_features]

    def of_mode(self, scores: Variable) -> Variable:
        """Return μ."""
        return cast(self.of_mean(scores), self.affine.weight.dtype)

    def of_sample(self, scores: Variable, key: str | None) -> Variable:
        """Return μ + L z."""
        mean, r, below = self._parts(scores)
        factor = self._factor(r, below)
        noise = random_normal((*mean.shape, 1), dtype=mean.dtype, key=key)
        sample = mean + squeeze(matmul(factor, noise), -1)
        return cast(sample, self.affine.weight.dtype)
