"""Which float32 variables may be halves: the lists, and the choice node by node.

The lists follow automatic mixed precision as it is done elsewhere (P. Micikevicius
et al., "Mixed precision training", 2018; PyTorch's autocast).  Products gain by
halves.  Whatever sums many numbers, or bends a small error into a large one, stays
in float32: reductions, moments, softmax and losses, exponentials, logarithms,
powers and quotients.  Between products, what only chooses, moves or adds follows
its operands.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, IntEnum, auto
from math import isfinite
from typing import Any, final

import ml_dtypes

from graphgpu.dtypes import DType
from graphgpu.dtypes import dtype as dtype_of
from graphgpu.graph import Constant, Operation, Variable
from graphgpu.ops.activations.clipped import Hardsigmoid, Hardswish, Hardtanh
from graphgpu.ops.activations.exponential_units import Celu, Elu, Selu
from graphgpu.ops.activations.rectifiers import LeakyRelu, Prelu, Relu, Threshold
from graphgpu.ops.activations.self_gated import (
    Gelu,
    GeluTanh,
    Mish,
    MishGate,
    NormalCdf,
    NormalDensity,
    Silu,
    Swish,
)
from graphgpu.ops.activations.shrinkage import Hardshrink, Softshrink, Tanhshrink
from graphgpu.ops.activations.sigmoidal import Sigmoid, Softsign
from graphgpu.ops.adaptive_pooling import (
    AdaptiveAveragePool,
    AdaptiveAveragePoolGradient,
    AdaptiveMaxPool,
    AdaptiveMaxPoolIndices,
)
from graphgpu.ops.arithmetic import (
    Abs,
    Add,
    Divide,
    Maximum,
    Minimum,
    Multiply,
    Negative,
    Sign,
    Square,
    Subtract,
)
from graphgpu.ops.comparison import (
    Equal,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
    NotEqual,
    Where,
)
from graphgpu.ops.convolution_operations import (
    Convolution,
    ConvolutionInputGradient,
    ConvolutionWeightGradient,
)
from graphgpu.ops.creation import Full
from graphgpu.ops.diagonals import Diagonal, OnDiagonal
from graphgpu.ops.elementwise import Cast, Elementwise
from graphgpu.ops.exponential import Erf, Erfc
from graphgpu.ops.gather import Gather, TakeAlongAxis
from graphgpu.ops.joining import Concat
from graphgpu.ops.matrix_product import Matmul
from graphgpu.ops.pooling_operations import (
    AveragePool,
    AveragePoolGradient,
    MaxPool,
    MaxPoolIndices,
)
from graphgpu.ops.repeating import Roll
from graphgpu.ops.shape import BroadcastTo, Reshape, Transpose
from graphgpu.ops.slicing import Slice, Unslice
from graphgpu.ops.triangular import LowerTriangle, UpperTriangle
from graphgpu.ops.trigonometric import Tanh
from graphgpu.ops.window_picks import WindowGather, WindowScatter
from graphgpu.rewrite.draft import Draft
from graphgpu.rewrite.patterns import made_by, number
from graphgpu.types import TensorType

__all__ = ["Form", "Forms"]

_FLOAT32 = dtype_of("float32")


class Form(IntEnum):
    """How a float32 variable is computed.

    WIDE and NEAR in float32; NEAR of halves, so that rounding it costs no more than
    they did, and what would rather read halves reads it rounded.  HALF in halves.
    """

    WIDE = 0
    NEAR = 1
    HALF = 2


class Kind(Enum):
    """What an operation does with halves.

    A PRODUCT computes in halves, whatever it is given.  What ARRANGES or CHOOSES
    rounds nothing; what ADDS rounds a sum, what SCALES a product, which is too large
    or small for float16 sooner.  What is CURVED is computed in float32; what COMPARES
    has other dtypes as its result.
    """

    PRODUCT = auto()
    ARRANGES = auto()
    CHOOSES = auto()
    ADDS = auto()
    SCALES = auto()
    CURVED = auto()
    COMPARES = auto()


_REARRANGING = (BroadcastTo, Concat, Reshape, Transpose, Unslice)
"""What makes no smaller thing of its operands: they may be cast in its place."""

_PARTING = (Diagonal, Gather, LowerTriangle, Roll, Slice, TakeAlongAxis, UpperTriangle)
_POOLING = (AdaptiveAveragePool, AdaptiveAveragePoolGradient, AdaptiveMaxPool)
_WINDOWS = (AveragePool, AveragePoolGradient, MaxPool, WindowGather, WindowScatter)
_COMPARISONS = (Equal, Greater, GreaterEqual, Less, LessEqual, NotEqual)
_CONVOLUTIONS = (Convolution, ConvolutionInputGradient, ConvolutionWeightGradient)

_RECTIFIERS = (Hardshrink, Hardtanh, LeakyRelu, Prelu, Relu)
_GATED = (Gelu, GeluTanh, Hardswish, Mish, MishGate, Silu, Swish)
_SATURATING = (Celu, Elu, Hardsigmoid, Selu, Sigmoid, Softsign, Tanh)
_SHRINKING = (Softshrink, Tanhshrink, Threshold)
_BELLS = (NormalDensity,)
_CURVES = (*_GATED, *_SATURATING, *_SHRINKING, *_BELLS, Erf, Erfc, NormalCdf)

_MEMBERS: dict[Kind, Sequence[type[Operation]]] = {
    Kind.PRODUCT: (Matmul, *_CONVOLUTIONS),
    Kind.ARRANGES: (*_REARRANGING, *_PARTING, OnDiagonal, *_POOLING, *_WINDOWS),
    Kind.CHOOSES: (Abs, Maximum, Minimum, Negative, Sign, Where, *_RECTIFIERS),
    Kind.ADDS: (Add, Subtract),
    Kind.SCALES: (Divide, Multiply, Square),
    Kind.CURVED: _CURVES,
    Kind.COMPARES: (*_COMPARISONS, AdaptiveMaxPoolIndices, MaxPoolIndices),
}
_KINDS = {cls: kind for kind, classes in _MEMBERS.items() for cls in classes}


def kind_of(variable: Variable) -> Kind | None:
    """Return what a node does with halves; None if nothing.

    Updates are computed in float32, and so is what is not float32 as written.
    """
    operation = variable.operation
    kind = None if operation is None else _KINDS.get(operation.__class__)
    if kind is None or variable.phase == "update":
        return None
    if kind is Kind.COMPARES:
        return kind if is_float32(variable.inputs[0]) else None
    return kind if is_float32(variable) else None


def is_product(variable: Variable) -> bool:
    """Whether it is a product of float32."""
    return kind_of(variable) is Kind.PRODUCT


def is_float32(variable: Variable) -> bool:
    """Whether it is an array of float32."""
    type_ = variable.type
    return isinstance(type_, TensorType) and type_.dtype == _FLOAT32


@final
class Forms:
    """The forms of the variables of a draft; two sweeps over it.

    Everything after the last product stays in float32: halves would save nothing
    there, and it is where results are read.
    """

    def __init__(self, draft: Draft, half: DType) -> None:
        self.half = half
        self.numbers: dict[Variable, Any] = {}
        self._forms: dict[Variable, Form] = {}
        limits: Any = ml_dtypes.finfo(half)  # type: ignore[no-untyped-call]
        self._range = float(limits.smallest_normal), float(limits.max)
        self._leads: set[Variable] = set()
        """What a product is computed from."""
        self._fed: set[Variable] = set()
        """What something reads in halves, whatever it is."""
        self._fed_alone: set[Variable] = set()
        """What nothing reads otherwise."""
        self._followed: set[Variable] = set()
        """What is read by something that takes halves if it can."""
        self._look_ahead(draft)
        for variable in draft.order:
            if variable not in draft.given:
                self._forms[variable] = self._form(variable)

    def __getitem__(self, variable: Variable) -> Form:
        return self._forms.get(variable, Form.WIDE)

    def _look_ahead(self, draft: Draft) -> None:
        """Note of every variable, the last first, what its readers want."""
        others = set(draft.outputs)
        leads, fed = self._leads, self._fed
        for v in reversed(draft.order):
            if v in draft.given:
                continue
            kind = kind_of(v)
            product = kind is Kind.PRODUCT
            passed = made_by(v, *_REARRANGING) and kind is not None
            if product or v in leads:
                leads.update(v.inputs)
                if kind is not None:
                    self._followed.update(v.inputs)
            if product or (passed and v in fed and v not in others):
                fed.update(v.inputs)
            else:
                others.update(v.inputs)
        self._fed_alone = fed - others

    def _form(self, v: Variable) -> Form:
        """Return the form of a variable whose inputs have theirs."""
        operation = v.operation
        self._note_number(v)
        if operation is None or v in self.numbers:
            return Form.WIDE
        if operation.identity_of is not None:
            return self[v.inputs[operation.identity_of]]
        if isinstance(operation, Cast):
            exact = is_float32(v) and v.inputs[0].dtype == self.half
            return Form.HALF if exact else Form.WIDE
        kind = kind_of(v)
        if kind is Kind.PRODUCT:
            return Form.HALF
        form = self._following(v, kind) if kind and v in self._leads else Form.WIDE
        if form is Form.WIDE and isinstance(operation, Elementwise) and v in self._fed:
            return Form.NEAR if is_float32(v) and v.phase != "update" else form
        return form

    def _note_number(self, v: Variable) -> None:
        """Remember the number that every element of a variable is."""
        if isinstance(v, Constant) or made_by(v, Full):
            found = number(v) if is_float32(v) else None
            if found is not None:
                self.numbers[v] = found
        elif made_by(v, BroadcastTo, Reshape) and v.inputs[0] in self.numbers:
            self.numbers[v] = self.numbers[v.inputs[0]]

    def _following(self, v: Variable, kind: Kind) -> Form:
        """Return the form of what follows its operands."""
        operands = [x for x in v.inputs if is_float32(x) and x not in self.numbers]
        forms = [self[x] for x in operands]
        if kind is Kind.ARRANGES:
            passed = made_by(v, *_REARRANGING) and v in self._fed_alone
            return Form.HALF if passed or self._all(forms, Form.NEAR) else Form.WIDE
        known = [self.numbers[x] for x in v.inputs if x in self.numbers]
        if not all(map(self._holds, known)) or not forms:
            return Form.WIDE
        if kind in (Kind.CHOOSES, Kind.COMPARES) and self._all(forms, Form.NEAR):
            return Form.HALF
        if kind is Kind.SCALES and not self._scales_safely(v, operands):
            return Form.WIDE
        if self._adds_in_halves(v, kind) and self._all(forms, Form.HALF):
            return Form.HALF
        whole = [f for x, f in zip(operands, forms, strict=True) if x.shape == v.shape]
        near = kind is not Kind.COMPARES and self._all(whole, Form.NEAR)
        return Form.NEAR if near else Form.WIDE

    @staticmethod
    def _all(forms: Sequence[Form], least: Form) -> bool:
        return bool(forms) and min(forms) >= least

    def _adds_in_halves(self, v: Variable, kind: Kind) -> bool:
        """Whether a sum or product may be rounded, and somebody saves by it."""
        if v not in self._followed or made_by(v, Divide):
            return False
        return kind is Kind.ADDS or (kind is Kind.SCALES and self._is_wide_ranging)

    def _scales_safely(self, v: Variable, operands: Sequence[Variable]) -> bool:
        """Whether a product is near its operands: not so x y, x² in float16, or x / y.

        A factor that is smaller than the result belongs to channels or rows, and
        normalises them.
        """
        if made_by(v, Divide):
            return v.inputs[1] in self.numbers
        if self._is_wide_ranging:
            return True
        return not made_by(v, Square) and sum(x.shape == v.shape for x in operands) == 1

    @property
    def _is_wide_ranging(self) -> bool:
        """Whether halves have the range of float32, as bfloat16 has."""
        return self.half.name == "bfloat16"

    def _holds(self, value: float) -> bool:
        """Whether a number stays one, neither 0 nor infinite, where it was not."""
        if not isfinite(value) or value == 0:
            return True
        smallest, largest = self._range
        return smallest <= abs(value) <= largest
