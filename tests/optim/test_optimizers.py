"""Optimisers: twenty steps against NumPy, their state, and what they refuse."""

from functools import partial

import numpy as np
import optimizer_references as references
import pytest

import graphgpu as gg

RNG = np.random.default_rng(5)
INPUT = RNG.standard_normal((8, 3))
TARGET = RNG.standard_normal((8, 2))
WEIGHT = RNG.standard_normal((3, 2))
BIAS = RNG.standard_normal(2)

AMSGRAD = partial(gg.optim.Adam, amsgrad=True)

CASES = {
    "sgd": (gg.optim.SGD, references.sgd, {"lr": 0.1}),
    "sgd_decay": (gg.optim.SGD, references.sgd, {"lr": 0.1, "weight_decay": 0.05}),
    "momentum": (gg.optim.SGD, references.sgd, {"lr": 0.05, "momentum": 0.9}),
    "nesterov": (
        gg.optim.SGD,
        references.sgd,
        {"lr": 0.05, "momentum": 0.8, "nesterov": True, "weight_decay": 0.02},
    ),
    "adam": (gg.optim.Adam, references.adam, {}),
    "adam_decay": (
        gg.optim.Adam,
        references.adam,
        {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1},
    ),
    "adamw": (gg.optim.AdamW, references.adamw, {"lr": 0.05}),
    "adamw_no_decay": (gg.optim.AdamW, references.adamw, {"weight_decay": 0.0}),
    "rmsprop": (gg.optim.RMSProp, references.rmsprop, {}),
    "rmsprop_all": (
        gg.optim.RMSProp,
        references.rmsprop,
        {
            "lr": 0.02,
            "alpha": 0.9,
            "eps": 1e-5,
            "momentum": 0.7,
            "centered": True,
            "weight_decay": 0.03,
        },
    ),
    "adagrad": (gg.optim.Adagrad, references.adagrad, {}),
    "adagrad_all": (
        gg.optim.Adagrad,
        references.adagrad,
        {
            "lr": 0.3,
            "eps": 1e-4,
            "initial_accumulator_value": 0.5,
            "weight_decay": 0.1,
        },
    ),
    "amsgrad": (AMSGRAD, references.amsgrad, {"lr": 0.1, "weight_decay": 0.1}),
    "nadam": (gg.optim.NAdam, references.nadam, {}),
    "nadam_decay": (
        gg.optim.NAdam,
        references.nadam,
        {"lr": 0.1, "betas": (0.8, 0.9), "weight_decay": 0.1, "momentum_decay": 0.2},
    ),
    "nadam_decoupled": (
        gg.optim.NAdam,
        references.nadam,
        {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True},
    ),
    "radam": (gg.optim.RAdam, references.radam, {}),
    "radam_decay": (
        gg.optim.RAdam,
        references.radam,
        {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1},
    ),
    "radam_decoupled": (
        gg.optim.RAdam,
        references.radam,
        {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True},
    ),
    "radam_never_trusted": (gg.optim.RAdam, references.radam, {"betas": (0.9, 0.6)}),
    "adamax": (gg.optim.Adamax, references.adamax, {}),
    "adamax_decay": (
        gg.optim.Adamax,
        references.adamax,
        {"lr": 0.1, "betas": (0.8, 0.7), "eps": 1e-3, "weight_decay": 0.1},
    ),
    "adadelta": (gg.optim.Adadelta, references.adadelta, {}),
    "adadelta_decay": (
        gg.optim.Adadelta,
        references.adadelta,
        {"lr": 0.5, "rho": 0.8, "eps": 1e-3, "weight_decay": 0.1},
    ),
    "lion": (gg.optim.Lion, references.lion, {}),
    "lion_decay": (
        gg.optim.Lion,
        references.lion,
        {"lr": 0.01, "betas": (0.8, 0.9), "weight_decay": 0.1},
    ),
    "lamb": (gg.optim.LAMB, references.lamb, {}),
    "lamb_no_decay": (
        gg.optim.LAMB,
        references.lamb,
        {"lr": 0.05, "betas": (0.8, 0.9), "weight_decay": 0.0},
    ),
}


