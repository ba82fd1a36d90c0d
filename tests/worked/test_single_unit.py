"""One sigmoid unit of the lectures: forward, backward, and a step of descent.

    u_in = w1 x1³ + w2 x2,  u_out = σ(u_in),  L = ½ (y - u_out)²

with w = (0.02, 0.01), x = (3, 5), y = 0.  What the lecture notes print, and what
the mathematics gives:

- L = 0.2070, ∂u_out/∂u_in = 0.2294, ∂u_in/∂w1 = 27: as printed.
- ∂L/∂w1 = 3.98568.  The notes print 3.9851, the product of the rounded factors
  0.6434 · 0.2294 · 27.
- After a step of rate 0.01, w1 = 0.02 - 0.0398568 = -0.0198568.  The notes print
  -0.0599, which is -0.02 - 0.0399: the sign of w1 is lost.
- Then L = 0.0725, if w1 alone is updated; if w2 is too, as descent on both weights
  asks, w2 = 0.0026191 and L = 0.0692.  The notes print 0.0148; at their w1 of
  -0.0599, L is 0.0149, and 0.0148 is ½ 0.172² with u_out = 0.1726 cut short.
"""

import math

import numpy as np
import pytest

import graphgpu as gg

RATE = 0.01
U_OUT = 1 / (1 + math.exp(-0.59))


class Unit:
    """The unit; its input x1 = v z comes from a linear unit of an earlier layer."""

    def __init__(self, w1=0.02):
        self.v = gg.parameter("v", 1.5, "float64")
        self.w1 = gg.parameter("w1", w1, "float64")
        self.w2 = gg.parameter("w2", 0.01, "float64")
        self.z = gg.placeholder("z", (), "float64")
        self.x2 = gg.placeholder("x2", (), "float64")
        self.y = gg.placeholder("y", (), "float64")
        self.x1 = self.v * self.z
        self.u_in = self.w1 * self.x1**3 + self.w2 * self.x2
        self.u_out = gg.sigmoid(self.u_in)
        self.L = gg.square(self.y - self.u_out) / 2

    def compile(self, outputs, updates=None):
        return gg.compile([self.z, self.x2, self.y], outputs, updates)

    def value(self, variable):
        return float(self.compile(variable)(2.0, 5.0, 0.0))

    def slope(self, of, by):
        return self.value(gg.gradients(of, [by])[0])

    def step(self, parameters):
        slopes = gg.gradients(self.L, parameters)
        updates = {p: p - RATE * g for p, g in zip(parameters, slopes, strict=True)}
        self.compile(None, updates)(2.0, 5.0, 0.0)
        return self.value(self.L)


def rounds_to(printed, value):
    """Whether a value rounds to the number printed, with its digits."""
    places = len(str(printed).split(".")[1])
    return round(value, places) == printed


def test_forward_values():
    unit = Unit()
    assert unit.value(unit.x1) == 3.0
    assert unit.value(unit.u_in) == pytest.approx(0.59, rel=1e-15)
    assert rounds_to(0.6434, unit.value(unit.u_out))
    assert rounds_to(0.2070, unit.value(unit.L))
    assert unit.value(unit.L) == pytest.approx(U_OUT**2 / 2, rel=1e-14)


def test_derivatives_along_the_chain():
    unit = Unit()
    assert unit.slope(unit.L, unit.u_out) == pytest.approx(U_OUT, rel=1e-14)
    slope = unit.slope(unit.u_out, unit.u_in)
    assert rounds_to(0.2294, slope)
    assert slope == pytest.approx(U_OUT * (1 - U_OUT), rel=1e-14)
    assert unit.slope(unit.u_in, unit.w1) == pytest.approx(27.0, rel=1e-15)
    assert unit.slope(unit.u_in, unit.w2) == 5.0
    # ∂u_in/∂x1 = 3 w1 x1².
    assert unit.slope(unit.u_in, unit.x1) == pytest.approx(3 * 0.02 * 9, rel=1e-14)


def test_gradient_of_the_loss_by_the_weights():
    unit = Unit()
    delta = U_OUT * U_OUT * (1 - U_OUT)
    dw1, dw2 = (unit.slope(unit.L, w) for w in (unit.w1, unit.w2))
    assert rounds_to(3.9857, dw1)
    assert rounds_to(0.7381, dw2)
    assert dw1 == pytest.approx(27 * delta, rel=1e-14)
    assert dw2 == pytest.approx(5 * delta, rel=1e-14)


def test_notes_print_the_product_of_rounded_factors():
    unit = Unit()
    assert rounds_to(3.9851, 0.6434 * 0.2294 * 27)
    assert not rounds_to(3.9851, unit.slope(unit.L, unit.w1))


def test_gradient_goes_on_to_the_weight_of_an_earlier_layer():
    """∂L/∂v = ∂L/∂u_out · ∂u_out/∂u_in · ∂u_in/∂x1 · ∂x1/∂v, with x1 = v z, z = 2."""
    unit = Unit()
    delta = U_OUT * U_OUT * (1 - U_OUT)
    expected = delta * (3 * 0.02 * 3.0**2) * 2.0
    assert unit.slope(unit.L, unit.v) == pytest.approx(expected, rel=1e-14)
    assert rounds_to(0.1594, expected)


def test_step_on_w1_alone_gives_the_loss_of_0_0725():
    unit = Unit()
    loss = unit.step([unit.w1])
    assert rounds_to(-0.019857, float(unit.w1.value))
    assert float(unit.w2.value) == 0.01
    assert rounds_to(0.0725, loss)


def test_step_on_both_weights_gives_the_loss_of_0_0692():
    unit = Unit()
    loss = unit.step([unit.w1, unit.w2])
    assert rounds_to(-0.019857, float(unit.w1.value))
    assert rounds_to(0.002619, float(unit.w2.value))
    assert rounds_to(0.0692, loss)


def test_what_the_notes_print_after_the_step_is_another_point():
    assert rounds_to(-0.0599, -0.02 - RATE * 3.9851)
    at_the_notes = Unit(w1=-0.0599)
    assert rounds_to(0.1726, at_the_notes.value(at_the_notes.u_out))
    assert rounds_to(0.0149, at_the_notes.value(at_the_notes.L))
    # Printed as ½ u_out² with three digits of u_out, cut short and not rounded.
    assert rounds_to(0.0148, 0.172**2 / 2)


def test_step_descends_as_far_as_the_gradient_promises():
    """L(w - ε g) = L(w) - ε gᵀg + O(ε²): *Deep Learning*, section 4.3.1."""
    unit = Unit()
    slopes = gg.gradients(unit.L, [unit.w1, unit.w2])
    g = np.array([unit.value(s) for s in slopes])
    before = unit.value(unit.L)
    rate = 1e-6
    unit.w1.value = unit.w1.value - rate * g[0]
    unit.w2.value = unit.w2.value - rate * g[1]
    assert unit.value(unit.L) == pytest.approx(before - rate * (g @ g), abs=1e-9)
