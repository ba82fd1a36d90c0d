"""Early stopping: when it stops, what it keeps, and in the training loop."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

import graphgpu as gg
from graphgpu import nn
from graphgpu.data import Dataset, digits
from graphgpu.train import RECIPES, EarlyStopping, run

NAN = float("nan")


@pytest.mark.parametrize(
    ("options", "measured", "stops_after", "best_at"),
    [
        ({"patience": 2}, [3, 2, 2.5, 2.2], 4, 2),
        ({"patience": 2}, [3, 2, 2, 1, 0], None, 5),
        ({"patience": 1}, [3, 3], 2, 1),
        ({"patience": 2, "min_delta": 0.5}, [3, 2.6, 2.4, 2.3, 1.9], 5, 3),
        ({"patience": 2, "min_delta": 0.5}, [3, 2.6, 2.55], 3, 1),
        ({"patience": 2, "mode": "max"}, [0.5, 0.9, 0.8, 0.7], 4, 2),
        ({"patience": 2}, [NAN, 2, NAN, NAN], 4, 2),
        ({"patience": 2}, [NAN, NAN], 2, 0),
        ({"patience": 2}, [float("inf"), 3, -float("inf")], None, 3),
    ],
)
def test_it_stops_after_so_many_that_are_no_better(
    options, measured, stops_after, best_at
):
    stopping = EarlyStopping(**options)
    answers = [stopping.update(value) for value in measured]
    assert answers.index(True) + 1 == stops_after if stops_after else not any(answers)
    assert stopping.best_at == best_at
    assert stopping.measured == len(measured)
    assert stopping.best == (measured[best_at - 1] if best_at else None)


def test_parameters_states_and_the_optimiser_are_put_back():
    layer = nn.BatchNorm(2)
    adam = gg.optim.Adam(0.1)
    x = gg.placeholder("x", ("batch", 2))
    y = layer(x, training=True)
    updates = adam.updates(gg.sum(y * y), layer.parameters(), also=gg.state_updates(y))
    step = gg.compile([x], None, updates, device="cpu")
    stopping = EarlyStopping(layer, adam, patience=3)
    data = np.random.default_rng(1).standard_normal((8, 2)).astype("float32")
    step(data)
    stopping.update(1.0)
    kept = [*layer.parameters(), *layer.states(), *adam.states()]
    before = [v.value for v in kept]
    for _ in range(2):
        step(data)
        stopping.update(2.0)
    assert any((v.value != b).any() for v, b in zip(kept, before, strict=True))
    stopping.restore()
    for variable, value in zip(kept, before, strict=True):
        np.testing.assert_array_equal(variable.value, value)


def test_a_run_that_is_resumed_counts_on_and_knows_the_best(tmp_path):
    path = tmp_path / "run.safetensors"

    def made():
        with gg.root_scope(0):
            layer = nn.Dense(2, 1)
            sgd = gg.optim.SGD(0.1, momentum=0.9)
            x = gg.placeholder("x", (3, 2))
            updates = sgd.updates(gg.sum(layer(x)), layer.parameters())
            step = gg.compile([x], None, updates, device="cpu")
            stopping = EarlyStopping(layer, sgd, patience=3)
        return step, stopping, (layer, sgd, stopping)

    def go(step, stopping, measured):
        for value in measured:
            step(np.ones((3, 2), "f"))
            stopping.update(value)

    step, stopping, everything = made()
    go(step, stopping, [3, 2.1, 2.5])
    gg.save(path, *everything)
    step, resumed, everything = made()
    gg.load(path, *everything)
    assert (resumed.best, resumed.best_at, resumed.measured) == (2.1, 2, 3)
    go(step, resumed, [NAN])
    assert not resumed.stopped
    go(step, resumed, [2.4])
    assert resumed.stopped
    resumed.restore()
    stopping.restore()
    for one, other in zip(resumed.kept, stopping.kept, strict=True):
        for a, b in zip(one.states(), other.states(), strict=True):
            np.testing.assert_array_equal(a.value, b.value)
    weight, other = resumed.kept[0].weight, stopping.kept[0].weight
    np.testing.assert_array_equal(weight.value, other.value)
    assert resumed.states()[0].path == "early_stopping/best"


def test_nothing_is_put_back_before_there_is_a_best():
    w = gg.parameter("w", 1.0)
    stopping = EarlyStopping(w)
    stopping.update(NAN)
    w.value = 2.0
    stopping.restore()
    assert w.value == 2.0


def test_arguments_that_do_not_fit_say_what_was_expected():
    for options, message in (
        ({"patience": 0}, "patience must be an int above 0; got 0"),
        ({"min_delta": -1}, "min_delta must be a number >= 0; got -1"),
        ({"min_delta": NAN}, "min_delta must be a number >= 0; got nan"),
        ({"mode": "best"}, "mode 'min' or 'max'; got 'best'"),
    ):
        with pytest.raises(gg.GraphError, match=message):
            EarlyStopping(**options)
    with pytest.raises(gg.GraphError, match=r"expected layers, optimisers, parameters"):
        EarlyStopping("model")


def test_lists_are_kept_as_what_is_in_them():
    layer, w = nn.Dense(1, 1), gg.parameter("w", 0.0)
    stopping = EarlyStopping([layer, [w]], w)
    stopping.update(1.0)
    w.value, layer.weight.value = 2.0, [[7.0]]
    stopping.restore()
    assert float(w.value) == 0.0
    assert float(layer.weight.value.item()) != 7.0


@pytest.mark.parametrize("bad", ["a", "1.5", None, [1.0], np.zeros(2)])
def test_a_measurement_is_one_number(bad):
    stopping = EarlyStopping()
    with pytest.raises(gg.GraphError) as caught:
        stopping.update(bad)
    assert str(caught.value) == (
        "expected a measurement that is one number, such as float(losses.mean()); got "
        f"{bad!r}"
    )
    assert stopping.measured == 0
    stopping.update(np.float32(1.5))
    assert stopping.best == 1.5


def test_a_run_with_patience_ends_early_and_keeps_the_best_epoch(tmp_path):
    data = digits()
    few = Dataset(
        "few digits",
        data.train_images[:32],
        data.train_labels[:32],
        data.test_images[:20],
        data.test_labels[:20],
        data.classes,
    )
    recipe = replace(RECIPES["digits"], load=lambda path: few, peak_lr=0.0)
    output = io.StringIO()
    history = run(
        recipe,
        data=None,
        out=tmp_path / "run",
        epochs=10,
        seed=0,
        device="cpu",
        console=Console(file=output),
        patience=2,
    )
    # Without learning, only the running statistics change: the loss may improve
    # for some epochs, but not by more than it did.
    losses = [e.test_loss for e in history.epochs]
    best = 1 + losses.index(min(losses))
    assert history.kept_epoch == best
    assert len(losses) in (best + 2, 10)
    assert not history.interrupted
    saved = json.loads((tmp_path / "run" / "history.json").read_text())
    assert saved["kept_epoch"] == best
    assert saved["settings"]["patience"] == 2
    assert f"kept the parameters of epoch {best}" in output.getvalue()
