import numpy as np
import pytest
from comparing import SPECIAL, compare, kinds

import graphgpu as gg

EXACT = ("fold", "merge", "simplify")


def truth(x):
    return x > 0


SAME = {
    "where(true, x, y)": (lambda x, c: gg.where(gg.constant(True), x, -x), []),
    "where(false, x, y)": (lambda x, c: gg.where(gg.constant(False), -x, x), []),
    "where(c, x, x)": (lambda x, c: gg.where(c, x, x), []),
    "where(not c, x, y)": (
        lambda x, c: gg.where(gg.logical_not(c), x, 0.0),
        ["where"],
    ),
    "where(c, where(c, x, y), z)": (
        lambda x, c: gg.where(c, gg.where(c, x, -x), 1.0),
        ["where"],
    ),
    "where(c, x, where(c, y, z))": (
        lambda x, c: gg.where(c, x, gg.where(c, -x, 1.0)),
        ["where"],
    ),
    "max(x, x)": (lambda x, c: gg.maximum(x, x), []),
    "min(x, x)": (lambda x, c: gg.minimum(x, x), []),
    "c and c": (lambda x, c: gg.logical_and(c, c), []),
    "c or c": (lambda x, c: gg.logical_or(c, c), []),
    "c and true": (lambda x, c: gg.logical_and(c, True), []),
    "false or c": (lambda x, c: gg.logical_or(False, c), []),
    "c and false": (lambda x, c: gg.logical_and(c, False), ["broadcast_to"]),
    "c or true": (lambda x, c: gg.logical_or(c, True), ["broadcast_to"]),
    "not not c": (lambda x, c: gg.logical_not(gg.logical_not(c)), []),
    "not x = y": (lambda x, c: gg.logical_not(gg.equal(x, 1.0)), ["not_equal"]),
    "not x ≠ y": (lambda x, c: gg.logical_not(gg.not_equal(x, 1.0)), ["equal"]),
    "not x < y": (lambda x, c: gg.logical_not(x < 1), ["less", "logical_not"]),
}


@pytest.mark.parametrize("name", SAME)
def test_a_choice_is_simplified_and_no_bit_changes(name):
    build, expected = SAME[name]
    x = gg.placeholder("x", ("n",))
    c = gg.placeholder("c", ("n",), "bool")
    condition = np.arange(len(SPECIAL)) % 2 == 0
    result = compare([x, c], [build(x, c)], [SPECIAL, condition], EXACT)
    assert sorted(kinds(result)) == sorted(expected)


def test_a_choice_that_is_known_keeps_the_shape_that_the_other_side_gave():
    x = gg.placeholder("x", (3,))
    y = gg.where(gg.constant(True), x, gg.zeros((2, 3)))
    result = compare([x], [y], [np.arange(3, dtype="float32")], EXACT)
    assert kinds(result) == ["broadcast_to"]
