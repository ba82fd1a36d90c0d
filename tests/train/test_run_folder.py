"""Run folders: writable before work begins, files whole or absent."""

import pytest

import graphgpu as gg
from graphgpu.train import RunFolder


def test_the_first_free_ordinal_is_taken(tmp_path):
    assert RunFolder.next_free(tmp_path, "run").path.name == "run-1"
    assert RunFolder.next_free(tmp_path, "run").path.name == "run-2"


def test_a_file_in_the_way_is_an_error(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(gg.SaveError, match="choose another with --out"):
        RunFolder(tmp_path / "taken")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.write("a.txt", "old")

    def fail(path):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(gg.SaveError, match="No space left on device"):
        folder.replace("a.txt", fail)
    assert [p.name for p in folder.path.iterdir()] == ["a.txt"]
    assert (folder.path / "a.txt").read_text() == "old"


def test_a_folder_that_holds_something_is_not_written_over(tmp_path):
    (tmp_path / "old.txt").write_text("kept")
    with pytest.raises(gg.SaveError, match="is not empty; choose another"):
        RunFolder(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["old.txt"]


def test_a_folder_is_found_to_be_empty_without_being_made(tmp_path):
    RunFolder.require_empty(tmp_path / "run")
    RunFolder.require_empty(tmp_path)
    assert not any(tmp_path.iterdir())