def regression(dtype="float64"):
    """Return parameters and loss of a linear regression through tanh."""
    w = gg.parameter("w", WEIGHT, dtype)
    b = gg.parameter("b", BIAS, dtype)
    x, y = gg.constant(INPUT, dtype), gg.constant(TARGET, dtype)
    return [w, b], gg.mean(gg.square(gg.tanh(x @ w + b) - y))


def regression_gradients(w, b):
    output = np.tanh(INPUT @ w + b)
    slope = 2 * (output - TARGET) * (1 - output**2) / output.size
    return [INPUT.T @ slope, slope.sum(0)]


def follow(reference, options, clip=lambda g: g, steps=20, rate=None):
    """Return the parameters after each step, by NumPy alone."""
    values, memories = [WEIGHT, BIAS], [{}, {}]
    for t in range(1, steps + 1):
        slopes = clip(regression_gradients(*values))
        if rate:
            options = {**options, "lr": rate(t - 1)}
        values = [
            reference(x, g, s, t, **options)
            for x, g, s in zip(values, slopes, memories, strict=True)
        ]
        yield values


def assert_follows(optimizer, expected, rtol=1e-12, dtype="float64"):
    parameters, loss = regression(dtype)
    step = gg.compile([], loss, optimizer.updates(loss, parameters))
    for place, values in enumerate(expected):
        step()
        for parameter, value in zip(parameters, values, strict=True):
            np.testing.assert_allclose(
                parameter.value,
                value,
                rtol=rtol,
                atol=rtol / 5,
                err_msg=f"step {place}",
            )


@pytest.mark.parametrize("name", CASES)
def test_twenty_steps_agree_with_numpy(name):
    optimizer, reference, options = CASES[name]
    assert_follows(optimizer(**options), follow(reference, options))


@pytest.mark.parametrize("name", CASES)
def test_twenty_steps_in_float32_are_those_of_numpy_rounded(name):
    optimizer, reference, options = CASES[name]
    expected = follow(reference, options)
    assert_follows(optimizer(**options), expected, rtol=2e-5, dtype="float32")


def test_a_variable_can_be_the_rate_and_be_set_between_steps():
    rate = gg.state("rate", np.float64(0.1))
    parameters, loss = regression()
    optimizer = gg.optim.SGD(rate)
    step = gg.compile([], None, optimizer.updates(loss, parameters))
    for t, values in enumerate(
        follow(references.sgd, {}, rate=lambda t: 0.1 / (t + 1)), start=1
    ):
        step()
        np.testing.assert_allclose(parameters[0].value, values[0], rtol=1e-12)
        rate.value = 0.1 / (t + 1)


@pytest.mark.parametrize("name", CASES)
def test_a_schedule_reads_the_counter_before_the_step(name):
    optimizer, reference, options = CASES[name]
    built = optimizer(
        **{**options, "lr": lambda step: 0.1 * 0.9 ** step.cast("float64")}
    )
    assert_follows(
        built, follow(reference, options, rate=lambda t: 0.1 * 0.9**t), rtol=1e-11
    )
    assert int(built.step.value) == 20


def test_the_learning_rate_is_a_variable_to_log():
    optimizer = gg.optim.SGD(
        lambda step: gg.optim.schedules.step_decay(step, 1, 2, 0.5)
    )
    w = gg.parameter("w", 1.0)
    step = gg.compile([], optimizer.learning_rate, optimizer.updates(gg.square(w), [w]))
    assert [float(step()) for _ in range(5)] == [1, 1, 0.5, 0.5, 0.25]
    assert float(gg.evaluate(gg.optim.SGD(0.25).learning_rate)) == 0.25


