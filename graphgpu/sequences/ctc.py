"""Connectionist temporal classification: labels of a sequence, without their times."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from graphgpu.control import scan
from graphgpu.dims import Size
from graphgpu.dtypes import is_integer
from graphgpu.errors import DTypeError, GraphError, ShapeError
from graphgpu.graph import Constant, Operand, Variable, apply, as_variable, located
from graphgpu.ops.arithmetic import maximum
from graphgpu.ops.comparison import equal, isfinite, isinf, less, not_equal, where
from graphgpu.ops.creation import arange, full
from graphgpu.ops.elementwise import cast, operands_of
from graphgpu.ops.indexing import take_along_axis
from graphgpu.ops.joining import concat, stack
from graphgpu.ops.losses.classes import ClassIndex
from graphgpu.ops.losses.reductions import (
    Reduction,
    check_reduction,
    counted,
    mask_of,
    reduced,
)
from graphgpu.ops.markers import stop_gradient
from graphgpu.ops.reduction import logsumexp
from graphgpu.ops.reduction import max as largest_of
from graphgpu.ops.requirements import floating, of_shape, require, widened
from graphgpu.ops.shape import broadcast_to, expand_dims

__all__ = ["ctc_loss"]

_Step: TypeAlias = tuple[tuple[Variable, Variable], None]


def ctc_loss(
    log_probs: Operand,
    targets: Operand,
    input_lengths: Operand,
    target_lengths: Operand,
    blank: int = 0,
    reduction: Reduction = "mean",
    zero_infinity: bool = False,
    weight: Operand | None = None,
    mask: Operand | None = None,
) -> Variable:
    """Return -log of the probability of the labels, summed over all their alignments.

    An alignment has a label or a blank at each time; with repetitions merged, then
    blanks left out, it is the target.  Its probability is the product of those of
    its times.  The sum over all is formed in time T S, in logarithms, by
    α_t(s) = [α_{t-1}(s) + α_{t-1}(s-1) + α_{t-1}(s-2)] y_t(l_s), l being the labels
    with blanks around each, and the last term there only if l_s is neither a blank
    nor l_{s-2}.  Graves, Fernández, Gomez and Schmidhuber, "Connectionist temporal
    classification", 2006, equation 6.  It is a :func:`scan`, so there are gradients
    of any order; the first is minus the posterior probability of each label at each
    time.

    Parameters
    ----------
    log_probs
        Logarithms of probabilities, as of :func:`log_softmax`, of shape (T, N, C);
        or (T, C), and everything below without N.
    targets
        Integer labels of shape (N, S), none of them blank, which is checked of
        constants; after its length a target may hold anything.
    input_lengths
        The number of times of each sequence, of shape (N,); what comes after may be
        anything.
    target_lengths
        The number of labels of each target, of shape (N,).
    blank
        The class that stands for no label.
    reduction
        ``"mean"``: each loss is divided by the length of its target, if that is not
        0, and then they are averaged, as in torch; ``"sum"``, or ``"none"``.
    zero_infinity
        Whether 0 stands for the infinite loss of a target that is too long for its
        input; its gradient is 0 in either case.
    weight
        A weight for each sequence, or one number; the mean divides by their sum.
    mask
        Which sequences count.  ``log_probs`` of the others may be infinite or NaN;
        what they were computed from may not, as a layer's gradient multiplies it by
        0: put :func:`where` before the layers.

    Raises
    ------
    ShapeError, DTypeError
        The shapes do not fit; targets or lengths are no integers.
    GraphError
        The blank is none of the classes, or a constant label is the blank.
    ComputeError
        While running: a label is none of the classes, a length exceeds its axis.

    Examples
    --------
    The word "a" in two times, of an alphabet of blank and "a": aa, a- and -a are
    three of four alignments, which are all equally likely.

    >>> import graphgpu as gg
    >>> even = gg.log_softmax(gg.zeros((2, 1, 2)), -1)
    >>> loss = gg.ctc_loss(even, [[1]], [2], [1])
    >>> float(gg.evaluate(gg.exp(-loss)))
    0.75
    """
    name = "ctc_loss"
    check_reduction(name, reduction)
    given = (log_probs, targets, input_lengths, target_lengths)
    scores, labels, frames, counts = _operands(*given, blank)
    samples = () if as_variable(log_probs).ndim == 2 else (scores.shape[1],)
    kept = mask_of(name, mask, samples)
    every = None if kept is None else kept.reshape((scores.shape[1],))
    wide = widened(counted(every, scores, axis=-1))
    if mask is None:
        _require_no_blank(targets, target_lengths, int(blank))
    frames = _within("input length", counted(every, frames), scores.shape[0])
    counts = _within("target length", counted(every, counts), labels.shape[1])
    loss = -_log_probability(wide, labels, frames, counts, int(blank))
    if zero_infinity:
        loss = where(isinf(loss), 0, loss)
    if reduction == "mean":
        loss = loss / cast(maximum(counts, 1), loss.dtype)
    loss = loss.reshape(samples)
    return cast(reduced(name, loss, reduction, weight, kept), scores.dtype)


def _operands(
    log_probs: Operand,
    targets: Operand,
    input_lengths: Operand,
    target_lengths: Operand,
    blank: int,
) -> tuple[Variable, Variable, Variable, Variable]:
    """Return what the loss is of, with an axis of sequences, in shapes that fit."""
    name = "ctc_loss"
    scores = floating(name, log_probs)
    labels, frames, counts = (
        _integers(what, variable)
        for what, variable in (
            ("targets", targets),
            ("input lengths", input_lengths),
            ("target lengths", target_lengths),
        )
    )
    if scores.ndim == 2 and labels.ndim == 1:
        scores, labels = expand_dims(scores, 1), expand_dims(labels, 0)
        frames, counts = (
            of_shape(name, what, v, ()).reshape((1,))
            for what, v in (("an input length", frames), ("a target length", counts))
        )
    if scores.ndim != 3 or labels.ndim != 2:
        expected = "expected log_probs [T,N,C] and targets [N,S], or [T,C] and [S]"
        raise located(ShapeError(expected), name, (scores, labels))
    _, samples, classes = scores.shape
    known = isinstance(blank, int) and blank >= 0
    known = known and (not isinstance(classes, int) or blank < classes)
    require(name, known, f"{blank=}", f"one of the {classes} classes")
    labels = of_shape(name, "targets", labels, (samples, labels.shape[1]))
    frames = of_shape(name, "input lengths", frames, (samples,))
    counts = of_shape(name, "target lengths", counts, (samples,))
    return scores, labels, frames, counts


def _integers(what: str, x: Operand) -> Variable:
    """Return integers of 64 bits."""
    (variable,) = operands_of("ctc_loss", x)
    if not is_integer(variable.dtype):
        error = DTypeError(f"expected {what} of integers")
        raise located(error, "ctc_loss", (variable,))
    return cast(variable, "int64")


def _within(what: str, lengths: Variable, limit: Size) -> Variable:
    """Return lengths, which must be from 0 to that of their axis."""
    return apply(ClassIndex(limit + 1, None, f"ctc_loss {what}"), lengths)


def _require_no_blank(targets: Operand, lengths: Operand, blank: int) -> None:
    """Require constant targets to have a blank nowhere within their lengths."""
    labels, counts = as_variable(targets), as_variable(lengths)
    if not isinstance(labels, Constant) or not isinstance(counts, Constant):
        return
    within = np.arange(labels.value.shape[-1]) < counts.value[..., np.newaxis]
    places = np.argwhere(within & (labels.value == blank))
    if len(places):
        expected = f"expected targets without the blank {blank}, not one at "
        error = GraphError(f"{expected}{places[0].tolist()}")
        raise located(error, "ctc_loss", (labels,))


def _log_probability(
    log_probs: Variable,
    labels: Variable,
    frames: Variable,
    counts: Variable,
    blank: int,
) -> Variable:
    """Return the logarithm of the probability of each target."""
    times, samples, classes = log_probs.shape
    length = labels.shape[1]
    there = less(arange(length), expand_dims(counts, 1))
    index = apply(ClassIndex(classes, None, "ctc_loss label"), where(there, labels, 0))
    blanks = full((samples, length + 1), blank, "int64")
    spread = _interleaved(blanks, where(there, index, blank))
    before = concat([full((samples, 1), -1, "int64"), index], 1)[:, :-1]
    never = full((samples, length + 1), False, "bool")
    skips = _interleaved(never, not_equal(index, before))
    size = spread.shape[1]
    running = less(expand_dims(arange(times), 1), frames)
    peaks = _finite(largest_of(log_probs, -1, keepdims=True))
    places = broadcast_to(spread, (times, samples, size))
    emitted = take_along_axis(log_probs - peaks, places, -1)

    def step(carry: tuple[Variable, Variable], *element: Variable) -> _Step:
        alpha, removed = carry
        emission, runs = element[0], expand_dims(element[1], 1)
        ways = [alpha, _shifted(alpha, 1), where(skips, _shifted(alpha, 2), -np.inf)]
        reached = logsumexp(stack(ways), 0) + emission
        largest = _finite(largest_of(reached, 1, keepdims=True))
        alpha = where(runs, reached - largest, alpha)
        return (alpha, removed + where(runs, largest, 0)), None

    at_start = broadcast_to(equal(arange(size), 0), (samples, size))
    start = where(at_start, full((), 0, log_probs.dtype), -np.inf)
    none = full((samples, 1), 0, log_probs.dtype)
    carry, _ = scan(step, (start, none), (emitted, running))
    alpha: Variable = carry[0]
    removed: Variable = carry[1]
    last = expand_dims(2 * counts, 1)
    label = take_along_axis(alpha, maximum(last - 1, 0), 1)
    label = where(equal(last, 0), -np.inf, label)
    ends = concat([take_along_axis(alpha, last, 1), label], 1)
    heights = where(running, peaks.reshape((times, samples)), 0).sum(0)
    return logsumexp(ends, 1) + removed.reshape((samples,)) + heights


def _finite(x: Variable) -> Variable:
    """Return a constant to subtract and add again: x, and 0 where it is infinite.

    What is left near 0 keeps its digits, of which long sequences would lose some.
    """
    return stop_gradient(where(isfinite(x), x, 0))


def _interleaved(even: Variable, odd: Variable) -> Variable:
    """Return e, o, e, o, ..., e along the last axis."""
    samples, length = odd.shape
    pairs = stack([even[:, :-1], odd], -1).reshape((samples, 2 * length))
    return concat([pairs, even[:, -1:]], 1)


def _shifted(alpha: Variable, places: int) -> Variable:
    """Return the row moved to the right, -∞ coming in."""
    room = full((alpha.shape[0], places), -np.inf, alpha.dtype)
    return concat([room, alpha], 1)[:, :-places]
