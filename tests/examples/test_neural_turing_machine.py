"""Addressing in a neural Turing machine: by content, and by place."""

import importlib

import numpy as np
import pytest

import graphgpu as gg

example = importlib.import_module("38_neural_turing_machine")

SLOTS, WIDTH = 5, 3
# Of each step, how much is back, none and on.
STEPS = {"back": (-1, [1, 0, 0]), "none": (0, [0, 1, 0]), "on": (1, [0, 0, 1])}


def one_hot(slot):
    """Return the weighting of one head at a slot: (1, 1, SLOTS)."""
    return np.eye(SLOTS, dtype=np.float32)[None, None, slot % SLOTS]


def moved(v, s, sharpness):
    arrays = (np.float32(np.reshape(a, (1, 1, -1))) for a in (v, s, sharpness))
    return gg.evaluate(example.moved(*map(gg.constant, arrays)))


def found(memory, key, strength):
    M = gg.constant(np.asarray(memory, np.float32)[None])
    k = gg.constant(np.asarray(key, np.float32)[None, None])
    return gg.evaluate(example.content(M, k, strength))[0, 0]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("slot", range(SLOTS))
def test_a_shift_moves_a_head_round_the_ring(step, slot):
    by, s = STEPS[step]
    w = moved(one_hot(slot), s, 1)
    np.testing.assert_allclose(w, one_hot(slot + by), atol=1e-5)


def test_a_shift_between_slots_blurs_and_sharpening_undoes_it():
    s = [0.05, 0.9, 0.05]
    blurred, sharp = moved(one_hot(2), s, 1), moved(one_hot(2), s, 8)
    np.testing.assert_allclose(blurred[0, 0], [0, 0.05, 0.9, 0.05, 0], atol=1e-5)
    np.testing.assert_allclose(sharp, one_hot(2), atol=1e-5)


def test_sharpening_is_a_power_that_is_normalised():
    v = np.float32([[[0.1, 0.2, 0.4, 0.25, 0.05]]])
    w = moved(v, [0, 1, 0], 3)
    np.testing.assert_allclose(w, v**3 / (v**3).sum(), atol=1e-5)


def test_a_strong_key_finds_the_slot_that_points_its_way_whatever_its_length():
    memory = np.random.default_rng(0).standard_normal((SLOTS, WIDTH))
    for slot in range(SLOTS):
        w = found(memory, 0.1 * memory[slot], 200.0)
        assert w.argmax() == slot
        assert w[slot] > 0.99


def test_a_key_without_strength_and_an_empty_memory_single_out_no_slot():
    memory = np.random.default_rng(0).standard_normal((SLOTS, WIDTH))
    np.testing.assert_allclose(found(memory, memory[0], 0.0), 1 / SLOTS, rtol=1e-6)
    empty = np.zeros((SLOTS, WIDTH))
    np.testing.assert_allclose(found(empty, memory[0], 9.0), 1 / SLOTS, rtol=1e-6)


def test_weightings_are_distributions_and_slopes_through_an_empty_memory_are_finite():
    machine = example.TuringMachine(SLOTS, WIDTH, 4)
    x = gg.placeholder("x", ("batch", 7, example.BITS + 1))
    scores, w = machine(x)
    slopes = gg.gradients(gg.sum(gg.square(scores)), machine.parameters())
    program = gg.compile(x, [w, *slopes], check_finite=True)
    ones = np.ones((2, 7, example.BITS + 1), np.float32)
    weightings, *_ = program(ones)
    assert weightings.shape == (7, 2, 2, SLOTS)
    assert weightings.min() >= 0
    np.testing.assert_allclose(weightings.sum(-1), 1, rtol=1e-5)