def clipped_by_norm(slopes):
    norm = np.sqrt(sum((g**2).sum() for g in slopes))
    return [g * min(1.0, 0.05 / norm) for g in slopes]


@pytest.mark.parametrize("name", CASES)
def test_every_rule_is_given_clipped_gradients(name):
    optimizer, reference, options = CASES[name]
    assert_follows(
        optimizer(**options, clip_by_global_norm=0.05),
        follow(reference, options, clipped_by_norm),
        rtol=1e-11,
    )


def test_clipping_is_done_before_the_rule():
    options = {"lr": 0.3, "momentum": 0.9, "weight_decay": 0.1}
    assert_follows(
        gg.optim.SGD(**options, clip_by_global_norm=0.05),
        follow(references.sgd, options, clipped_by_norm),
    )
    assert_follows(
        gg.optim.SGD(**options, clip_by_norm=0.05),
        follow(
            references.sgd,
            options,
            lambda gs: [g * min(1.0, 0.05 / np.linalg.norm(g)) for g in gs],
        ),
    )
    assert_follows(
        gg.optim.SGD(**options, clip_by_value=0.02),
        follow(
            references.sgd, options, lambda gs: [np.clip(g, -0.02, 0.02) for g in gs]
        ),
    )


def test_gradients_may_be_given():
    parameters, loss = regression()
    slopes = [2 * g for g in gg.gradients(loss, parameters)]
    gg.compile([], None, gg.optim.SGD(0.1).updates(None, parameters, slopes))()
    (expected,) = follow(references.sgd, {"lr": 0.2}, steps=1)
    np.testing.assert_allclose(parameters[0].value, expected[0], rtol=1e-12)


# --- state


def test_state_is_named_after_its_parameter():
    with gg.root_scope(), gg.scope("conv1"):
        w = gg.parameter("weight", [1.0])
    loss = gg.sum(w * w)
    paths = {
        "SGD": ["conv1/weight/momentum"],
        "Adam": ["conv1/weight/first_moment", "conv1/weight/second_moment", "step"],
        "RMSProp": [
            "conv1/weight/average",
            "conv1/weight/momentum",
            "conv1/weight/square_average",
        ],
        "Adagrad": ["conv1/weight/accumulator"],
    }
    options = {
        "SGD": {"lr": 1, "momentum": 0.5},
        "RMSProp": {"momentum": 0.5, "centered": True},
    }
    for name, expected in paths.items():
        optimizer = getattr(gg.optim, name)(**options.get(name, {}))
        updates = optimizer.updates(loss, [w])
        assert sorted(v.path for v in updates if v is not w) == expected
        assert all(isinstance(v, gg.State) for v in updates if v is not w)


def test_plain_descent_has_no_state_and_unused_state_is_not_made():
    parameters, loss = regression()
    assert list(gg.optim.SGD(0.1).updates(loss, parameters)) == parameters


def test_a_second_call_uses_the_same_state_and_counter():
    parameters, loss = regression()
    optimizer = gg.optim.Adam()
    first = optimizer.updates(loss, parameters)
    second = optimizer.updates(loss * 2, parameters)
    assert list(first) == list(second)
    only = optimizer.updates(loss, parameters[:1])
    assert set(only) < set(first)
    other = gg.optim.Adam().updates(loss, parameters)
    assert set(other) & set(first) == set(parameters)


def test_two_programs_share_the_state():
    (w, b), loss = regression()
    optimizer = gg.optim.SGD(0.05, momentum=0.9)
    programs = [gg.compile([], None, optimizer.updates(loss, [w, b])) for _ in range(2)]
    for t, values in enumerate(
        follow(references.sgd, {"lr": 0.05, "momentum": 0.9}, steps=6)
    ):
        programs[t % 2]()
        np.testing.assert_allclose(w.value, values[0], rtol=1e-12)


