"""Einstein's sum convention: products and sums written by index.

A sum of products is made of what is there already: diagonals, sums, transposes,
broadcast products and, where two operands share an index that is summed over,
matrix products, for which every device has its fastest code.  So the derivatives,
of any order, come with those.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from string import ascii_letters

import numpy as np

from graphgpu.dims import Size, evaluate_size, product, symbols_of
from graphgpu.errors import GraphError, ShapeError
from graphgpu.graph import Operand, Variable, located
from graphgpu.ops.diagonals import diagonal
from graphgpu.ops.elementwise import cast, operands_of
from graphgpu.ops.matrix_product import matmul
from graphgpu.ops.shape import moveaxis, squeeze, transpose
from graphgpu.types import Guards

__all__ = ["einsum"]

Labels = tuple[str, ...]

_TERM = re.compile(r"([A-Za-z]*)(\.\.\.)?([A-Za-z]*)")
_TYPICAL = 64  # what a named size is taken for when an order is chosen
_EXHAUSTIVE = 5  # operands of which every order is tried
_UNLIMITED = 2**62


@dataclass(frozen=True, eq=False)
class Term:
    """A variable and the label of each of its axes, no label twice."""

    variable: Variable
    labels: Labels

    def sum_alone(self, others: Collection[str]) -> Term:
        """Sum over the axes whose labels are not needed."""
        alone = [a for a, label in enumerate(self.labels) if label not in others]
        if not alone:
            return self
        total = cast(self.variable.sum(alone), self.variable.dtype)
        return Term(total, tuple(x for x in self.labels if x in others))

    def arranged(self, labels: Sequence[str]) -> Term:
        """Put the axes in the order of the labels."""
        order = [self.labels.index(label) for label in labels]
        return Term(transpose(self.variable, order), tuple(labels))


def einsum(subscripts: str, *operands: Operand) -> Variable:
    """Return a sum of products of elements, the indices being written as letters.

    ``"ij,jk->ik"`` is the matrix product Σ_j x_ij y_jk: the indices that are not
    in the output are summed over.  As in NumPy, without ``->`` the output has the
    indices that occur once, in alphabetical order; ``...`` stands for axes that
    broadcast; an index that occurs twice in an operand is its diagonal; an axis of
    size 1 broadcasts.  Three operands or more are multiplied in pairs, in an order
    of few operations.

    >>> import graphgpu as gg
    >>> x = gg.placeholder("x", ("batch", 3, 4))
    >>> gg.einsum("bij,kj->bik", x, gg.ones((5, 4))).type
    float32[batch,3,5]
    >>> gg.evaluate(gg.einsum("ii", gg.constant([[1, 2], [3, 4]])))
    array(5)

    Raises
    ------
    GraphError
        The subscripts cannot be read, or are not as many as the operands.
    ShapeError
        They do not fit the operands' axes, or the sizes of an index differ.
    """
    name = f"einsum({subscripts!r})"
    if not operands:
        raise located(GraphError("expected at least one operand"), name)
    variables = operands_of(name, *operands)
    try:
        inputs, output = _parse(subscripts, [v.ndim for v in variables])
        terms = [
            _without_repeats(*pair) for pair in zip(variables, inputs, strict=True)
        ]
        terms = _unified(terms)
    except GraphError as error:
        raise located(error, name, variables) from None
    for places in _path(terms, output):
        chosen = [terms[p] for p in places]
        terms = [t for p, t in enumerate(terms) if p not in places]
        needed = set(output).union(*(t.labels for t in terms))
        total, *factors = chosen
        for place, factor in enumerate(factors):
            later = needed.union(*(t.labels for t in factors[place + 1 :]))
            total = _product(total, factor, later)
        terms.append(total)
    return terms[0].sum_alone(output).arranged(output).variable


def _parse(subscripts: str, ndims: Sequence[int]) -> tuple[list[Labels], Labels]:
    """Return the labels of the operands and of the output.

    The axes of an ellipsis are labelled ``...1``, ``...2`` from the last.
    """
    if not isinstance(subscripts, str):
        raise GraphError("expected the subscripts as a text")
    left, arrow, right = "".join(subscripts.split()).partition("->")
    parts = left.split(",")
    if len(parts) != len(ndims):
        raise GraphError(f"expected {len(parts)} operands; got {len(ndims)}")
    widths = [
        _ellipsis_width(part, ndim, f"operand {place}")
        for place, (part, ndim) in enumerate(zip(parts, ndims, strict=True))
    ]
    inputs = [
        _labels(part, width, f"operand {place}")
        for place, (part, width) in enumerate(zip(parts, widths, strict=True))
    ]
    broadcast = tuple(f"...{k}" for k in range(max(widths), 0, -1))
    counts = Counter(label for labels in inputs for label in labels)
    if not arrow:
        once = sorted(x for x, n in counts.items() if n == 1 and x not in broadcast)
        return inputs, (*broadcast, *once)
    output = _labels(right, len(broadcast), "the output")
    if broadcast and "..." not in right:
        raise GraphError("the ellipsis has axes, but the output has no ellipsis")
    for label in output:
        if label not in counts:
            raise GraphError(f"index {label!r} of the output is in no operand")
        if output.count(label) > 1:
            raise GraphError(f"index {label!r} is twice in the output")
    return inputs, output


def _ellipsis_width(part: str, ndim: int, where: str) -> int:
    """Return how many axes the ellipsis of an operand stands for."""
    letters = _labels(part, 0, where)
    width = ndim - len(letters)
    if width < 0 or (width and "..." not in part):
        least = "at least " if "..." in part else ""
        raise ShapeError(f"expected {least}{len(letters)} axes in {where}; got {ndim}")
    return width


def _labels(part: str, width: int, where: str) -> Labels:
    """Return the labels of one operand's axes, its ellipsis having some."""
    match = _TERM.fullmatch(part)
    if match is None:
        raise GraphError(f"expected letters and one ellipsis in {where}; got {part!r}")
    before, ellipsis, after = match.groups()
    broadcast = [f"...{k}" for k in range(width, 0, -1)] if ellipsis else []
    return (*before, *broadcast, *after)


