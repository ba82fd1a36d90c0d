"""The command line, as a stranger uses it."""

import json
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from graphgpu.cli import main


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments):
        return CliRunner().invoke(main, list(arguments))

    return invoke


def test_training_on_digits_leaves_a_run_folder(run, tmp_path):
    result = run("train", "digits", "--epochs", "1")
    assert result.exit_code == 0, result.output
    assert "held-out accuracy" in result.output
    folder = tmp_path / "runs" / "digits-1"
    names = {p.name for p in folder.iterdir()}
    assert {
        "model.safetensors",
        "history.json",
        "curves.png",
        "graph.dot",
    } <= names
    history = json.loads((folder / "history.json").read_text())
    assert history["settings"]["recipe"] == "digits"
    assert len(history["epochs"]) == 1
    assert history["epochs"][0]["test_accuracy"] > 0.5


def test_a_second_run_takes_the_next_folder_and_gives_the_same_figures(run, tmp_path):
    for _ in range(2):
        assert run("train", "digits", "--epochs", "1").exit_code == 0
    first, second = (
        json.loads((tmp_path / f"runs/digits-{n}/history.json").read_text())
        for n in (1, 2)
    )
    for key in ("train_loss", "test_loss", "test_accuracy"):
        assert first["epochs"][0][key] == second["epochs"][0][key]


def test_a_run_folder_that_holds_something_is_refused_before_images_are_read(
    run, tmp_path
):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "old.txt").write_text("kept")
    result = run("train", "digits", "--out", "run")
    assert result.exit_code == 1
    assert result.output == (
        "Error: the run folder run is not empty; choose another with --out\n"
    )


def test_run_folder_that_cannot_be_written_is_refused_before_training(run, tmp_path):
    (tmp_path / "file").write_text("kept")
    result = run("train", "digits", "--out", "file/run")
    assert result.exit_code == 1
    assert "cannot be written" in result.output
    assert (tmp_path / "file").read_text() == "kept"


def test_absent_data_is_named(run):
    result = run("train", "mnist", "--data", "nowhere")
    assert result.exit_code == 1
    assert "nowhere" in result.output


def test_cuda_without_a_gpu_is_refused_with_the_cure(run):
    result = run("train", "digits", "--device", "cuda")
    assert result.exit_code == 1
    assert "device='cuda' cannot be used" in result.output
    assert 'device="cpu"' in result.output or "pip install" in result.output


def test_bench_shows_a_line_for_each_net(run):
    options = ["--device", "cpu", "--batch", "2", "--seconds", "0"]
    result = run("bench", "digits", "resnet20", *options)
    assert result.exit_code == 0, result.output
    title, *lines = result.output.splitlines()
    assert title.strip().startswith("A training step in float32 on cpu, graphgpu")
    words = [line.split() for line in lines]
    rows = [w for w in words if "digits" in w or "resnet20" in w]
    assert [(w[1], w[3]) for w in rows] == [("digits", "2"), ("resnet20", "2")]


def test_bench_on_cuda_without_a_gpu_is_refused_with_the_cure(run):
    result = run("bench", "digits", "--device", "cuda")
    assert result.exit_code == 1
    assert "device='cuda' cannot be used" in result.output


def test_doctor_names_versions_and_what_is_missing(run):
    result = run("doctor")
    assert result.exit_code == 0
    for word in ("graphgpu", "numpy", "BLAS", "NVIDIA driver", "Graphviz"):
        assert word in result.output


def test_draw_prints_dot_for_a_recipe(run):
    result = run("draw", "digits", "--forward")
    assert result.exit_code == 0, result.output
    assert result.output.lstrip().startswith("digraph")


def test_draw_takes_a_variable_from_a_file(run, tmp_path):
    (tmp_path / "model.py").write_text(
        "import graphgpu as gg\nx = gg.placeholder('x', ())\ny = x * x\n"
    )
    result = run("draw", "model.py:y", "-o", "y.dot")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "y.dot").read_text().lstrip().startswith("digraph")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nothing", "expected a recipe"),
        ("absent.py:y", "there is no file"),
        ("model.py:z", "defines no 'z'"),
        ("model.py:number", "variables"),
    ],
)
def test_draw_explains_a_target_it_cannot_draw(run, tmp_path, target, message):
    (tmp_path / "model.py").write_text("number = 3\n")
    result = run("draw", target)
    assert result.exit_code == 1
    assert message in result.output


def test_ctrl_c_saves_what_was_learned(tmp_path):
    command = [sys.executable, "-m", "graphgpu", "train", "digits", "--epochs", "500"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    lines = iter(process.stdout.readline, b"")
    assert any(line.startswith(b"epoch   1") for line in lines)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130, rest
    assert b"saved" in rest
    folder = tmp_path / "runs" / "digits-1"
    assert (folder / "model.safetensors").stat().st_size > 0
    assert json.loads((folder / "history.json").read_text())["interrupted"] is True


def test_data_for_the_bundled_digits_is_refused(run, tmp_path):
    result = run("train", "digits", "--data", "somewhere")
    assert result.exit_code == 1
    assert "leave out --data" in result.output
    assert not (tmp_path / "runs").exists()


def test_a_device_that_is_not_there_leaves_no_folder(run, tmp_path):
    assert run("train", "digits", "--device", "cuda").exit_code == 1
    assert not (tmp_path / "runs").exists()


def test_patience_ends_training_and_keeps_the_best_epoch(run, tmp_path):
    result = run("train", "digits", "--epochs", "2", "--patience", "1")
    assert result.exit_code == 0, result.output
    folder = tmp_path / "runs" / "digits-1"
    history = json.loads((folder / "history.json").read_text())
    losses = [e["test_loss"] for e in history["epochs"]]
    assert history["settings"]["patience"] == 1
    assert history["kept_epoch"] == 1 + losses.index(min(losses))
    assert f"kept the parameters of epoch {history['kept_epoch']}" in result.output


def test_a_patience_of_no_epochs_is_refused(run):
    result = run("train", "digits", "--patience", "0")
    assert result.exit_code == 2
    assert "--patience" in result.output