def test_nodes_are_of_the_update_phase_and_in_the_scope_of_the_parameter():
    with gg.root_scope():
        with gg.scope("dense"):
            w = gg.parameter("w", [1.0])
        loss = gg.sum(w * w)
        updates = gg.optim.Adam(clip_by_global_norm=1.0).updates(loss, [w])
    old = set(gg.Graph(gg.gradients(loss, [w]))) | {w}
    new = [
        v for v in gg.Graph([*updates.values()]) if v.phase == "update" and v not in old
    ]
    assert {v.context.path for v in new} == {"", "dense", "dense/w"}
    assert updates[w].phase == "update"
    assert updates[w].context.path == "dense"
    assert str(updates[w].trace).rpartition(":")[0] == __file__
    forward = [v for v in gg.Graph([*updates.values()]) if v.phase == "forward"]
    assert set(forward) <= set(gg.Graph(loss))


def test_an_optimiser_of_your_own_needs_a_rule_alone():
    class Sign(gg.optim.Optimizer):
        def rule(self, memory, x, g, *scalars):
            count = memory.write("count", memory.read("count", 1.0) + 1)
            return x - scalars[0] * gg.sign(g) / count

    w = gg.parameter("w", np.array([3.0, -4.0]))
    step = gg.compile([], None, Sign(1.0).updates(gg.sum(w * w), [w]))
    step()
    np.testing.assert_array_equal(w.value, [2.5, -3.5])
    step()
    np.testing.assert_allclose(w.value, [2.5 - 1 / 3, -3.5 + 1 / 3])


# --- precision


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(
    "name",
    [
        *["Adam", "RMSProp", "Adagrad", "AdamW", "NAdam", "RAdam", "Adamax"],
        *["Adadelta", "Lion", "LAMB"],
    ],
)
def test_half_precision_keeps_its_state_in_float32(name, dtype):
    w = gg.parameter("w", [1.0, 2.0], dtype)
    small = gg.constant([1e-4, 2e-4], dtype)
    rate = {"Adadelta": 32.0, "RAdam": 2048.0}.get(name, 0.125)
    updates = getattr(gg.optim, name)(lr=rate).updates(gg.sum(w * small), [w])
    assert {v.dtype.name for v in updates if v.ndim and v is not w} == {"float32"}
    gg.compile([], None, updates)()
    after = w.value.astype(float)
    assert w.value.dtype == gg.placeholder("p", (), dtype).dtype
    assert np.isfinite(after).all()
    assert (after < [1.0, 2.0]).all()


@pytest.mark.parametrize(
    "name",
    [
        *["Adam", "AdamW", "RMSProp", "Adagrad", "SGD", "NAdam", "RAdam", "Adamax"],
        *["Adadelta", "Lion", "LAMB"],
    ],
)
def test_a_gradient_of_zero_changes_nothing_but_the_decay(name):
    w = gg.parameter("w", [1.0, 2.0])
    options = {"clip_by_global_norm": 1.0}
    if name in ("AdamW", "LAMB"):
        options["weight_decay"] = 0.0
    optimizer = getattr(gg.optim, name)(lr=0.1, **options)
    step = gg.compile([], None, optimizer.updates(gg.sum(w * 0), [w]))
    step()
    np.testing.assert_array_equal(w.value, [1.0, 2.0])


def test_bias_correction_is_exact_in_float32():
    w = gg.parameter("w", [1.0])
    updates = gg.optim.Adam(lr=0.25).updates(gg.sum(w * 0.5), [w])
    gg.compile([], None, updates)()
    np.testing.assert_allclose(w.value, [0.75], rtol=1e-6)


