"""Planted faults: each bad pass is caught and named."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.errors import CompileError
from graphgpu.graph import Constant, Variable
from graphgpu.ops.arithmetic import Abs, Negative
from graphgpu.ops.exponential import Exp
from graphgpu.ops.random import RandomNormal
from graphgpu.rewrite.draft import Draft
from graphgpu.rewrite.passes import _run
from graphgpu.rewrite.rules import Rules


def planted(rule, *classes):
    rules = Rules("planted")
    rules.on(*classes)(rule)
    return rules


def rejected(output, bad, match, debug=True):
    with pytest.raises(CompileError, match=match) as caught:
        _run(Draft.of([output]), {"planted": bad}, debug=debug)
    assert "pass 'planted'" in str(caught.value)
    assert "test_validate.py" in str(caught.value)


def test_a_rule_that_changes_the_type_is_caught_at_once():
    x = gg.placeholder("x", (3,))
    for change in (lambda v: v.sum(), lambda v: gg.exp(v.inputs[0]).cast("float64")):
        rejected(gg.exp(x), planted(change, Exp), "of type float", debug=False)


def test_a_new_leaf_is_caught():
    x = gg.placeholder("x", (3,))
    bad = planted(lambda v: gg.placeholder("other", (3,)), Exp)
    rejected(gg.exp(x), bad, "'other' .* is a new leaf")


def test_a_new_parameter_is_caught_and_a_new_constant_is_not():
    x = gg.placeholder("x", (3,))
    zeros = np.zeros(3, "float32")
    bad = planted(lambda v: gg.parameter("w", zeros), Exp)
    rejected(gg.exp(x), bad, "new leaf")
    good = planted(lambda v: Constant(zeros.copy()), Exp)
    _run(Draft.of([gg.exp(x)]), {"planted": good}, debug=True)


def test_new_random_numbers_are_caught():
    x = gg.placeholder("x", (3,))
    bad = planted(lambda v: gg.random_normal((3,)), Exp)
    rejected(gg.exp(x + gg.random_normal((3,))), bad, "random numbers changed|new leaf")


def test_a_changed_key_is_caught():
    noise = gg.random_normal((3,), key="a")

    def other_key(v):
        if v.operation.key == "a":
            return gg.random_normal((3,), key="b")
        return None

    bad = planted(other_key, RandomNormal)
    rejected(gg.exp(noise), bad, "random numbers changed")


def test_random_numbers_drawn_twice_are_caught():
    noise = gg.random_normal((3,), key="a")

    def doubled(v):
        again = gg.random_normal((3,), key="a")
        return gg.exp(v.inputs[0]) + (again - again) if v.name else None

    y = gg.exp(noise).named("y")
    bad = planted(lambda v: doubled(v).named("") if v.name else None, Exp)
    rejected(y, bad, "is there 2 times, before 1 times")


def test_a_wrong_type_inside_the_graph_is_caught():
    x = gg.placeholder("x", (3,))

    def lying(v):
        bad = gg.negative(x)
        bad.inputs = (gg.constant(np.zeros(4, "float32")),)
        return bad

    rejected(gg.exp(x), planted(lying, Exp), "computes a value of type float32\\[4\\]")


def test_what_cannot_be_computed_is_caught():
    x = gg.placeholder("x", (3,))

    def mixed(v):
        bad = x + x
        bad.inputs = (x, gg.constant(np.zeros(3, "float64")))
        return bad

    rejected(gg.exp(x), planted(mixed, Exp), "cannot be computed from its inputs")


def test_a_cycle_is_caught():
    x = gg.placeholder("x", (3,))
    y = gg.abs(gg.exp(x))

    class Tied:
        """A pass that ties the graph into a knot after its sweep."""

        def __call__(self, draft):
            v = draft.outputs[0]
            v.inputs[0].inputs = (v,)
            return 1

    rejected(y, Tied(), "depends on itself")


def test_a_lost_output_is_caught():
    x = gg.placeholder("x", (3,))
    y = gg.exp(x)

    def short(draft):
        draft.outputs = [gg.abs(x), *draft.outputs]
        return 1

    with pytest.raises(CompileError, match="the outputs have types"):
        _run(Draft.of([y]), {"planted": short}, debug=True)


def test_without_debug_only_types_are_checked():
    x = gg.placeholder("x", (3,))
    bad = planted(lambda v: gg.placeholder("other", (3,)), Abs, Negative)
    draft = Draft.of([gg.abs(x)])
    _run(draft, {"planted": bad}, debug=False)
    assert isinstance(draft.outputs[0], Variable)
