"""Mixtures of experts: layers of which a gate says how much each has to say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import final

import numpy as np

from graphgpu.dims import Size, ceil_div, minimum_size, product
from graphgpu.errors import GraphError
from graphgpu.graph import Operand, Variable, as_variable, current, inside
from graphgpu.nn.containers import Link
from graphgpu.nn.dense import Dense
from graphgpu.nn.function import Function
from graphgpu.nn.init import Initializer
from graphgpu.nn.layer import Layer
from graphgpu.ops.activations.normalized import softmax
from graphgpu.ops.activations.sigmoidal import softplus
from graphgpu.ops.attention import soft_attention
from graphgpu.ops.comparison import where
from graphgpu.ops.creation import size, zeros
from graphgpu.ops.cumulative import cumsum
from graphgpu.ops.elementwise import cast
from graphgpu.ops.indexing import one_hot, scatter_add, take, take_along_axis
from graphgpu.ops.joining import concat, stack
from graphgpu.ops.random import random_normal
from graphgpu.ops.requirements import widened
from graphgpu.ops.shape import expand_dims, matrix_transpose
from graphgpu.ops.sorting import top_k
from graphgpu.ops.switches import importance_loss, load_balancing_loss, top_k_gates

__all__ = ["MixtureOfExperts"]


@final
class MixtureOfExperts(Layer):
    """y = Σ_e g_e(x) E_e(x), with gates g(x) = softmax(x W) of the E experts.

    *Soft* gating (``k=None``) mixes all of them: Jacobs, Jordan, Nowlan and Hinton,
    "Adaptive mixtures of local experts", 1991 (*Deep Learning*, section 12.1.5).
    *Sparse* gating lets the k with the largest logits have a say alone, the first of
    equal ones: Shazeer et al., "Outrageously large neural networks: the
    sparsely-gated mixture-of-experts layer", 2017.  See
    :func:`graphgpu.top_k_gates`; experts that are not chosen for a sample get no
    gradient from it.  :meth:`with_loss` returns also what keeps the load even.

    Parameters
    ----------
    in_features
        The size of the input's last axis; the axes before it are of samples.
    experts
        Layers, or functions of a variable, from (samples, in_features) to one shape.
    k
        How many experts a sample has; None: all.
    noisy
        Whether, in training, ε softplus(x V) with a Gaussian ε is added to the
        logits, so that all experts are tried (Shazeer et al., equation 4).
    renormalize
        Whether the gates of the chosen have the sum 1.  By default unless k is 1:
        a gate that is always 1 has no gradient (Fedus, Zoph and Shazeer, "Switch
        transformers", 2022), and so it is the probability among all.
    capacity_factor
        None: every expert sees every sample, and what it was not chosen for is
        masked; right for few experts.  Otherwise each sees at most C =
        ⌈factor · k · samples / E⌉ of the samples that chose it, first choices
        before second ones, then in the order of the batch; beyond that a sample
        gets 0 in this expert's place (Lepikhin et al., "GShard", 2021).  The sizes
        do not depend on the data, and from the factor E / k on nothing is dropped.
        Expert inputs are then (C, in_features), with rows of 0 where there are
        fewer, so that experts should not mix samples.
    weight_init
        An initialiser of the gate, Glorot's uniform one by default.
    dtype
        The dtype of the gate's parameters.
    name
        The layer's name, ``"mixture_of_experts"`` by default.

    Examples
    --------
    >>> import graphgpu as gg
    >>> experts = [gg.nn.Dense(4, 3) for _ in range(8)]
    >>> layer = gg.nn.MixtureOfExperts(4, experts, k=2)
    >>> y, balance = layer.with_loss(gg.placeholder("x", ("batch", 4)), training=True)
    >>> y.type, balance.type
    (float32[batch,3], float32[])
    """

    shown = ("in_features", "k", "capacity_factor")

    def __init__(
        self,
        in_features: int,
        experts: Sequence[Link],
        k: int | None = None,
        noisy: bool = False,
        renormalize: bool | None = None,
        capacity_factor: float | None = None,
        *,
        weight_init: Initializer | None = None,
        dtype: object = "float32",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.in_features = self.positive("in_features", in_features)
        if not isinstance(experts, Sequence):
            self.reject(f"expected a list of experts, got {experts!r}")
        self.experts = tuple(
            e if isinstance(e, Layer) else Function(e) for e in experts
        )
        count = len(self.experts)
        if not count:
            self.reject("expected at least one expert")
        self.k = None if k is None else self.positive("k", k)
        if self.k is not None and self.k > count:
            self.reject(f"expected k to be at most the {count} experts, got {k}")
        if capacity_factor is not None:
            self._require_factor(capacity_factor)
        self.renormalize = k != 1 if renormalize is None else renormalize
        self.capacity_factor = capacity_factor

        def router() -> Dense:
            return Dense(
                self.in_features, count, False, weight_init=weight_init, dtype=dtype
            )

        self.gate = router()
        self.noise = router() if noisy else None

    def _require_factor(self, factor: float) -> None:
        is_number = isinstance(factor, int | float | np.number)
        if not is_number or isinstance(factor, bool) or not 0 < factor < np.inf:
            self.reject(f"expected capacity_factor to be a number > 0, got {factor!r}")
        if self.k is None:
            self.reject(
                "expected a k with the capacity_factor; without one every expert sees "
                "all samples"
            )

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return the mixture of the experts' outputs."""
        return self._mixture(x, self._logits(x, training), training)

    def with_loss(
        self, x: Operand, *, training: bool = False
    ) -> tuple[Variable, Variable]:
        """Return what a call returns, and a loss that is least for an even load.

        With a k, :func:`graphgpu.load_balancing_loss`; else the gates'
        :func:`graphgpu.importance_loss`.  To be added, times 0.01 say, to the loss.
        """
        variable = as_variable(x)
        with inside(replace(current(), path=self.path)):
            logits = self._logits(variable, training)
            output = self._mixture(variable, logits, training)
            if self.k is None:
                return output, importance_loss(softmax(widened(logits)))
            return output, load_balancing_loss(logits, self.k)

    def gates(self, x: Operand) -> Variable:
        """Return the gates (..., E) that inference has, 0 of those not chosen."""
        variable = as_variable(x)
        with inside(replace(current(), path=self.path)):
            return self._gates(self._logits(variable, training=False))

    def _logits(self, x: Variable, training: bool) -> Variable:
        self.require_size(x, -1, self.in_features, "features")
        logits: Variable = self.gate(x, training=training)
        if self.noise is None or not training:
            return logits
        spread = softplus(self.noise(x, training=training))
        return logits + spread * random_normal(logits.shape, dtype=logits.dtype)

    def _gates(self, logits: Variable) -> Variable:
        if self.k is None:
            return softmax(logits)
        return top_k_gates(logits, self.k, renormalize=self.renormalize)

    def _mixture(self, x: Variable, logits: Variable, training: bool) -> Variable:
        gates = self._gates(logits)
        if self.k is not None and self.capacity_factor is not None:
            return self._dispatched(x, logits, gates, training)
        outputs = stack(self._answers([x] * len(self.experts), training), x.ndim - 1)
        if self.k is not None:
            spread = gates.reshape((*gates.shape, *(1,) * (outputs.ndim - gates.ndim)))
            outputs = where(spread > 0, outputs, 0)
        return soft_attention(gates, outputs)

    def _answers(self, inputs: list[Variable], training: bool) -> list[Variable]:
        """Return what the experts say, each of its input: all of one type."""
        asked = zip(self.experts, inputs, strict=True)
        answers = [e(x, training=training) for e, x in asked]
        for place, answer in enumerate(answers):
            if answer.type != answers[0].type:
                raise GraphError(
                    f"expected all experts to return one type; expert 0 returned "
                    f"{answers[0].type}, expert {place}, {self.experts[place]!r}, "
                    f"{answer.type}"
                )
        return answers

    def _dispatched(
        self, x: Variable, logits: Variable, gates: Variable, training: bool
    ) -> Variable:
        """Send each expert its samples, and what it says back."""
        assert self.k is not None
        count, leading = len(self.experts), x.shape[:-1]
        samples = x.reshape((product(leading), self.in_features))
        total = samples.shape[0]
        empty = zeros((count, self._capacity(total), self.in_features), x.dtype)
        capacity = size(empty, 1)
        _, places = top_k(logits.reshape((total, count)), self.k)
        expert = _choices(places)
        place = _place_in_line(expert, count)
        kept = place < capacity
        slot = where(kept, expert * capacity + place, 0)
        sent = where(expand_dims(kept, 1), concat([samples] * self.k), 0)
        lines = scatter_add(empty.reshape((-1, self.in_features)), slot, sent)
        lines = lines.reshape(empty.shape)
        said = concat(self._answers([lines[i] for i in range(count)], training))
        weights = _choices(take_along_axis(gates.reshape((total, count)), places))
        weights = where(kept, widened(weights), 0)
        weights = weights.reshape((*weights.shape, *(1,) * (said.ndim - 1)))
        heard = weights * widened(take(said, slot, 0))
        mixed = heard.reshape((self.k, total, *said.shape[1:])).sum(0)
        return cast(mixed, said.dtype).reshape((*leading, *said.shape[1:]))

    def _capacity(self, total: Size) -> Size:
        """Return how many samples an expert sees: never more than there are."""
        assert self.k is not None
        factor = Fraction(str(self.capacity_factor)) * self.k / len(self.experts)
        share = ceil_div(factor.numerator * total, factor.denominator)
        return minimum_size(share, total)


def _choices(x: Variable) -> Variable:
    """Return (samples, k) as one line: all first choices, then all second ones."""
    return matrix_transpose(x).reshape(-1)


def _place_in_line(expert: Variable, count: int) -> Variable:
    """Return how many entries before each one have the same expert."""
    marks = one_hot(expert, count, "int64")
    return (cumsum(marks, 0, exclusive=True) * marks).sum(1)