# --- what is refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gg.optim.SGD(-0.1), r"lr must be a number >= 0; got -0.1"),
        (lambda: gg.optim.SGD(float("nan")), "lr must be a number >= 0; got nan"),
        (lambda: gg.optim.SGD("fast"), "lr must be a number >= 0; got 'fast'"),
        (lambda: gg.optim.SGD(0.1, momentum=-1), "momentum must be a number >= 0"),
        (lambda: gg.optim.SGD(0.1, weight_decay=-1), "weight_decay must be"),
        (lambda: gg.optim.SGD(0.1, nesterov=True), "nesterov=True needs a momentum"),
        (lambda: gg.optim.Adam(betas=(0.9, 1.0)), r"betas\[1\] must be .* got 1.0"),
        (lambda: gg.optim.Adam(betas=(-0.1, 0.9)), r"betas\[0\] must be"),
        (lambda: gg.optim.AdamW(betas=(0.9,)), "betas are two numbers"),
        (lambda: gg.optim.Adam(eps=-1e-8), "eps must be a number >= 0"),
        (lambda: gg.optim.RMSProp(alpha=1.5), "alpha must be a number from 0"),
        (lambda: gg.optim.Adagrad(initial_accumulator_value=-1), "initial_acc"),
        (lambda: gg.optim.NAdam(momentum_decay=-1), "momentum_decay must be"),
        (lambda: gg.optim.RAdam(betas=3), "betas are two numbers; got 3"),
        (lambda: gg.optim.Adamax(eps=-1), "eps must be a number >= 0"),
        (lambda: gg.optim.Adadelta(rho=1.0), "rho must be a number from 0 to below 1"),
        (lambda: gg.optim.Lion(betas=(0.9, 2)), r"betas\[1\] must be"),
        (lambda: gg.optim.LAMB(weight_decay=-1), "weight_decay must be"),
        (lambda: gg.optim.Muon(steps=0), "steps must be an int above 0"),
        (lambda: gg.optim.Muon(eps=0), "eps must be a number above 0"),
        (lambda: gg.optim.Muon(coefficients=(1, 2)), "coefficients are three"),
        (lambda: gg.optim.Muon(coefficients=3), "coefficients are three numbers"),
        (lambda: gg.optim.Muon(adjust_lr="x"), "adjust_lr is 'original' or 'match"),
        (lambda: gg.optim.SGD(0.1, clip_by_value=0), "clip_by_value must be a number"),
        (lambda: gg.optim.SGD(0.1, clip_by_global_norm=-1), "clip_by_global_norm must"),
        (lambda: gg.optim.SGD(0.1, clip_by_norm=0), "clip_by_norm must be a number"),
        (
            lambda: gg.optim.SGD(0.1, clip_by_value=1, clip_by_global_norm=1),
            "not both; got clip_by_value and clip_by_global_norm",
        ),
        (
            lambda: gg.optim.SGD(gg.constant([0.1])),
            r"lr must be a floating-point scalar; got .*float32\[1\]",
        ),
        (lambda: gg.optim.SGD(gg.constant(1)), "lr must be a floating-point scalar"),
    ],
)
def test_numbers_out_of_range_are_refused(make, message):
    with pytest.raises(gg.GraphError, match=message):
        make()


def test_what_is_trained_must_be_parameters_each_once():
    (w, b), loss = regression()
    sgd = gg.optim.SGD(0.1)
    with pytest.raises(gg.GraphError, match=r"only parameters are trained; got State"):
        sgd.updates(loss, [w, gg.state("s", 1.0)])
    with pytest.raises(gg.GraphError, match="only parameters are trained; got tanh"):
        sgd.updates(loss, [gg.tanh(w)])
    with pytest.raises(gg.GraphError, match=r"only parameters are trained; got 'w'"):
        sgd.updates(loss, ["w"])
    with pytest.raises(gg.GraphError, match=r"'b' .* among the parameters twice"):
        sgd.updates(loss, [w, b, b])
    with pytest.raises(gg.GraphError, match=r"expected a list of parameters"):
        sgd.updates(loss, w)


def test_every_parameter_must_have_a_part_in_the_loss():
    (w, b), loss = regression()
    spare = gg.parameter("spare", [1.0])
    with pytest.raises(gg.GradientError, match=r"does not depend on .*'spare'"):
        gg.optim.SGD(0.1).updates(loss, [w, b, spare])
    stopped = loss + gg.sum(gg.stop_gradient(spare))
    with pytest.raises(gg.GradientError, match=r"'spare'.* because stop_gradient"):
        gg.optim.SGD(0.1).updates(stopped, [w, b, spare])


