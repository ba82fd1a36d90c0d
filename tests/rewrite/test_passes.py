import numpy as np
import pytest
from comparing import compare, kinds, run

import graphgpu as gg
from graphgpu.errors import CompileError
from graphgpu.graph import Constant, Graph
from graphgpu.ops.arithmetic import Multiply, Negative
from graphgpu.rewrite import PASSES, rewrite
from graphgpu.rewrite.draft import Draft
from graphgpu.rewrite.passes import _PASSES, _run
from graphgpu.rewrite.rules import Rules


def model():
    x = gg.placeholder("x", ("n", 3))
    w = gg.parameter("w", np.ones((3, 2), "float32"))
    loss = gg.mean(gg.square(gg.tanh(x @ w) * 1.0))
    return x, w, [loss, *gg.gradients(loss, [w])]


def test_without_passes_the_graph_is_the_same_one():
    _, _, outputs = model()
    result = rewrite(outputs, ())
    assert result.outputs == tuple(outputs)
    assert result.log == ()
    assert result.notes == {}
    variables = Graph(outputs).variables
    assert result.became == {v: v for v in variables}


def test_an_unknown_pass_is_an_error_that_lists_the_known_ones():
    with pytest.raises(CompileError, match="unknown pass 'flod'; the passes are loops"):
        rewrite([gg.constant(1.0)], ("fold", "flod"))


def test_one_pass_may_be_named_alone():
    x = gg.placeholder("x", ())
    y = gg.negative(-x)
    assert rewrite([y], "simplify").outputs == (x,)
    assert rewrite([y], "merge").outputs == (y,)
    assert rewrite([y], ["simplify"]).log == ("simplify: 1 -(-x) = x",)


def test_outputs_may_be_leaves_and_may_be_the_same():
    x = gg.placeholder("x", ("n",))
    y = x * 1.0
    assert rewrite([x, y, y, gg.constant(2.0)], debug=True).outputs[:3] == (x, x, x)


def test_nothing_is_rebuilt_where_nothing_changes():
    x = gg.placeholder("x", ("n",))
    y = gg.sin(gg.cos(x))
    z = gg.tanh(y) * 1.0
    assert rewrite([y, z]).outputs[0] is y


def test_what_a_variable_became_is_known():
    x, _, outputs = model()
    result = rewrite(outputs, debug=True)
    for old, new in zip(outputs, result.outputs, strict=True):
        assert result.became[old] is new
    assert result.became[x] is x
    live = set(Graph(result.outputs).variables)
    assert set(result.became.values()) <= live
    before = run([x], list(result.became), [np.ones((4, 3), "float32")])
    after = run([x], list(result.became.values()), [np.ones((4, 3), "float32")])
    for left, right in zip(before, after, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-7)


def test_what_is_not_computed_any_more_became_nothing():
    x = gg.placeholder("x", ("n",))
    inner = -x
    y = -inner
    result = rewrite([y])
    assert inner not in result.became
    assert result.notes[y] == ("simplify: -(-x) = x",)


def test_notes_are_kept_at_the_original_and_at_the_new_variable():
    x = gg.placeholder("x", ("n",))
    a, b = gg.log(1.0 + gg.exp(x)), gg.log(1.0 + gg.exp(x))
    result = rewrite([a, b])
    (new, _) = result.outputs
    texts = "\n".join(result.notes[b])
    assert "merge: equal variables" in texts
    assert "stabilise: log(1 + x) = log1p(x)" in texts
    assert set(result.notes[b]) <= set(result.notes[new])


def test_new_variables_keep_name_scope_phase_and_line():
    x = gg.placeholder("x", ("n",))
    with gg.scope("layer"):
        y = gg.log(1.0 + gg.exp(x)).named("loss")
        z = gg.sin(y).named("sine")
    (dx,) = gg.gradients(gg.sum(z), [x])
    result = rewrite([y, z, dx], debug=True)
    for old, new in ((y, result.outputs[0]), (z, result.outputs[1])):
        assert new is not old
        assert new.path == old.path
        assert str(new.trace) == str(old.trace)
    phases = {v.phase for v in Graph(dx) if v.operation}
    assert {v.phase for v in Graph(result.outputs[2]) if v.operation} == phases


def test_the_order_as_written_is_kept():
    x = gg.placeholder("x", ("n",))
    a = gg.sin(x).named("a")
    b = gg.cos(gg.log(1.0 + gg.exp(x))).named("b")
    c = gg.tan(x).named("c")
    d = gg.sinh(b).named("d")
    e = gg.cosh(x).named("e")
    result = rewrite([e, d, c, b, a], debug=True)
    names = [v.name for v in Graph(result.outputs) if v.name in set("abcde")]
    assert names == ["a", "b", "c", "d", "e"]


