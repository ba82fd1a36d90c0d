"""Every example runs as a reader would run it and warns of nothing.

The numbers that the first ones print are asserted in tests/worked/; the systems
have bars, and each is held here: the quick ones by default, all by the slow tests.
"""

import os
import re
import runpy
import subprocess
import sys

import gallery
import numpy as np
import pytest
from zoo import Bar, Options

import graphgpu as gg

EXAMPLES = gallery.examples()
SYSTEMS = [path for path in EXAMPLES if gallery.is_system(path)]
MEASURED = gallery.load_measured()
FAST = 10.0
"""Seconds: a system that took longer when it was measured runs with the slow tests."""

# A line that each of the other examples must print, as a regular expression.
PRINTS = {
    "01_computational_graph": r"b +1 +5 +5\n",
    "02_scalar_backpropagation": r"B has 8 nodes, one for each node of G",
    "03_single_unit": r"dL/dw1 +3\.985682 +3\.985682",
    "04_derivative_table": r"xᵀBx +xᵀ\(B \+ Bᵀ\)",
    "05_xor": r"w = \[0\. 0\.\], b = 0\.5000, J = 0\.2500",
    "06_backpropagation_equations": r"dJ/dh2 = matmul\(transpose\(W3\), δ3\)",
    "07_softmax_and_cross_entropy": r"gradient of the cross-entropy, y = 2",
    "08_convolution_gradients": r"dJ/dV: full convolution of G",
    "09_higher_derivatives": r"6   1\.0000   1\.0000",
    "10_digits_cnn": r"3 +0\.\d+ +9\d\.\d%",
    "11_own_operation": r"three derivatives: passed",
}


def stems(paths):
    return [path.stem for path in paths]


def main_of(path):
    """Return the main function of a system."""
    return runpy.run_path(str(path))["main"]


