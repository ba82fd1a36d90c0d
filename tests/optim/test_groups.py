"""Groups with hyperparameters of their own, and several optimisers as one."""

import numpy as np
import optimizer_references as references
import pytest
from test_optimizers import CASES, follow, regression, regression_gradients

import graphgpu as gg
from graphgpu.optim import Combined, Group


def steps(updates, count=20):
    step = gg.compile([], None, updates)
    for _ in range(count):
        step()


def expected(optimizers, count=20):
    """Return w and b after steps of a NumPy rule and its options for each."""
    values = [p.value for p in regression()[0]]
    memories = [{}, {}]
    for t in range(1, count + 1):
        slopes = regression_gradients(*values)
        values = [
            reference(x, g, s, t, **options)
            for x, g, s, (reference, options) in zip(
                values, slopes, memories, optimizers, strict=True
            )
        ]
    return values


def assert_are(parameters, values, rtol=1e-11):
    for parameter, value in zip(parameters, values, strict=True):
        np.testing.assert_allclose(parameter.value, value, rtol=rtol)


GROUPS = {
    "SGD": (references.sgd, {"lr": 0.1, "momentum": 0.9}, {"lr": 0.02, "momentum": 0}),
    "AdamW": (
        references.adamw,
        {"lr": 0.1},
        {"weight_decay": 0.0, "betas": (0.5, 0.6)},
    ),
    "NAdam": (references.nadam, {"lr": 0.1}, {"betas": (0.5, 0.6), "lr": 0.01}),
    "RAdam": (references.radam, {"lr": 0.1}, {"betas": (0.5, 0.9)}),
    "LAMB": (references.lamb, {"lr": 0.1}, {"weight_decay": 0.5}),
}


@pytest.mark.parametrize("name", GROUPS)
def test_a_groups_hyperparameters_are_for_its_parameters(name):
    reference, options, own = GROUPS[name]
    (w, b), loss = regression()
    optimizer = getattr(gg.optim, name)(**options)
    steps(optimizer.updates(loss, [w, Group([b], **own)]))
    assert_are([w, b], expected([(reference, options), (reference, options | own)]))


def test_a_group_may_have_a_schedule_and_all_count_the_same_steps():
    (w, b), loss = regression()
    values = [w.value, b.value]
    sgd = gg.optim.SGD(0.1)
    group = Group([b], lr=lambda step: 0.1 / (step.cast("float64") + 1))
    steps(sgd.updates(loss, [group, Group([w])]), 3)
    for t in range(3):
        gw, gb = regression_gradients(*values)
        values = [values[0] - 0.1 * gw, values[1] - 0.1 / (t + 1) * gb]
    assert_are([w, b], values)
    assert int(sgd.step.value) == 3


@pytest.mark.parametrize("name", CASES)
def test_a_group_with_nothing_of_its_own_changes_nothing(name):
    optimizer, reference, options = CASES[name]
    (w, b), loss = regression()
    steps(optimizer(**options).updates(loss, [Group([w]), Group([b])]), 5)
    *_, last = follow(reference, options, steps=5)
    assert_are([w, b], last)


def test_a_group_is_clipped_and_scaled_with_all():
    (w, b), loss = regression()
    sgd = gg.optim.SGD(0.1, clip_by_global_norm=0.05)
    updates = sgd.updates(loss, [w, Group([b], lr=0.2)], loss_scale="dynamic")
    steps(updates, 1)
    gw, gb = regression_gradients(*[p.value for p in regression()[0]])
    factor = 0.05 / np.sqrt((gw**2).sum() + (gb**2).sum())
    start = [p.value for p in regression()[0]]
    assert_are([w, b], [start[0] - 0.1 * factor * gw, start[1] - 0.2 * factor * gb])


def test_an_optimiser_of_your_own_has_groups_too():
    class Sign(gg.optim.Optimizer):
        def __init__(self, lr, power=1):
            super().__init__(lr)
            self.power = power

        def rule(self, memory, x, g, *scalars):
            return x - scalars[0] ** self.power * gg.sign(g)

    a, b = gg.parameter("a", np.array(1.0)), gg.parameter("b", np.array(1.0))
    updates = Sign(0.5).updates(a + b, [a, Group([b], power=2)])
    steps(updates, 1)
    assert [float(a.value), float(b.value)] == [0.5, 0.75]


def test_what_is_wrong_with_groups_is_said():
    (w, b), loss = regression()
    sgd = gg.optim.SGD(0.1)
    with pytest.raises(gg.GraphError, match=r"'b' .* is among the parameters twice"):
        sgd.updates(loss, [Group([w, b]), Group([b], lr=1.0)])
    with pytest.raises(
        gg.GraphError, match=r"a group of at least one parameter; got n"
    ):
        Group([])
    message = (
        r"SGD has no hyperparameter 'beta' for a group; it has lr, momentum, nesterov, "
        "weight_decay"
    )
    with pytest.raises(gg.GraphError, match=message):
        sgd.updates(loss, [w, Group([b], beta=1.0)])
    with pytest.raises(gg.GraphError, match="no hyperparameter 'clip_by_value'"):
        sgd.updates(loss, [w, Group([b], clip_by_value=1.0)])
    with pytest.raises(gg.GraphError, match="momentum must be a number >= 0; got -1"):
        sgd.updates(loss, [w, Group([b], momentum=-1)])
    with pytest.raises(gg.GraphError, match="only parameters are trained; got 'w'"):
        Group(["w"])
    with pytest.raises(gg.GraphError, match=r"list of parameters, .* got Group"):
        sgd.updates(loss, Group([w]))
    with pytest.raises(gg.GraphError, match=r"list of parameters, .* got Param"):
        Group(w)


