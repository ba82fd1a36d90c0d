"""Schedules against their closed forms, at every step and after the last."""

import math

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.optim import schedules

STEPS = range(60)


def rates(schedule):
    """Return the rates of the steps, as a program that counts gives them."""
    step = gg.state("step", 0)
    rate = schedule(step)
    assert rate.type == gg.TensorType(np.dtype("float64"), ())
    program = gg.compile([], rate, {step: step + 1})
    return [float(program()) for _ in STEPS]


def one_cycle(step, max_lr, total, pct=0.3, div=25.0, final_div=1e4):
    """Write down PyTorch's OneCycleLR, phase by phase."""
    step = min(step, total - 1)
    phases = [
        (float(pct * total) - 1, max_lr / div, max_lr),
        (total - 1, max_lr, max_lr / div / final_div),
    ]
    start = 0.0
    for place, (end, low, high) in enumerate(phases):
        if step <= end or place == 1:
            part = (step - start) / (end - start)
            return high + (low - high) / 2.0 * (math.cos(math.pi * part) + 1)
        start = end
    raise AssertionError


CASES = {
    "constant": (lambda s: schedules.constant(s, 0.3), lambda t: 0.3),
    "step_decay": (
        lambda s: schedules.step_decay(s, 0.3, 7, 0.1),
        lambda t: 0.3 * 0.1 ** (t // 7),
    ),
    "multi_step_decay": (
        lambda s: schedules.multi_step_decay(s, 0.3, [3, 20, 20], 0.5),
        lambda t: 0.3 * (1 if t < 3 else 0.5 if t < 20 else 0.125),
    ),
    "exponential": (
        lambda s: schedules.exponential(s, 0.3, 0.9),
        lambda t: 0.3 * 0.9**t,
    ),
    "polynomial": (
        lambda s: schedules.polynomial(s, 0.3, 40, power=2.5, final=0.01),
        lambda t: 0.01 + 0.29 * (1 - min(t, 40) / 40) ** 2.5,
    ),
    "linear": (
        lambda s: schedules.polynomial(s, 0.3, 40),
        lambda t: 0.3 * max(0, 1 - t / 40),
    ),
    "cosine": (
        lambda s: schedules.cosine(s, 0.3, 50),
        lambda t: 0.15 * (1 + math.cos(math.pi * min(t / 50, 1))),
    ),
    "cosine_to": (
        lambda s: schedules.cosine(s, 0.3, 41, final=0.02),
        lambda t: 0.02 + 0.14 * (1 + math.cos(math.pi * min(t / 41, 1))),
    ),
    "warmup": (
        lambda s: schedules.warmup(s, 8, 0.4),
        lambda t: 0.4 * min(1, (t + 1) / 8),
    ),
    "warmup_cosine": (
        lambda s: schedules.warmup(s, 8, schedules.cosine(s - 8, 0.4, 30)),
        lambda t: (
            0.4 * (t + 1) / 8
            if t < 8
            else 0.2 * (1 + math.cos(math.pi * min((t - 8) / 30, 1)))
        ),
    ),
    "one_cycle": (
        lambda s: schedules.one_cycle(s, 0.3, 50),
        lambda t: one_cycle(t, 0.3, 50),
    ),
    "one_cycle_other": (
        lambda s: schedules.one_cycle(s, 2.0, 37, 0.4, 10.0, 100.0),
        lambda t: one_cycle(t, 2.0, 37, 0.4, 10.0, 100.0),
    ),
    "one_cycle_falling": (
        lambda s: schedules.one_cycle(s, 0.3, 50, pct_start=0.0),
        lambda t: one_cycle(t, 0.3, 50, 0.0),
    ),
    "one_cycle_rising": (
        lambda s: schedules.one_cycle(s, 0.3, 50, pct_start=1.0),
        lambda t: one_cycle(t, 0.3, 50, 1.0),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_schedule_has_its_closed_form_at_every_step(name):
    schedule, closed_form = CASES[name]
    expected = [closed_form(t) for t in STEPS]
    np.testing.assert_allclose(rates(schedule), expected, rtol=1e-12, atol=1e-17)


def test_one_cycle_goes_from_low_to_its_peak_to_almost_nothing():
    found = rates(lambda s: schedules.one_cycle(s, 1.0, 50))
    assert math.isclose(found[0], 1 / 25)
    assert found[14] == max(found) == 1.0
    assert math.isclose(found[49], 1 / 25e4)
    assert found[59] == found[49]


@pytest.mark.parametrize("total", [1, 2, 3, 4, 10])
def test_one_cycle_of_few_steps_stays_within_its_bounds(total):
    found = rates(lambda s: schedules.one_cycle(s, 1.0, total, pct_start=0.5))
    assert all(1 / 25e4 * 0.999 <= r <= 1 for r in found)
    assert found[-1] < 1e-5


def test_a_rate_may_be_a_variable():
    peak = gg.state("peak", 2.0)
    step = gg.placeholder("step", (), "int64")
    rate = schedules.cosine(step, peak, 10, final=peak * 0.1)
    program = gg.compile([step], rate)
    assert math.isclose(program(5), 1.1, rel_tol=1e-7)
    peak.value = 4.0
    assert math.isclose(program(5), 2.2, rel_tol=1e-7)


def test_an_epoch_of_your_own_drives_a_schedule():
    epoch = gg.state("epoch", 0)
    w = gg.parameter("w", np.array([1.0]))
    sgd = gg.optim.SGD(schedules.step_decay(epoch, 0.5, 1, 0.1))
    step = gg.compile([], None, sgd.updates(gg.sum(w), [w]))
    step()
    epoch.value = 1
    step()
    np.testing.assert_allclose(w.value, [1 - 0.5 - 0.05])


def test_large_counters_lose_no_step():
    step = gg.placeholder("step", (), "int64")
    rate = schedules.polynomial(step, 1.0, 2**40)
    program = gg.compile([step], rate)
    assert program(2**39 + 1) < program(2**39) < program(2**39 - 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda s: schedules.step_decay(s, 1, 0, 0.5), "step_size must be an int"),
        (lambda s: schedules.step_decay(s, 1, 2.5, 0.5), "step_size must be an int"),
        (lambda s: schedules.step_decay(s, 1, 2, -0.5), "gamma must be a number >= 0"),
        (lambda s: schedules.cosine(s, 1, 0), "total_steps must be an int above 0"),
        (lambda s: schedules.cosine(s, gg.constant([1.0]), 5), "lr must be a scalar"),
        (lambda s: schedules.warmup(s, 0, 1), "steps must be an int above 0"),
        (lambda s: schedules.one_cycle(s, 1, 10, 1.5), "pct_start must be within"),
        (lambda s: schedules.one_cycle(s, 1, 10, 0.3, 0), "div_factor must be a num"),
        (lambda s: schedules.constant([1, 2], 1), "step must be a scalar"),
    ],
)
def test_schedules_check_what_they_are_given(make, message):
    with pytest.raises(gg.GraphError, match=message):
        make(gg.state("step", 0))


STEP = gg.state("step", 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: schedules.cosine(0.1, 100),
            "expected cosine(step, lr, total_steps, final=0.0), the rate at a step; "
            "got cosine(0.1, 100); for an optimiser write lr=lambda step: "
            "cosine(step, 0.1, 100)",
        ),
        (
            lambda: schedules.exponential(lr=0.1, gamma=0.9),
            "expected exponential(step, lr, gamma), the rate at a step; got "
            "exponential(lr=0.1, gamma=0.9); for an optimiser write lr=lambda step: "
            "exponential(step, lr=0.1, gamma=0.9)",
        ),
        (
            lambda: schedules.polynomial(0.1, 100, 2),
            "expected polynomial(step, lr, total_steps, power=1.0, final=0.0), the "
            "rate at a step; got polynomial(0.1, 100, 2); for an optimiser write "
            "lr=lambda step: polynomial(step, 0.1, 100, 2)",
        ),
        (
            lambda: schedules.warmup(STEP, 5),
            "expected warmup(step, steps, after), the rate at a step; got "
            "warmup(<step>, 5); for an optimiser write lr=lambda step: "
            "warmup(step, ...)",
        ),
        (
            lambda: gg.optim.Adam(lr=schedules.cosine).learning_rate,
            "expected cosine(step, lr, total_steps, final=0.0), the rate at a step; "
            "got cosine(<step>); for an optimiser write lr=lambda step: "
            "cosine(step, ...)",
        ),
    ],
)
def test_a_schedule_without_its_step_says_how_it_is_given(make, message):
    with pytest.raises(gg.GraphError) as caught:
        make()
    assert str(caught.value) == message