def _without_repeats(variable: Variable, labels: Labels) -> Term:
    """Take the diagonal of the axes that have the same label."""
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            moved = moveaxis(moveaxis(variable, second, -1), first, -1)
            what = f"index {label!r} within an operand"
            size = Guards().equal(moved.shape[-1], moved.shape[-2], what)
            square = moved.broadcast_to((*moved.shape[:-2], size, size))
            variable = diagonal(square)
            rest = (x for a, x in enumerate(labels) if a not in (first, second))
            labels = (*rest, label)
    return Term(variable, labels)


def _unified(terms: Sequence[Term]) -> list[Term]:
    """Drop the axes of size 1 that broadcast, and give the others one size."""
    sizes: dict[str, Size] = {}
    for term in terms:
        for label, size in zip(term.labels, term.variable.shape, strict=True):
            known = sizes.setdefault(label, size)
            if known == 1:
                sizes[label] = size
            elif size != 1:
                sizes[label] = Guards().equal(known, size, f"index {label!r}")
    return [_fitted(term, sizes) for term in terms]


def _fitted(term: Term, sizes: dict[str, Size]) -> Term:
    single = [
        axis
        for axis, label in enumerate(term.labels)
        if term.variable.shape[axis] == 1 and sizes[label] != 1
    ]
    variable = squeeze(term.variable, single) if single else term.variable
    labels = tuple(x for a, x in enumerate(term.labels) if a not in single)
    # Where names differ, broadcasting has the guard that they agree.
    return Term(variable.broadcast_to([sizes[x] for x in labels]), labels)


def _product(left: Term, right: Term, needed: Collection[str]) -> Term:
    """Multiply two terms and sum over the labels that are not needed any more."""
    left = left.sum_alone({*needed, *right.labels})
    right = right.sum_alone({*needed, *left.labels})
    shared = [x for x in left.labels if x in right.labels]
    stack = [x for x in shared if x in needed]
    summed = [x for x in shared if x not in needed]
    rows = [x for x in left.labels if x not in shared]
    columns = [x for x in right.labels if x not in shared]
    labels = (*stack, *rows, *columns)
    if not summed:
        return Term(_spread(left, labels) * _spread(right, labels), labels)
    matrices = matmul(
        _as_matrix(left, stack, rows, summed),
        _as_matrix(right, stack, summed, columns),
    )
    sizes = dict(zip(left.labels, left.variable.shape, strict=True))
    sizes |= dict(zip(right.labels, right.variable.shape, strict=True))
    return Term(matrices.reshape([sizes[x] for x in labels]), labels)


def _spread(term: Term, labels: Sequence[str]) -> Variable:
    """Return the term with the axes of these labels, 1 where it has them not."""
    arranged = term.arranged([x for x in labels if x in term.labels])
    sizes: Iterator[Size] = iter(arranged.variable.shape)
    shape = [next(sizes) if x in term.labels else 1 for x in labels]
    return arranged.variable.reshape(shape)


def _as_matrix(
    term: Term, stack: Sequence[str], rows: Sequence[str], columns: Sequence[str]
) -> Variable:
    """Return the term as a stack of matrices."""
    variable = term.arranged([*stack, *rows, *columns]).variable
    split, end = len(stack), len(stack) + len(rows)
    shape = variable.shape
    return variable.reshape(
        (*shape[:split], product(shape[split:end]), product(shape[end:]))
    )


def _path(terms: Sequence[Term], output: Labels) -> list[tuple[int, ...]]:
    """Return which terms to multiply, step by step; the products go to the end.

    NumPy finds the order; named sizes are taken to be of a typical size.
    """
    if len(terms) < 3:
        return [tuple(range(len(terms)))]
    names = dict.fromkeys(label for term in terms for label in term.labels)
    if len(names) > len(ascii_letters):
        return [tuple(range(len(terms)))]
    letter = dict(zip(names, ascii_letters, strict=False))
    shapes = [[_typical(s) for s in term.variable.shape] for term in terms]
    texts = ["".join(letter[x] for x in term.labels) for term in terms]
    method = "optimal" if len(terms) <= _EXHAUSTIVE else "greedy"
    path, _ = np.einsum_path(
        f"{','.join(texts)}->{''.join(letter[x] for x in output)}",
        *(np.broadcast_to(0.0, shape) for shape in shapes),
        optimize=(method, _UNLIMITED),
    )
    return [tuple(step) for step in path[1:]]


def _typical(size: Size) -> int:
    return max(1, evaluate_size(size, dict.fromkeys(symbols_of(size), _TYPICAL)))
