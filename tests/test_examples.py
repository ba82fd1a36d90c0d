"""Every example runs as a reader would run it, warns of nothing and prints its table.

The numbers themselves are asserted in tests/worked/.
"""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
EXAMPLES = sorted(FOLDER.glob("*.py"))

# A line that each example must print, as a regular expression.
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


def run(path, folder):
    return subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        cwd=folder,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_example_runs_and_prints_its_table(path, tmp_path):
    if path.stem == "10_digits_cnn":
        pytest.importorskip("sklearn")
    result = run(path, tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert re.search(PRINTS[path.stem], result.stdout), result.stdout
    assert not list(tmp_path.iterdir())


def test_examples_are_numbered_in_teaching_order_and_all_listed():
    numbers = [int(p.stem.split("_")[0]) for p in EXAMPLES]
    assert numbers == list(range(1, len(EXAMPLES) + 1))
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"\((\d\d_\w+\.py)\)", readme)
    assert listed == [p.name for p in EXAMPLES]
    assert list(PRINTS) == [p.stem for p in EXAMPLES]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_example_is_short_and_names_its_source(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 110
    assert re.search(r"^Source: ", text, re.MULTILINE)


def test_missing_scikit_learn_ends_the_digits_example_with_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    path = FOLDER / "10_digits_cnn.py"
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    message = str(ended.value)
    assert "scikit-learn" in message
    assert 'pip install "graphgpu[data]"' in message
    assert "\n" not in message
