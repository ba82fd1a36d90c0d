"""Output units of classes: Bernoulli and multinoulli distributions."""

from __future__ import annotations

from typing import Any, final

from graphgpu.graph import Variable
from graphgpu.nn.outputs.unit import OutputUnit, drawn
from graphgpu.ops.activations.normalized import softmax
from graphgpu.ops.activations.sigmoidal import sigmoid
from graphgpu.ops.creation import zeros_like
from graphgpu.ops.elementwise import cast
from graphgpu.ops.joining import concat
from graphgpu.ops.losses.binary import binary_cross_entropy_with_logits
from graphgpu.ops.losses.classes import cross_entropy
from graphgpu.ops.random import random_bernoulli
from graphgpu.ops.sorting import argmax

__all__ = ["BernoulliOutput", "LogisticRegression", "MultinoulliOutput"]


class BernoulliOutput(OutputUnit):
    """P(y = 1 | h) = σ(Wh + b), each output by itself (*Deep Learning*, 6.2.2.2).

    -log P(y | h) = ζ((1 - 2y) z), with z = wᵀh + b and ζ the softplus, summed over
    the outputs: it is linear in z where the unit is wrong, so that the gradient does
    not vanish with σ's slope.  Called, it returns the probabilities.  Targets are 0,
    1, or probabilities between.

    >>> import graphgpu as gg
    >>> unit = gg.nn.BernoulliOutput(3, 2)
    >>> h, y = gg.placeholder("h", ("n", 3)), gg.placeholder("y", ("n", 2))
    >>> unit(h).type, unit.nll(h, y).type, unit.mode(h).type
    (float32[n,2], float32[], int64[n,2])

    Raises
    ------
    GraphError
        A size is no int > 0.
    """

    def __init__(self, in_features: int, out_features: int = 1, **options: Any) -> None:
        super().__init__(in_features, out_features, **options)

    def of_distribution(self, scores: Variable) -> dict[str, Variable]:
        """Return the probabilities."""
        return {"p": sigmoid(scores)}

    def of_nll(self, scores: Variable, target: Variable) -> Variable:
        """Return the cross-entropy of the logits."""
        wanted = self.target_of(scores, target)
        return binary_cross_entropy_with_logits(scores, wanted, reduction="none").sum(
            -1
        )

    def of_mean(self, scores: Variable) -> Variable:
        """Return the probabilities."""
        return sigmoid(scores)

    def of_mode(self, scores: Variable) -> Variable:
        """Return 1 where that is more probable, else 0."""
        return cast(scores > 0, "int64")

    def of_sample(self, scores: Variable, key: str | None) -> Variable:
        """Return 1 with the probability, else 0."""
        return random_bernoulli(sigmoid(scores), dtype="int64", key=key)


@final
class LogisticRegression(BernoulliOutput):
    """P(y = 1 | h) = σ(wᵀh + b): the logistic unit (*Deep Learning*, section 5.7.1).

    A :class:`BernoulliOutput` of one output; its boundary wᵀh + b = 0 is a plane.
    Targets are of shape (..., 1).

    >>> import graphgpu as gg
    >>> unit = gg.nn.LogisticRegression(3)
    >>> unit(gg.placeholder("h", ("n", 3))).type
    float32[n,1]

    Raises
    ------
    GraphError
        A size is no int > 0.
    """

    def __init__(self, in_features: int, **options: Any) -> None:
        super().__init__(in_features, 1, **options)


@final
class MultinoulliOutput(OutputUnit):
    """P(y = i | h) = softmax(Wh + b)ᵢ, one of n classes (*Deep Learning*, 6.2.2.3).

    -log P(y | h) = log Σⱼ exp zⱼ - z_y: the score of the right class is never out of
    it, so that a unit that is wrong always learns.  Adding a number to all scores
    changes nothing: n - 1 of them suffice.  ``reduced`` has W and b make these, the
    last one being 0 (a logistic unit for n = 2); the likelihoods are the same ones.

    Called, it returns the probabilities.  Targets are classes, integers of the shape
    of the features without the last axis, or probabilities of shape (..., n).

    >>> import graphgpu as gg
    >>> unit = gg.nn.MultinoulliOutput(3, 4, reduced=True)
    >>> unit.affine.weight.type
    float32[3,3]
    >>> h, y = gg.placeholder("h", ("n", 3)), gg.placeholder("y", ("n",), "int64")
    >>> unit(h).type, unit.nll(h, y).type, unit.mode(h).type
    (float32[n,4], float32[], int64[n])

    Raises
    ------
    GraphError
        A size is no int > 0, or there is one class only.
    """

    shown = ("in_features", "out_features", "reduced")

    def __init__(
        self, in_features: int, classes: int, reduced: bool = False, **options: Any
    ) -> None:
        self.reduced = reduced
        super().__init__(in_features, classes, **options)

    def score_count(self) -> int:
        """Return the number of classes, or one less."""
        if self.out_features < 2:
            self.reject(f"expected at least 2 classes, got {self.out_features}")
        return self.out_features - self.reduced

    def logits(self, scores: Variable) -> Variable:
        """Return a score for each class."""
        if not self.reduced:
            return scores
        return concat([scores, zeros_like(scores[..., :1])], axis=-1)

    def of_distribution(self, scores: Variable) -> dict[str, Variable]:
        """Return the probabilities."""
        return {"p": self.of_mean(scores)}

    def of_nll(self, scores: Variable, target: Variable) -> Variable:
        """Return the cross-entropy of the logits."""
        logits = self.logits(scores)
        return cross_entropy(logits, target, reduction="none", axis=-1)

    def of_mean(self, scores: Variable) -> Variable:
        """Return the probabilities: E of a one-hot target."""
        return softmax(self.logits(scores))

    def of_mode(self, scores: Variable) -> Variable:
        """Return the class of the largest score."""
        return argmax(self.logits(scores), axis=-1)

    def of_sample(self, scores: Variable, key: str | None) -> Variable:
        """Return a class."""
        return drawn(self.of_mean(scores), key)
