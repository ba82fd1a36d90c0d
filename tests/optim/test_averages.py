"""Averages of the weights: by their definitions, how they are used and saved."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.optim import EMA, SWA

START = np.array([1.0, -2.0, 3.0])


def descent(make, dtype="float64", count=12):
    """Return the averages after each step, and the weights x₀, x₁, ..., as arrays."""
    w = gg.parameter("w", START, dtype)
    average = make(w)
    loss = gg.sum(gg.square(w) * gg.constant([1.0, 0.5, 0.25], dtype))
    updates = gg.optim.SGD(0.1).updates(loss, [w], averages=[average])
    assert set(average.states()) <= set(updates)
    step = gg.compile([], None, updates)
    weights, found = [w.value], []
    for _ in range(count):
        step()
        weights.append(w.value)
        found.append(average.averages[w].value)
    return np.array(found), np.array(weights)


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_a_debiased_average_weights_the_steps_by_powers_of_the_decay(
    decay, dtype, rtol
):
    found, weights = descent(lambda w: EMA([w], decay), dtype)
    for t, average in enumerate(found, start=1):
        powers = decay ** np.arange(t - 1, -1, -1.0)
        expected = powers @ weights[1 : t + 1] / powers.sum()
        np.testing.assert_allclose(average, expected, rtol=rtol)


@pytest.mark.parametrize("start", ["values", "ramp"])
def test_other_averages_start_from_the_first_values(start):
    found, weights = descent(lambda w: EMA([w], 0.6, start))
    expected = weights[0]
    for t, average in enumerate(found, start=1):
        d = 0.6 if start == "values" else min(0.6, (1 + t) / (10 + t))
        expected = d * expected + (1 - d) * weights[t]
        np.testing.assert_allclose(average, expected, rtol=1e-12)


@pytest.mark.parametrize(("start", "every"), [(1, 1), (4, 1), (3, 3), (20, 2)])
def test_stochastic_weight_averaging_is_the_mean_of_every_few_weights(start, every):
    found, weights = descent(lambda w: SWA([w], start, every))
    for t, average in enumerate(found, start=1):
        seen = [k for k in range(start, t + 1) if (k - start) % every == 0] or [t]
        np.testing.assert_allclose(average, weights[seen].mean(0), rtol=1e-12)
        if len(seen) == 1 and seen == [t]:
            np.testing.assert_array_equal(average, weights[t])


def test_programs_read_the_averages_in_the_place_of_the_parameters():
    layer = gg.nn.Dense(3, 2, dtype="float64")
    x = gg.placeholder("x", ("n", 3), "float64")
    y = layer(x)
    ema = EMA(layer.parameters(), 0.5)
    updates = gg.optim.SGD(0.1).updates(
        gg.mean(gg.square(y - 1)), layer.parameters(), averages=[ema]
    )
    step = gg.compile([x], None, updates)
    averaged, both = ema.apply(y), ema.apply([y, 2 * y])
    assert averaged.type == y.type
    assert ema.apply(x) is x
    batch = np.random.default_rng(0).standard_normal((4, 3))
    program = gg.compile([x], [y, averaged, *both])
    for _ in range(3):
        step(batch)
    plain, value, again, twice = program(batch)
    w, b = (ema.averages[p].value for p in layer.parameters())
    np.testing.assert_allclose(value, batch @ w + b, rtol=1e-12)
    np.testing.assert_allclose([again, twice / 2], [value, value], rtol=1e-12)
    assert abs(plain - value).max() > 1e-3


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_are_averaged_in_float32_and_read_in_their_dtype(dtype):
    w = gg.parameter("w", START, dtype)
    ema = EMA([w], 0.99)
    updates = gg.optim.SGD(0.1).updates(gg.sum(w), [w], averages=[ema])
    assert ema.averages[w].dtype.name == "float32"
    assert ema.apply(w * 2).dtype == w.dtype
    gg.compile([], None, updates)()
    np.testing.assert_array_equal(ema.averages[w].value, w.value.astype("float32"))


def test_a_skipped_step_is_not_averaged():
    w, x = gg.parameter("w", 1.0), gg.placeholder("x", ())
    ema, swa = EMA([w], 0.9), SWA([w], 1)
    sgd = gg.optim.SGD(0.1)
    updates = sgd.updates(w * x, [w], loss_scale="dynamic", averages=[ema, swa])
    step = gg.compile([x], None, updates)
    step(1.0)
    before = [s.value for a in (ema, swa) for s in a.states()]
    step(float("inf"))
    after = [s.value for a in (ema, swa) for s in a.states()]
    np.testing.assert_array_equal(before, after)


def test_the_statistics_of_normalisation_can_be_averaged_with_the_weights():
    with gg.root_scope(0):
        norm = gg.nn.BatchNorm(3)
        x = gg.placeholder("x", ("n", 3))
        y = norm(x, training=True)
    stored = [*norm.parameters(), *norm.states()]
    stored = [s for s in stored if s.dtype.kind == "f"]
    ema = EMA(stored, 0.5)
    updates = gg.optim.SGD(0.1).updates(
        gg.sum(y * y * x), norm.parameters(), also=gg.state_updates(y), averages=[ema]
    )
    gg.compile([x], None, updates)(np.arange(12, dtype="f").reshape(4, 3))
    for owner, average in ema.averages.items():
        np.testing.assert_array_equal(average.value, owner.value)
    assert ema.apply(norm(x)).type == y.type


def test_averages_are_state_that_is_saved_and_loaded(tmp_path):
    def build():
        with gg.root_scope(0):
            w = gg.parameter("w", START)
            ema = EMA([w], 0.9, "ramp")
            updates = gg.optim.Adam(0.1).updates(gg.sum(w * w), [w], averages=[ema])
        return w, ema, gg.compile([], None, updates)

    w, ema, step = build()
    step()
    assert [s.path for s in ema.states()] == ["w/ema", "ema_step"]
    gg.save(tmp_path / "ema.safetensors", ema)
    gg.save(
        tmp_path / "model.safetensors", {p.path: a for p, a in ema.averages.items()}
    )
    other, loaded, _ = build()
    gg.load(tmp_path / "ema.safetensors", loaded)
    for left, right in zip(ema.states(), loaded.states(), strict=True):
        np.testing.assert_array_equal(left.value, right.value)
    gg.load(tmp_path / "model.safetensors", {"w": other})
    np.testing.assert_array_equal(other.value, ema.averages[w].value)


def test_an_average_of_your_own_needs_a_weight_alone():
    class Latest(gg.optim.Average):
        name = "latest"

        def weight(self, step):
            return 1 / step.cast("float64")

    found, weights = descent(lambda w: Latest([w]))
    np.testing.assert_allclose(found[-1], weights[1:].mean(0), rtol=1e-12)


def test_what_cannot_be_averaged_is_refused():
    w = gg.parameter("w", 1.0)
    with pytest.raises(gg.GraphError, match="decay must be a number from 0 to below 1"):
        EMA([w], 1.0)
    with pytest.raises(gg.GraphError, match="start is 'debiased', 'ramp' or 'values'"):
        EMA([w], 0.5, "zero")
    with pytest.raises(
        gg.GraphError, match=r"expected a list of parameters, .* got Param"
    ):
        EMA(w)
    with pytest.raises(gg.GraphError, match="at least one parameter to average"):
        EMA([])
    with pytest.raises(gg.GraphError, match=r"'w' .* is to be averaged twice"):
        EMA([w, w])
    with pytest.raises(
        gg.GraphError, match=r"floating-point parameters or state .* got"
    ):
        EMA([gg.state("n", 0)])
    with pytest.raises(gg.GraphError, match="start must be an int above 0"):
        SWA([w], 0)
    with pytest.raises(gg.GraphError, match="every must be an int above 0"):
        SWA([w], 1, 0.5)
    ema = EMA([w], 0.5)
    with pytest.raises(gg.GraphError, match="is among the updates already"):
        gg.optim.SGD(1).updates(w * w, [w], averages=[ema, ema])


def test_one_average_need_not_be_in_a_list():
    w = gg.parameter("w", 1.0)
    ema = EMA([w], 0.5)
    assert ema.step in gg.optim.SGD(1).updates(w * w, [w], averages=ema)
    with pytest.raises(gg.GraphError, match=r"expected averages such as .*EMA"):
        gg.optim.SGD(1).updates(w * w, [w], averages=[w])
    with pytest.raises(gg.GraphError, match=r"such as layer.parameters\(\); got Dense"):
        EMA(gg.nn.Dense(2, 2))


def test_averages_go_on_where_they_were_saved(tmp_path):
    """Ten steps are five, saved and loaded into new variables, and five more."""

    def made():
        with gg.root_scope(0):
            w = gg.parameter("w", 2.0, "float64")
            adam, ema, swa = gg.optim.Adam(0.1), EMA([w], 0.9), SWA([w], 3, 2)
            updates = adam.updates(w * w, [w], averages=[ema, swa])
            return gg.compile([], None, updates), (w, adam, ema, swa)

    step, whole = made()
    for _ in range(10):
        step()
    step, first = made()
    for _ in range(5):
        step()
    gg.save(tmp_path / "half.safetensors", *first)
    step, second = made()
    gg.load(tmp_path / "half.safetensors", *second)
    for _ in range(5):
        step()
    for left, right in zip(whole[2:], second[2:], strict=True):
        for a, b in zip(left.states(), right.states(), strict=True):
            np.testing.assert_array_equal(a.value, b.value)