def test_a_layer_is_no_list_of_parameters():
    layer = gg.nn.Dense(1, 1)
    loss = gg.sum(layer(gg.constant([[1.0]])))
    updates = gg.optim.SGD(0.1).updates(loss, layer.parameters())
    for use in (
        lambda given: gg.optim.SGD(0.1).updates(loss, given),
        lambda given: Group(given, lr=0.1),
        lambda given: gg.optim.max_norm(updates, given, 1.0),
        gg.optim.EMA,
    ):
        for given in (layer, gg.nn.Sequential(layer), 3):
            with pytest.raises(gg.GraphError) as caught:
                use(given)
            assert str(caught.value) == (
                "expected a list of parameters, such as layer.parameters(); got "
                f"{given!r}"
            )
    with pytest.raises(gg.GraphError) as caught:
        Group([layer])
    assert str(caught.value) == (
        "only parameters are trained; got Dense(in_features=1, out_features=1); "
        "write *layer.parameters()"
    )


# --- several optimisers


def both(**clip):
    sgd, adamw = gg.optim.SGD(0.1, momentum=0.9), gg.optim.AdamW(0.05)
    return Combined(lambda p: sgd if p.ndim == 2 else adamw, **clip)


def test_each_parameter_is_trained_by_its_optimiser():
    parameters, loss = regression()
    steps(both().updates(loss, parameters))
    rules = [
        (references.sgd, {"lr": 0.1, "momentum": 0.9}),
        (references.adamw, {"lr": 0.05}),
    ]
    assert_are(parameters, expected(rules))


def test_the_gradients_of_all_are_clipped_together_and_then_by_each():
    (w, b), loss = regression()
    start = [w.value, b.value]
    gw, gb = regression_gradients(*start)
    factor = 0.05 / np.sqrt((gw**2).sum() + (gb**2).sum())
    one = gg.optim.SGD(1.0)
    other = gg.optim.SGD(1.0, clip_by_value=0.001)
    combined = Combined(lambda p: one if p is w else other, clip_by_global_norm=0.05)
    steps(combined.updates(loss, [w, b]), 1)
    clipped = np.clip(factor * gb, -0.001, 0.001)
    assert_are([w, b], [start[0] - factor * gw, start[1] - clipped])


def test_groups_are_for_the_optimiser_of_their_parameters():
    (w, b), loss = regression()
    steps(both().updates(loss, [Group([w, b], lr=0.02)]))
    rules = [
        (references.sgd, {"lr": 0.02, "momentum": 0.9}),
        (references.adamw, {"lr": 0.02}),
    ]
    assert_are([w, b], expected(rules))
    with pytest.raises(gg.GraphError, match="AdamW has no hyperparameter 'momentum'"):
        both().updates(loss, [Group([w, b], momentum=0.5)])


def test_an_overflow_skips_the_step_of_all():
    (w, b), loss = regression("float32")
    x = gg.placeholder("x", (), "float32")
    combined = both()
    updates = combined.updates(loss * x, [w, b], loss_scale="dynamic")
    assert set(combined.states()) == set(updates) - {w, b}
    step = gg.compile([x], None, updates)
    step(1.0)
    before = {t: t.value for t in updates}
    step(float("inf"))
    counted = {combined.loss_scale, combined.skipped_steps}
    for target, value in before.items():
        if target not in counted and target.name != "good_steps":
            np.testing.assert_array_equal(target.value, value, err_msg=target.path)
    assert int(combined.skipped_steps.value) == 1


def test_the_state_of_all_is_saved_and_loaded(tmp_path):
    def build():
        with gg.root_scope(0):
            parameters, loss = regression()
            muon = gg.optim.Muon(0.02)
            adamw = gg.optim.AdamW(lambda step: 0.1 / (step.cast("float64") + 1))
            radam = gg.optim.Adam()
            made = Combined(lambda p: muon if p.ndim == 2 else adamw)
            outer = Combined(lambda p: made if p.ndim else radam)
            updates = outer.updates(loss, parameters)
        return parameters, outer, gg.compile([], None, updates)

    parameters, optimizer, step = build()
    for _ in range(3):
        step()
    gg.save(tmp_path / "all.safetensors", parameters, optimizer)
    others, other, again = build()
    gg.load(tmp_path / "all.safetensors", others, other)
    step()
    again()
    for left, right in zip(parameters, others, strict=True):
        np.testing.assert_array_equal(left.value, right.value)


def test_choose_must_return_the_same_optimiser():
    (w, b), loss = regression()
    with pytest.raises(
        gg.GraphError, match=r"choose to return an optimiser for .* None"
    ):
        Combined(lambda p: None).updates(loss, [w, b])
    with pytest.raises(gg.GraphError, match=r"choose to be a function .* got \{\}"):
        Combined({})
    fresh = Combined(lambda p: gg.optim.SGD(0.1))
    fresh.updates(loss, [w, b])
    with pytest.raises(
        gg.GraphError, match=r"another optimiser for .* outside of the f"
    ):
        fresh.updates(loss, [w, b])
    with pytest.raises(
        gg.GraphError, match="by value, by norm or by their global norm"
    ):
        both(clip_by_value=1.0, clip_by_global_norm=1.0)
