"""Loss scaling: exact where nothing overflows; where something does, no step."""

import warnings

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.errors import GraphError


def muon_and_adamw(**clip):
    muon, adamw = gg.optim.Muon(0.02), gg.optim.AdamW(0.05)
    return gg.optim.Combined(lambda p: muon if p.ndim == 2 else adamw, **clip)


OPTIMISERS = {
    "sgd": lambda **clip: gg.optim.SGD(0.1, momentum=0.9, weight_decay=0.01, **clip),
    "adam": lambda **clip: gg.optim.Adam(0.05, **clip),
    "adamw": lambda **clip: gg.optim.AdamW(0.05, **clip),
    "rmsprop": lambda **clip: gg.optim.RMSProp(0.01, centered=True, **clip),
    "adagrad": lambda **clip: gg.optim.Adagrad(0.1, **clip),
    "amsgrad": lambda **clip: gg.optim.Adam(0.05, amsgrad=True, **clip),
    "nadam": lambda **clip: gg.optim.NAdam(0.05, **clip),
    "radam": lambda **clip: gg.optim.RAdam(0.05, betas=(0.9, 0.9), **clip),
    "adamax": lambda **clip: gg.optim.Adamax(0.05, **clip),
    "adadelta": gg.optim.Adadelta,
    "lion": lambda **clip: gg.optim.Lion(0.01, **clip),
    "lamb": lambda **clip: gg.optim.LAMB(0.05, **clip),
    "muon": muon_and_adamw,
    "clipped": lambda **_: gg.optim.SGD(0.1, clip_by_global_norm=0.3),
    "scheduled": lambda **_: gg.optim.SGD(lambda t: 0.1 / (1 + t.cast("float32"))),
}


def problem():
    """Return an input, parameters and the loss of a small net."""
    rng = np.random.default_rng(2)
    w = gg.parameter("w", rng.normal(size=(4, 3)).astype("float32"))
    b = gg.parameter("b", np.zeros(3, "float32"))
    x = gg.placeholder("x", ("n", 4))
    return x, [w, b], gg.mean(gg.square(gg.tanh(x @ w + b) - 0.5))


def batches(count=6):
    rng = np.random.default_rng(4)
    return [rng.normal(size=(5, 4)).astype("float32") for _ in range(count)]


def snapshot(states):
    return {s: s.value for s in states}


def assert_same(before, after, leaving_out=()):
    for state, value in before.items():
        if state not in leaving_out:
            np.testing.assert_array_equal(after[state], value, err_msg=state.path)


