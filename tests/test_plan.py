"""Plans: their figures, the table, JSON, pictures."""

import json

import pytest

import graphgpu as gg
from graphgpu import optional, plan
from graphgpu.errors import MissingDependencyError, SaveError
from graphgpu.memory import Buffer, place
from graphgpu.plan import Plan


def small_plan(**others):
    x = gg.placeholder("x", (1024,))
    h = gg.exp(x).named("h")
    (dx,) = gg.gradients(gg.sum(h * h), [x])
    buffers = [
        Buffer("h", 4096, 0, 3, h),
        Buffer("h * h", 8192, 1, 2, h),
        Buffer("dx", 4096, 3, 4, dx),
        Buffer("scratch", 100, 1, 1, None, "workspace"),
        Buffer("nothing", 0, 0, 4, h),
    ]
    steps = ["exp", "multiply", "sum", "gradient", "update"]
    return Plan.of(buffers, place(buffers), steps, **others)


def test_the_peak_is_the_arena_and_the_workspaces_beside_it():
    made = small_plan(workspace_bytes=1000, parameter_bytes=5, output_bytes=7)
    assert made.widest_bytes == made.arena_bytes == 4096 + 8192 + 128
    assert made.peak_bytes == made.arena_bytes + 1000


def test_the_largest_buffers_come_first_with_their_lines():
    first, second, third = small_plan().largest(3)
    assert [b.label for b in (first, second, third)] == ["h * h", "h", "dx"]
    assert (first.nbytes, first.first, first.last, first.kind) == (
        8192,
        1,
        2,
        "forward",
    )
    assert third.kind == "gradient"
    assert first.created.startswith("test_plan.py:")
    assert len(small_plan().largest()) == 5


def test_buffers_carry_their_offsets():
    made = small_plan()
    assert {b.label: b.offset for b in made.buffers}["nothing"] == 0
    assert all(b.offset + b.nbytes <= made.arena_bytes for b in made.buffers)
    (scratch,) = [b for b in made.buffers if b.kind == "workspace"]
    assert scratch.created == ""


def test_the_bytes_alive_are_counted_step_by_step():
    assert small_plan().alive() == [4096, 4096 + 8192 + 100, 4096 + 8192, 8192, 4096]


def test_the_table_has_totals_in_units_and_lines_of_creation():
    text = str(
        small_plan(
            sizes={"batch": 64},
            workspace_bytes=1024,
            parameter_bytes=3 << 20,
            staging_bytes=10,
            written_order_bytes=24832,
        )
    )
    assert text.startswith("memory plan for batch=64\npeak ")
    for line in [
        "peak              13.12 KiB  13,440 bytes",
        "  arena           12.12 KiB  5 buffers, 1.000 of the widest step",
        "  workspaces       1.00 KiB",
        "order as written  24.25 KiB  the order chosen: 50.0% of it",
        "parameters         3.00 MiB",
        "inputs                 10 B",
        "outputs                 0 B",
        "the 5 largest of 5 buffers",
    ]:
        assert line in text.splitlines()
    assert "created at" in text
    assert "test_plan.py:" in text
    assert max(map(len, text.splitlines())) <= 120


def test_a_plan_of_nothing_prints():
    text = str(Plan.of([], place([]), []))
    assert "peak          0 B  0 bytes" in text
    assert "largest" not in text
    assert "order as written" not in text


def test_json_has_every_buffer_and_figure():
    content = json.loads(small_plan(sizes={"batch": 2}, output_bytes=7).to_json())
    assert content["sizes"] == {"batch": 2}
    assert content["peak_bytes"] == content["arena_bytes"] == 12416
    assert content["output_bytes"] == 7
    assert content["written_order_bytes"] is None
    assert len(content["buffers"]) == 5
    first, *_, scratch, _ = content["buffers"]
    assert first["nbytes"] == 4096
    assert first["created"].partition(":")[0].endswith("test_plan.py")
    assert scratch["created"] is None


@pytest.mark.parametrize("name", ["plan.svg", "plan.png"])
def test_a_picture_is_the_same_file_each_time(tmp_path, name):
    made = small_plan()
    path = made.picture(tmp_path / name)
    content = path.read_bytes()
    assert path == tmp_path / name
    assert made.picture(str(path)).read_bytes() == content


def test_a_picture_names_the_phases_and_the_arena(tmp_path):
    text = small_plan().picture(tmp_path / "plan.svg").read_text()
    for word in ("forward", "gradient", "workspace", "alive", "arena of 12.12 KiB"):
        assert word in text
    assert "update" not in text


def test_a_picture_of_very_many_buffers_says_what_it_leaves_out(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "_MOST_DRAWN", 3)
    text = small_plan().picture(tmp_path / "plan.svg").read_text()
    assert "(without 1 small buffers)" in text


def test_an_empty_plan_is_drawn(tmp_path):
    assert Plan.of([], place([]), []).picture(tmp_path / "plan.png").exists()


def test_an_unknown_suffix_is_refused(tmp_path):
    with pytest.raises(SaveError, match=r"plan\.txt: expected a suffix among \.svg"):
        small_plan().picture(tmp_path / "plan.txt")


def test_a_picture_that_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(SaveError, match="cannot be written"):
        small_plan().picture(tmp_path / "absent" / "plan.png")


def test_a_picture_needs_matplotlib(tmp_path, monkeypatch):
    def fail(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(optional.importlib, "import_module", fail)
    with pytest.raises(MissingDependencyError, match=r"plan\.png.*graphgpu\[plot\]"):
        small_plan().picture(tmp_path / "plan.png")