def test_the_loss_must_be_a_scalar():
    (w, _), _ = regression()
    with pytest.raises(gg.GradientError, match="no scalar"):
        gg.optim.SGD(0.1).updates(gg.square(w), [w])
    with pytest.raises(gg.GraphError, match="expected a loss"):
        gg.optim.SGD(0.1).updates(None, [w])


def test_gradients_that_are_given_must_fit():
    (w, b), loss = regression()
    slopes = gg.gradients(loss, [w, b])
    with pytest.raises(gg.GraphError, match="a gradient for each of 2 parameters"):
        gg.optim.SGD(0.1).updates(loss, [w, b], slopes[:1])
    with pytest.raises(gg.GraphError, match=r"'w' .*expected type float64\[3,2\]; got"):
        gg.optim.SGD(0.1).updates(loss, [w, b], slopes[::-1])
    with pytest.raises(gg.GraphError, match="got None"):
        gg.optim.SGD(0.1).updates(loss, [w, b], [slopes[0], None])


def test_a_schedule_must_return_a_rate():
    (w, _), loss = regression()
    with pytest.raises(gg.GraphError, match="schedule of lr returned must be a number"):
        gg.optim.SGD(lambda step: None).updates(loss, [w])
    with pytest.raises(gg.GraphError, match="lr must be a floating-point scalar"):
        gg.optim.SGD(lambda step: step).updates(loss, [w])


# --- learning


@pytest.mark.parametrize(
    "optimizer",
    [
        gg.optim.SGD(0.1, momentum=0.9),
        gg.optim.SGD(0.5, momentum=0.9, nesterov=True, clip_by_global_norm=1.0),
        gg.optim.Adam(0.05),
        gg.optim.AdamW(0.05, weight_decay=1e-4),
        gg.optim.RMSProp(0.02),
        gg.optim.Adagrad(0.3),
        gg.optim.Adam(0.05, amsgrad=True),
        gg.optim.NAdam(0.05),
        gg.optim.RAdam(0.1, betas=(0.9, 0.99)),
        gg.optim.Adamax(0.05),
        gg.optim.Adadelta(eps=1e-3),
        gg.optim.Lion(0.02),
        gg.optim.LAMB(0.05),
    ],
    ids=lambda o: type(o).__name__,
)
def test_xor_is_learned(optimizer):
    rng = np.random.default_rng(1)
    x = gg.placeholder("x", ("batch", 2))
    y = gg.placeholder("y", ("batch", 1))
    W = gg.parameter("W", rng.standard_normal((2, 8)).astype("float32"))
    c = gg.parameter("c", np.zeros(8, "float32"))
    V = gg.parameter("V", rng.standard_normal((8, 1)).astype("float32"))
    output = gg.tanh(x @ W + c) @ V
    loss = gg.mean(gg.square(output - y))
    step = gg.compile([x, y], loss, optimizer.updates(loss, [W, c, V]))
    inputs, targets = [[0, 0], [0, 1], [1, 0], [1, 1]], [[0], [1], [1], [0]]
    for _ in range(300):
        step(inputs, targets)
    predicted = gg.compile([x], output)(inputs)
    assert (predicted.round() == targets).all()


def test_lamb_moves_weights_of_zero_by_the_rate():
    """Where ‖x‖ is 0, the ratio is 1: a first step is lr sign(g)."""
    w = gg.parameter("w", [0.0, 0.0], "float64")
    lamb = gg.optim.LAMB(0.25)
    gg.compile([], None, lamb.updates(gg.sum(w * gg.constant([3.0, -2.0])), [w]))()
    np.testing.assert_allclose(w.value, [-0.25, 0.25], rtol=1e-5)