@pytest.mark.parametrize("name", OPTIMISERS)
@pytest.mark.parametrize("scale", ["dynamic", 1024.0, gg.optim.LossScale(2.0**10, 2)])
def test_scaled_steps_in_float32_have_the_bits_of_plain_ones(name, scale):
    results = []
    for chosen in (None, scale):
        x, parameters, loss = problem()
        optimiser = OPTIMISERS[name]()
        updates = optimiser.updates(loss, parameters, loss_scale=chosen)
        step = gg.compile([x], None, updates, device="cpu")
        for batch in batches():
            step(batch)
        results.append([p.value for p in parameters])
    for left, right in zip(*results, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_an_overflow_skips_every_update_and_halves_the_scale(name):
    x, parameters, loss = problem()
    optimiser = OPTIMISERS[name]()
    seen = gg.state("seen", 0)
    updates = optimiser.updates(
        loss, parameters, loss_scale="dynamic", also={seen: seen + 1}
    )
    assert set(optimiser.states()) < set(updates)
    step = gg.compile([x], loss, updates, device="cpu", debug=True)
    step(batches()[0])
    before = snapshot(updates)
    overflowing = batches()[1]
    overflowing[2, 1] = np.nan
    step(overflowing)
    after = snapshot(updates)
    scaling = optimiser.loss_scale, optimiser.skipped_steps
    good_steps = next(s for s in updates if s.name == "good_steps")
    assert_same(before, after, (*scaling, good_steps))
    assert [int(before[good_steps]), int(after[good_steps])] == [1, 0]
    assert [float(before[scaling[0]]), float(after[scaling[0]])] == [2.0**16, 2.0**15]
    assert [int(before[scaling[1]]), int(after[scaling[1]])] == [0, 1]
    assert int(after[seen]) == 1


def test_adam_does_not_count_a_skipped_step():
    x, parameters, loss = problem()
    optimiser = gg.optim.Adam(0.1)
    updates = optimiser.updates(loss, parameters, loss_scale="dynamic")
    step = gg.compile([x], None, updates, device="cpu")
    for batch in (batches()[0], np.full((1, 4), np.inf, "float32"), batches()[1]):
        step(batch)
    assert (int(optimiser.step.value), int(optimiser.skipped_steps.value)) == (2, 1)

    x, others, loss = problem()
    plain = gg.compile(
        [x], None, gg.optim.Adam(0.1).updates(loss, others), device="cpu"
    )
    for batch in batches()[:2]:
        plain(batch)
    for left, right in zip(parameters, others, strict=True):
        np.testing.assert_array_equal(left.value, right.value)


def test_the_scale_grows_after_good_steps_and_comes_back_after_an_overflow():
    x, parameters, loss = problem()
    optimiser = gg.optim.SGD(0.1)
    scale = gg.optim.LossScale(8.0, growth_interval=2)
    updates = optimiser.updates(loss, parameters, loss_scale=scale)
    step = gg.compile([x], None, updates, device="cpu")
    good, bad = batches()[0], np.full((1, 4), np.nan, "float32")
    scales = []
    for batch in (good, good, good, bad, good, good, bad, bad):
        step(batch)
        scales.append(float(optimiser.loss_scale.value))
    assert scales == [8, 16, 16, 8, 8, 16, 8, 4]
    assert int(optimiser.skipped_steps.value) == 3


def test_the_scale_stays_between_1_and_2_to_the_24():
    x, parameters, loss = problem()
    optimiser = gg.optim.SGD(0.1)
    scale = gg.optim.LossScale(2.0**24, growth_interval=1)
    updates = optimiser.updates(loss, parameters, loss_scale=scale)
    step = gg.compile([x], None, updates, device="cpu")
    step(batches()[0])
    assert float(optimiser.loss_scale.value) == 2.0**24
    optimiser.loss_scale.value = 2.0
    for _ in range(3):
        step(np.full((1, 4), np.nan, "float32"))
    assert float(optimiser.loss_scale.value) == 1


def test_a_number_is_a_scale_that_stays_and_still_skips():
    x, parameters, loss = problem()
    optimiser = gg.optim.SGD(0.1)
    updates = optimiser.updates(loss, parameters, loss_scale=512)
    step = gg.compile([x], None, updates, device="cpu")
    before = snapshot(parameters)
    step(np.full((1, 4), np.inf, "float32"))
    assert_same(before, snapshot(parameters))
    assert float(optimiser.loss_scale.value) == 512
    assert int(optimiser.skipped_steps.value) == 1


def tiny(optimiser, scale):
    """Return a program in float16 whose gradients are about 1e-9, and its weight."""
    w = gg.parameter("w", np.zeros((2, 2), "float32"))
    x = gg.placeholder("x", (1, 2))
    loss = gg.sum((x @ w) @ gg.constant(np.eye(2, dtype="float32"))) * 1e-9
    updates = optimiser.updates(loss, [w], loss_scale=scale)
    return gg.compile([x], None, updates, precision="float16", device="cpu"), w


def test_gradients_that_vanish_in_float16_do_not_if_the_loss_is_scaled():
    ones = np.ones((1, 2), "float32")
    with pytest.warns(UserWarning, match="without loss scaling"):
        step, w = tiny(gg.optim.SGD(1.0), None)
    step(ones)
    assert not w.value.any()
    step, w = tiny(gg.optim.SGD(1.0), "dynamic")
    step(ones)
    np.testing.assert_allclose(w.value, -1e-9, rtol=1e-3)


def test_a_scale_that_overflows_float16_is_halved_until_it_does_not():
    w = gg.parameter("w", np.zeros((2, 2), "float32"))
    x = gg.placeholder("x", (1, 2))
    optimiser = gg.optim.SGD(1.0)
    loss = gg.sum((x @ w) @ gg.constant(np.eye(2, dtype="float32"))) * 4
    updates = optimiser.updates(loss, [w], loss_scale="dynamic")
    step = gg.compile([x], None, updates, precision="float16", device="cpu")
    changed = []
    for _ in range(5):
        step(np.ones((1, 2), "float32"))
        changed.append(bool(w.value.any()))
    assert changed == [False, False, False, True, True]
    assert float(optimiser.loss_scale.value) == 2.0**13
    assert int(optimiser.skipped_steps.value) == 3
    np.testing.assert_array_equal(w.value, np.full((2, 2), -8, "float32"))


def test_the_state_of_scaling_is_saved_and_loaded_with_the_optimiser(tmp_path):
    def build():
        with gg.root_scope(0):
            x, parameters, loss = problem()
            optimiser = gg.optim.Adam(0.1)
            updates = optimiser.updates(loss, parameters, loss_scale="dynamic")
        return gg.compile([x], None, updates, device="cpu"), optimiser

    step, optimiser = build()
    step(np.full((1, 4), np.nan, "float32"))
    step(batches()[0])
    gg.save(tmp_path / "all.safetensors", optimiser)
    _, other = build()
    gg.load(tmp_path / "all.safetensors", other)
    assert [s.path for s in other.states()][:4] == [
        "loss_scale",
        "good_steps",
        "skipped_steps",
        "step",
    ]
    for left, right in zip(optimiser.states(), other.states(), strict=True):
        np.testing.assert_array_equal(left.value, right.value)
    assert float(other.loss_scale.value) == 2.0**15


def test_gradients_that_are_given_must_be_of_the_scaled_loss():
    x, parameters, loss = problem()
    optimiser = gg.optim.SGD(0.1)
    plain = gg.gradients(loss, parameters)
    with pytest.raises(GraphError, match="expected gradients of the scaled loss"):
        optimiser.updates(None, parameters, plain, loss_scale="dynamic")
    scaled = gg.gradients(loss * optimiser.loss_scale, parameters)
    updates = optimiser.updates(None, parameters, scaled, loss_scale="dynamic")
    gg.compile([x], None, updates, device="cpu")(batches()[0])
    x, others, loss = problem()
    gg.compile([x], None, gg.optim.SGD(0.1).updates(loss, others), device="cpu")(
        batches()[0]
    )
    for left, right in zip(parameters, others, strict=True):
        np.testing.assert_array_equal(left.value, right.value)


def test_other_updates_are_returned_with_those_of_the_optimiser():
    _, parameters, loss = problem()
    seen = gg.state("seen", 0)
    new = seen + 1
    updates = gg.optim.SGD(0.1).updates(loss, parameters, also={seen: new})
    assert updates[seen] is new
    with pytest.raises(GraphError, match="is updated by the optimiser too"):
        gg.optim.SGD(0.1).updates(loss, parameters, also={parameters[0]: 0.0})


@pytest.mark.parametrize("scale", [3.0, 0.5, 2.0**25, 0.0, -2.0, np.inf, "static"])
def test_a_scale_that_would_round_or_is_none_is_refused(scale):
    _, parameters, loss = problem()
    with pytest.raises(GraphError, match=r"power of two|above 0"):
        gg.optim.SGD(0.1).updates(loss, parameters, loss_scale=scale)


def test_an_interval_that_is_no_count_is_refused():
    with pytest.raises(GraphError, match="growth_interval must be an int above 0"):
        gg.optim.LossScale(growth_interval=0)


@pytest.mark.parametrize(
    ("precision", "scale", "warned"),
    [
        ("float16", None, 1),
        ("float16", "dynamic", 0),
        ("float16", 1024.0, 0),
        ("bfloat16", None, 0),
        ("float32", None, 0),
    ],
)
def test_training_in_float16_without_scaling_warns(precision, scale, warned):
    x, parameters, loss = problem()
    updates = gg.optim.SGD(0.1).updates(loss, parameters, loss_scale=scale)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gg.compile([x], loss, updates, precision=precision, device="cpu")
        gg.compile([x], loss, precision=precision, device="cpu")
    assert len(caught) == warned
    assert all(w.filename == __file__ for w in caught)


def own_gradients(optimiser, scale):
    """Return updates by gradients of the scaled loss, an input and parameters."""
    x, parameters, loss = problem()
    slopes = gg.gradients(loss * optimiser.loss_scale, parameters)
    return optimiser.updates(None, parameters, slopes, loss_scale=scale), x, parameters


@pytest.mark.parametrize("scale", [1024, gg.optim.LossScale(256), "dynamic"])
def test_a_scale_that_was_read_before_the_updates_starts_as_they_say(scale):
    optimiser = gg.optim.SGD(0.1)
    updates, x, parameters = own_gradients(optimiser, scale)
    initial = gg.optim.LossScale.of(scale).initial
    assert float(optimiser.loss_scale.value) == initial
    step = gg.compile([x], None, updates, device="cpu")
    step(batches()[0])
    step(np.full((1, 4), np.nan, "float32"))
    assert int(optimiser.skipped_steps.value) == 1
    fixed = scale == 1024
    assert float(optimiser.loss_scale.value) == (initial if fixed else initial / 2)
    others = gg.optim.SGD(0.1)
    x, weights, loss = problem()
    gg.compile([x], None, others.updates(loss, weights), device="cpu")(batches()[0])
    for left, right in zip(parameters, weights, strict=True):
        np.testing.assert_array_equal(left.value, right.value)


def test_a_scale_that_was_set_before_the_updates_must_be_theirs():
    optimiser = gg.optim.SGD(0.1)
    optimiser.loss_scale.value = 8.0
    with pytest.raises(GraphError, match=r"set to 8; .*LossScale\(initial=8\)"):
        own_gradients(optimiser, "dynamic")
    own_gradients(optimiser, gg.optim.LossScale(8))
    assert float(optimiser.loss_scale.value) == 8


@pytest.mark.parametrize(
    ("first", "second"),
    [("dynamic", 8), (8, "dynamic"), (8, 16), (8, gg.optim.LossScale(8, 10))],
)
def test_updates_with_another_scale_are_refused(first, second):
    x, parameters, loss = problem()
    optimiser = gg.optim.SGD(0.1)
    updates = optimiser.updates(loss, parameters, loss_scale=first)
    with pytest.raises(GraphError, match="give loss_scale as before"):
        optimiser.updates(loss, parameters, loss_scale=second)
    gg.compile([x], None, updates, device="cpu")(np.full((1, 4), np.nan, "float32"))
    reached = float(optimiser.loss_scale.value)
    assert reached == (2.0**15 if first == "dynamic" else 8)
    again = gg.optim.LossScale.of(first)
    optimiser.updates(loss, parameters, loss_scale=again)
    assert float(optimiser.loss_scale.value) == reached


def test_reading_what_scaling_would_have_adds_nothing_to_a_checkpoint(tmp_path):
    def build():
        with gg.root_scope(0):
            _, parameters, loss = problem()
            optimiser = gg.optim.Adam(0.1)
            optimiser.updates(loss, parameters)
        return optimiser

    optimiser = build()
    paths = [s.path for s in optimiser.states()]
    with pytest.raises(GraphError, match=r"loss_scale=.* before skipped_steps is read"):
        optimiser.skipped_steps  # noqa: B018
    assert float(optimiser.loss_scale.value) == 2.0**16
    with pytest.raises(GraphError, match="skipped_steps is read"):
        optimiser.skipped_steps  # noqa: B018
    assert [s.path for s in optimiser.states()] == paths
    gg.save(tmp_path / "all.safetensors", optimiser)
    gg.load(tmp_path / "all.safetensors", build())


def test_updates_that_are_refused_leave_no_scale_behind():
    _, parameters, loss = problem()
    optimiser = gg.optim.SGD(0.1)
    with pytest.raises(GraphError):
        optimiser.updates(loss, parameters, loss_scale=8, also={parameters[0]: 0.0})
    assert optimiser.states() == []
    optimiser.updates(loss, parameters, loss_scale="dynamic")
    assert float(optimiser.loss_scale.value) == 2.0**16


@pytest.mark.parametrize("scale", [None, "dynamic"])
@pytest.mark.parametrize("also", [[1], [], "state", 3, {"state": 1.0}])
def test_other_updates_that_are_no_dict_of_state_are_refused(also, scale):
    _, parameters, loss = problem()
    with pytest.raises(GraphError, match="also is a dict of parameters or state"):
        gg.optim.SGD(0.1).updates(loss, parameters, loss_scale=scale, also=also)


def test_other_updates_may_not_be_of_the_scale_or_of_a_node_that_has_no_state():
    x, parameters, loss = problem()
    optimiser = gg.optim.SGD(0.1)
    also = {optimiser.loss_scale: 8.0}
    with pytest.raises(GraphError, match=r"loss_scale.* is updated by the optimiser"):
        optimiser.updates(loss, parameters, loss_scale="dynamic", also=also)
    with pytest.raises(GraphError, match="got the key Placeholder 'x'"):
        optimiser.updates(loss, parameters, also={x: 0.0})


@pytest.mark.parametrize("scale", [0, "static", True, [8], None])
def test_a_scale_that_is_refused_is_named(scale):
    with pytest.raises(GraphError, match='loss_scale is "dynamic", a power of two'):
        gg.optim.LossScale.of(scale)
