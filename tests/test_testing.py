"""The checks themselves: planted bugs of every kind must be caught."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.testing import TOLERANCE, assert_close, check_gradient, check_operation

X = np.array([[0.3, -1.7, 2.5], [1.1, -0.4, 0.9]])


class Sound(gg.Operation):
    """x³, without a fault; each planted bug replaces one part. Abstract."""

    def infer(self, guards, x):
        return x

    def numpy(self, x):
        return x * x * x

    def bprop(self, inputs, output, grad, wanted):
        return [grad * 3 * inputs[0] * inputs[0]]


@dataclass(frozen=True, slots=True)
class NoFault(Sound):
    """x³."""


@dataclass(frozen=True, slots=True)
class WrongValue(Sound):
    """x³, a little off."""

    def numpy(self, x):
        return x * x * x * 1.001


@dataclass(frozen=True, slots=True)
class WrongDerivative(Sound):
    """x³, whose derivative forgets the 3."""

    def bprop(self, inputs, output, grad, wanted):
        return [grad * inputs[0] * inputs[0]]


@dataclass(frozen=True, slots=True)
class WrongDerivativeInOnePlace(Sound):
    """x³, whose derivative is a little wrong for the last element alone."""

    def bprop(self, inputs, output, grad, wanted):
        (x,) = inputs
        wrong = np.zeros(X.shape)
        wrong[-1, -1] = 1e-3
        return [grad * 3 * x * x + grad * wrong]


@dataclass(frozen=True, slots=True)
class WrongSecondDerivative(Sound):
    """x³, whose gradient forgets that it depends on x."""

    def bprop(self, inputs, output, grad, wanted):
        x = gg.stop_gradient(inputs[0])
        return [grad * 3 * x * x]


@dataclass(frozen=True, slots=True)
class WrongThirdDerivative(Sound):
    """x³, whose second derivative forgets that it depends on x."""

    def bprop(self, inputs, output, grad, wanted):
        (x,) = inputs
        still = gg.stop_gradient(x)
        return [grad * (3 * still * still + 6 * still * (x - still))]


@dataclass(frozen=True, slots=True)
class ForgottenGradient(Sound):
    """x³, which answers that its gradient is zero."""

    def bprop(self, inputs, output, grad, wanted):
        return [None]


@dataclass(frozen=True, slots=True)
class WritesInput(Sound):
    """x³, in the memory of x."""

    def numpy(self, x):
        value = x * x * x
        x[...] = value
        return value


@dataclass(frozen=True, slots=True)
class ReturnsInputChanged(Sound):
    """x³, in the memory of x, which is returned."""

    outputs_alias = True

    def numpy(self, x):
        x **= 3
        return x


@dataclass(frozen=True, slots=True)
class WrongShape(Sound):
    """x³, in another shape than was inferred."""

    def numpy(self, x):
        return (x * x * x).T


@dataclass(frozen=True, slots=True)
class WrongDType(Sound):
    """x³, always in float64."""

    def numpy(self, x):
        return (x * x * x).astype("float64")


@dataclass(frozen=True, slots=True)
class WrongGradientDType(Sound):
    """x³, whose gradient is always float64."""

    def bprop(self, inputs, output, grad, wanted):
        wide = inputs[0].cast("float64")
        return [grad.cast("float64") * 3 * wide * wide]


@dataclass(frozen=True, slots=True)
class FixedSizes(Sound):
    """x³, for which the sizes must be known."""

    def infer(self, guards, x):
        return gg.TensorType(x.dtype, tuple(int(size) for size in x.shape))


@dataclass(frozen=True, slots=True)
class FixedGradientSizes(Sound):
    """x³, whose gradient needs the sizes to be known."""

    def bprop(self, inputs, output, grad, wanted):
        (x,) = inputs
        threes = np.full([int(size) for size in x.shape], 3.0)
        return [grad * threes * x * x]


_calls = itertools.count()


@dataclass(frozen=True, slots=True)
class Restless(Sound):
    """x³, with something else in every run."""

    def numpy(self, x):
        return x * x * x + 1e-9 * next(_calls)


@dataclass
class NotFrozen(Sound):
    """x³."""

    __hash__ = object.__hash__


@dataclass(frozen=True)
class HoldsFunction(Sound):
    """x³."""

    function: Callable[[], int] = int


@dataclass(frozen=True)
class HoldsArray(Sound):
    """x³."""

    table: Any = (1, (2.0, np.ones(2)))


@dataclass(frozen=True)
class NoMathematics(Sound):
    power: int = 3


@dataclass(frozen=True)
class UnequalToItself(Sound):
    """x³."""

    def __hash__(self):
        return id(self)


CAUGHT = {
    WrongValue: "Not equal to tolerance",
    WrongDerivative: "derivative 1 of",
    WrongDerivativeInOnePlace: "derivative 1 of",
    WrongSecondDerivative: "derivative 2 of",
    ForgottenGradient: "derivative 1 of",
    WritesInput: "an input was written to",
    ReturnsInputChanged: "an input was written to",
    WrongShape: r"inferred float64\[2,3\], computed float64\[3, 2\]",
    WrongDType: r"inferred float32\[2,3\], computed float64\[2, 3\]",
    Restless: "two runs differ",
    NotFrozen: "NotFrozen must be a frozen dataclass",
    HoldsFunction: r"HoldsFunction.function must be a plain value that can be saved",
    HoldsArray: r"HoldsArray.table must be a plain value that can be saved",
    NoMathematics: "NoMathematics has no docstring with its mathematics",
    UnequalToItself: "UnequalToItself: equal operations must hash equally",
}


def checked(operation, reference=None, **options):
    check_operation(lambda x: gg.apply(operation(), x), [X], reference, **options)


@pytest.mark.parametrize("operation", CAUGHT, ids=lambda c: c.__name__)
def test_a_planted_bug_is_caught(operation):
    reference = (lambda x: x**3) if operation is WrongValue else None
    with pytest.raises(AssertionError, match=CAUGHT[operation]):
        checked(operation, reference)


def test_an_operation_without_a_fault_passes():
    checked(NoFault, lambda x: x**3, order=3)
    checked(NoFault, lambda x: x**3, dtypes=("float32", "float16", "bfloat16"))


def test_a_wrong_third_derivative_needs_the_third_order():
    checked(WrongThirdDerivative, order=2)
    with pytest.raises(AssertionError, match="derivative 3 of"):
        checked(WrongThirdDerivative, order=3)


def test_a_gradient_in_another_dtype_is_caught():
    checked(WrongGradientDType, dtypes=("float64",))
    with pytest.raises(
        gg.GradientError, match=r"float64\[2,3\] for an input of type fl"
    ):
        checked(WrongGradientDType, dtypes=("float64", "float32"))


def test_sizes_that_must_be_known_are_caught_also_in_the_gradient():
    for operation in (FixedSizes, FixedGradientSizes):
        checked(operation, symbolic=False)
        with pytest.raises(TypeError, match="int"):
            checked(operation)


def test_an_operation_without_bprop_passes_only_without_derivatives():
    @dataclass(frozen=True, slots=True)
    class NoBprop(gg.Operation):
        """x³, with no bprop."""

        def infer(self, guards, x):
            return x

        def numpy(self, x):
            return x * x * x

    checked(NoBprop, order=0)
    with pytest.raises(
        gg.GradientError, match=r"no_bprop\(\): this operation defines no"
    ):
        checked(NoBprop)


def test_gradients_that_depend_on_integers_are_left_alone():
    indices = np.array([2, 0, 2])
    check_operation(
        lambda x, i: gg.take(x, i, axis=1), [X, indices], lambda x, i: x[:, i]
    )
    check_operation(lambda i: i + 1, [indices], lambda i: i + 1)


def test_empty_and_single_inputs_are_checked():
    for shape in ((0, 3), (1, 1)):
        check_operation(
            lambda x: gg.apply(NoFault(), x), [np.ones(shape)], lambda x: x**3
        )
    with pytest.raises(AssertionError, match="derivative 1"):
        check_operation(lambda x: gg.apply(WrongDerivative(), x), [np.float64(2.0)])


def test_check_gradient_sees_a_kink_under_its_feet():
    check_gradient(gg.abs, [np.array([0.5, -0.5])])
    with pytest.raises(AssertionError, match="derivative 1"):
        check_gradient(gg.abs, [np.array([5e-5, -0.5])])


def test_check_gradient_asks_for_every_input():
    def forgets(x, y):
        return x * gg.stop_gradient(y)

    with pytest.raises(AssertionError, match="derivative 1"):
        check_gradient(forgets, [X, X + 1])


# --- assert_close


@pytest.mark.parametrize("name", TOLERANCE)
def test_assert_close_takes_what_rounding_explains_and_no_more(name):
    dtype = gg.placeholder("x", (), name).dtype
    expected = np.array([1.0, 2.0, -3.0])
    limit = TOLERANCE[name]
    assert_close((expected * (1 + limit / 4)).astype(dtype), expected)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_close((expected * (1 + limit * 8)).astype(dtype), expected)
    assert_close((expected * (1 + limit * 4)).astype(dtype), expected, tolerance=16)


def test_assert_close_wants_nan_and_infinities_in_the_same_places():
    special = np.array([np.nan, np.inf, -np.inf, 1.0])
    assert_close(special, special.copy())
    for place, other in ((0, 1.0), (1, -np.inf), (2, 0.0), (3, np.nan)):
        changed = special.copy()
        changed[place] = other
        with pytest.raises(AssertionError):
            assert_close(changed, special)


def test_assert_close_wants_the_shape_and_integers_exactly():
    with pytest.raises(AssertionError, match=r"expected shape \(2, 1\); got \(2,\)"):
        assert_close(np.ones(2), np.ones((2, 1)))
    with pytest.raises(AssertionError, match="Arrays are not equal"):
        assert_close(np.array([1, 2]), np.array([1, 3]))
    assert_close(np.float32(1e30), np.float64(1e30))
    assert_close(np.array([np.inf], "float16"), np.array([1e6]))