def run(path, folder, *arguments):
    return subprocess.run(
        [sys.executable, "-W", "error", str(path), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("stem", PRINTS)
def test_example_runs_and_prints_its_table(stem, tmp_path):
    result = run(gallery.EXAMPLES / f"{stem}.py", tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert re.search(PRINTS[stem], result.stdout), result.stdout
    if stem not in stems(SYSTEMS):
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", SYSTEMS, ids=lambda p: p.stem)
def test_two_steps_of_a_system_run_and_leave_figures_and_a_picture(path, tmp_path):
    result = main_of(path)(Options(device="cpu", quick=True))
    assert result.bars
    assert all(bar.bounds for bar in result.bars)
    assert len({bar.what for bar in result.bars}) == len(result.bars)
    bounds = [bar["bounds"] for bar in MEASURED[path.stem]["bars"]]
    assert [bar.bounds for bar in result.bars] == bounds
    result.picture.savefig(tmp_path / "picture.png")
    slopes = gg.gradients(result.graph, list(result.parameters))
    assert [s.shape for s in slopes] == [p.shape for p in result.parameters]
    gg.draw.to_dot([result.graph, *slopes])


def bars_held():
    """Yield the systems; those that take long are for the slow tests."""
    for path in SYSTEMS:
        seconds = MEASURED.get(path.stem, {"seconds": np.inf})["seconds"]
        slow = [pytest.mark.slow] if seconds > FAST else []
        yield pytest.param(path, id=path.stem, marks=slow)


@pytest.mark.parametrize("path", list(bars_held()))
def test_a_system_meets_its_bars(path, tmp_path):
    result = run(path, tmp_path, "--device=cpu")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    assert (tmp_path / "runs" / "examples" / f"{path.stem}.png").exists()


def test_examples_are_numbered_in_teaching_order_and_all_listed():
    numbers = [int(stem.split("_")[0]) for stem in stems(EXAMPLES)]
    assert numbers == list(range(1, len(EXAMPLES) + 1))
    readme = gallery.README.read_text(encoding="utf-8")
    for path in EXAMPLES:
        assert f"({path.name})" in readme
    assert set(PRINTS) | set(stems(SYSTEMS)) == set(stems(EXAMPLES))


def test_the_gallery_is_what_was_measured_and_every_bar_was_met():
    assert sorted(MEASURED) == stems(SYSTEMS)
    readme = gallery.README.read_text(encoding="utf-8")
    assert gallery.gallery(MEASURED) in readme
    for stem, result in MEASURED.items():
        assert result["met"], stem
        for name in (f"{stem}.png", f"{stem}.svg", f"{stem}_gradients.svg"):
            assert (gallery.PICTURES / name).stat().st_size > 1000


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_example_is_short_and_names_its_source(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert re.search(r"^Source: ", text, re.MULTILINE)


def one_line(ended):
    """Return the message with which an example ended."""
    message = str(ended.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    "path", [p for p in EXAMPLES if "digits()" in p.read_text()], ids=lambda p: p.stem
)
def test_missing_scikit_learn_ends_an_example_with_one_line(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    monkeypatch.setattr(sys, "argv", [str(path)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    message = one_line(ended)
    assert "scikit-learn" in message
    assert 'pip install "graphgpu[data]"' in message


@pytest.mark.parametrize("stem", ["12_linear_models", "15_mixture_of_experts"])
def test_missing_scikit_learn_ends_an_example_of_its_other_data(stem, monkeypatch):
    path = gallery.EXAMPLES / f"{stem}.py"
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    monkeypatch.setattr(sys, "argv", [str(path), "--device=cpu"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    assert one_line(ended) == (
        f"{stem}: the package scikit-learn is needed; install it with: "
        'pip install "graphgpu[data,plot]"'
    )


@pytest.mark.parametrize(
    "path",
    [p for p in SYSTEMS if "options.data" in p.read_text(encoding="utf-8")],
    ids=lambda p: p.stem,
)
def test_data_that_are_not_there_end_an_example_with_one_line(
    path, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    argv = [str(path), "--quick", "--full", "--device=cpu", "--data=nowhere"]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    message = one_line(ended)
    assert message.startswith(path.stem)
    assert "nowhere" in message
    assert not list(tmp_path.iterdir())


def test_cifar10_is_asked_for_before_anything_is_trained(monkeypatch):
    path = gallery.EXAMPLES / "19_residual_net.py"
    monkeypatch.setattr(sys, "argv", [str(path), "--full"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    assert one_line(ended) == (
        "19_residual_net: CIFAR-10 is needed: pass its folder or archive as --data"
    )


def test_missing_matplotlib_ends_an_example_with_one_line(monkeypatch, tmp_path):
    path = gallery.EXAMPLES / "14_multilayer_perceptron.py"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(sys, "argv", [str(path), "--quick"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    assert one_line(ended) == (
        "14_multilayer_perceptron: the package matplotlib is needed; install it "
        'with: pip install "graphgpu[data,plot]"'
    )
    assert not list(tmp_path.iterdir())


def test_a_device_that_is_not_there_ends_an_example_with_one_line(tmp_path):
    path = gallery.EXAMPLES / "14_multilayer_perceptron.py"
    result = run(path, tmp_path, "--quick", "--device=cuda:77")
    assert result.returncode == 1
    assert re.fullmatch(r"14_multilayer_perceptron: .*cuda:77.*\n", result.stderr)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("value", "bounds", "met"),
    [
        (0.97, {"at_least": 0.97}, True),
        (0.969, {"at_least": 0.97}, False),
        (1.0, {"at_most": 0.0}, False),
        (0.5, {"at_least": 0.0, "at_most": 1.0}, True),
        (np.nan, {"at_least": 0.0}, False),
        (np.nan, {"at_most": 0.0}, False),
    ],
)
def test_a_bar_is_met_within_its_bounds(value, bounds, met):
    assert Bar("x", value, **bounds).met is met