def test_the_graph_that_was_given_is_not_changed():
    _, _, outputs = model()
    variables = Graph(outputs).variables
    before = [(v, v.operation, v.inputs, v.serial, v.name) for v in variables]
    rewrite(outputs, debug=True)
    assert [(v, v.operation, v.inputs, v.serial, v.name) for v in variables] == before


def test_random_numbers_stay_where_their_neighbours_change():
    with gg.root_scope():
        x = gg.placeholder("x", ("n",))
        y = gg.dropout(gg.tanh(x) * 1.0) + gg.random_normal(x.shape) * gg.ones(("n",))
        outputs = [y, *gg.gradients(gg.sum(y), [x])]
    result = compare([x], outputs, [np.linspace(-1, 1, 9, dtype="float32")])
    assert kinds(result).count("random_uniform") == 1


def swapping():
    """Return a pass that turns products round for ever."""
    rules = Rules("swap")

    @rules.on(Multiply)
    def swap(v):
        """x y = y x."""
        return gg.apply(Multiply(), *v.inputs[::-1])

    return rules


def test_a_pass_that_loops_is_named_with_its_rule_and_the_node():
    x = gg.placeholder("x", ("n",))
    y = (x * gg.sin(x)).named("area")
    with pytest.raises(CompileError) as caught:
        _run(Draft.of([y]), {"swap": swapping()}, debug=False)
    assert "pass 'swap' does not come to an end" in str(caught.value)
    assert "'x y = y x'" in str(caught.value)
    assert "'area'" in str(caught.value)


def test_two_passes_that_undo_each_other_come_to_an_end():
    there, back = Rules("there"), Rules("back")

    @there.on(Negative)
    def as_product(v):
        """-x = x (-1)."""
        return v.inputs[0] * gg.constant(-1.0)

    @back.on(Multiply)
    def as_negative(v):
        """x (-1) = -x."""
        return -v.inputs[0]

    draft = Draft.of([-gg.placeholder("x", ())])
    _run(draft, {"there": there, "back": back}, debug=True)
    assert draft.work < 100


@pytest.mark.parametrize(
    "step",
    [
        lambda x: -x,
        lambda x: gg.sin(x) * 0.5,
        lambda x: gg.log(1.0 + gg.exp(x)),
        lambda x: x.transpose().transpose() + 1.0,
    ],
    ids=["cancelled", "kept", "stabilised", "moved"],
)
def test_the_work_grows_with_the_length_of_a_chain(step):
    def work(length):
        x = y = gg.placeholder("x", ("n", 2))
        for _ in range(length):
            y = step(y)
        draft = Draft.of([y, *gg.gradients(gg.sum(y), [x])])
        size = len(draft.order)
        _run(draft, _PASSES, debug=False)
        return draft.work / size

    assert work(400) <= 1.1 * work(100) + 1
    assert work(400) < 60


def test_a_sum_of_a_long_product_is_taken_apart_in_linear_work():
    y = gg.placeholder("x", ("n",))
    for i in range(500):
        y = y * gg.parameter(f"c{i}", np.float32(1))
    draft = Draft.of([gg.sum(y)])
    _run(draft, _PASSES, debug=True)
    assert draft.work < 20 * 1000


@pytest.mark.parametrize(
    "length", [10_000, pytest.param(100_000, marks=pytest.mark.slow)]
)
def test_a_long_chain_goes_through_all_passes(length):
    y = gg.placeholder("x", (3,))
    for _ in range(length // 2):
        y = gg.sin(y) * 0.5
    result = rewrite([y])
    constants = [v for v in Graph(result.outputs) if isinstance(v, Constant)]
    assert len(constants) == 1
    assert len(Graph(result.outputs)) == length + 2


def test_every_pass_is_documented_by_its_name():
    assert PASSES == (
        "loops",
        "fold",
        "merge",
        "simplify",
        "factors",
        "stabilise",
        "shapes",
        "loop_products",
        "products",
        "fold_batch_norm",
        "layout",
    )


def test_rules_are_shown_as_mathematics():
    x = gg.placeholder("x", ("n",))
    result = rewrite([x * 1.0, gg.square(gg.abs(x))])
    assert result.log == (
        "simplify: 1 x · 1 = x, x · (-1) = -x, 1 (-x)² = x², |x|² = x²",
    )
