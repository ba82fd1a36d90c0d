"""What the compile check reads, compares, and tells; a few kernels compiled."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import graphgpu as gg
from graphgpu.ops.elementwise import Unary
from graphgpu.ops.rounding import Step

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))
nvrtc, usage, units, graphs, representative = (
    importlib.import_module(f"compile_checks.{name}")
    for name in "nvrtc usage units graphs representative".split()
)
Usage, Budget, Entry = usage.Usage, usage.Budget, units.Entry

LOG = """\
ptxas info    : 0 bytes gmem, 24 bytes cmem[4]
ptxas info    : Compiling entry function 'exp_d5b1060f' for 'sm_90'
ptxas info    : Function properties for exp_d5b1060f
ptxas         .     40 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 4096 bytes smem, 40 bytes cmem[0]
ptxas info    : Compile time = 1.550 ms
ptxas info    : Compiling entry function 'sum' for 'sm_90a'
ptxas info    : Function properties for sum
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 8 registers, used 0 barriers
"""
GOOD = 'extern "C" __global__ void good(float* x) { x[threadIdx.x] += 1; }\n'
BAD = 'extern "C" __global__ void bad(float* x) {\n  x[0] = nothing;\n}\n'


@pytest.fixture
def installed():
    """Skip where there is no NVRTC."""
    if (reason := nvrtc.missing()) is not None:
        pytest.skip(reason)


def test_the_log_tells_registers_stack_spills_and_shared_memory_of_each_entry():
    assert usage.parse_log(LOG) == {
        "exp_d5b1060f": Usage(255, 40, 28, 4096),
        "sum": Usage(8),
    }
    assert usage.parse_log("nothing of that kind\n") == {}


def test_a_family_is_a_name_without_the_digest_of_its_source():
    assert usage.family("sum_float32_parts_d5b1060f") == "sum_float32_parts"
    assert usage.family("exp_725a5e01ef6e") == "exp"
    assert usage.family("product_32x32") == "product_32x32"


def test_more_registers_or_spilled_bytes_than_the_budget_are_told():
    budget = Budget("13.0", {"exp": Usage(40), "sum": Usage(255, spill=8)})
    assert usage.excesses("exp_d5b1060f", Usage(40, stack=96), budget) == []
    assert usage.excesses("exp", Usage(41, spill=4), budget) == [
        "41 registers, budget 40",
        "4 bytes spilled, budget 0",
    ]
    assert usage.excesses("sum", Usage(255, spill=8), budget) == []
    # A family without a budget may spill nothing.
    assert usage.excesses("new", Usage(255), budget) == []
    assert usage.excesses("new", Usage(9, spill=1), budget) != []


def test_a_budget_is_the_most_of_each_family_and_is_read_as_it_was_written(tmp_path):
    found = [("exp_d5b1060f", Usage(20)), ("exp_0ba323ef", Usage(12, 8, 4, 64))]
    worst = usage.most([*found, ("sum", Usage(9))])
    assert worst == {"exp": Usage(20, 8, 4, 64), "sum": Usage(9)}
    path = tmp_path / "budget.json"
    Budget("13.0", worst).write(path)
    assert Budget.read(path) == Budget(
        "13.0", {"exp": Usage(20, spill=4), "sum": Usage(9)}
    )
    assert Budget.read(tmp_path / "none.json") == Budget("", {})


def test_equal_sources_are_compiled_once():
    x, y = (gg.placeholder(n, (7, 5)) for n in "xy")
    made = [k for _, k in graphs.kernels_of(gg.exp(x), gg.exp(y), gg.exp(x + y))]
    found = units.entries(("exp", k) for k in made)
    assert (len(made), len(found)) == (4, 2)


def test_the_operations_of_a_kind_are_those_that_none_derives_from():
    found = representative.leaves(Unary)
    assert len(found) == len(set(found)) > 30
    assert Step not in found
    assert {c.__name__ for c in found} >= {"Exp", "Floor", "Isnan"}


def test_a_planned_step_gives_its_kernels_and_no_memory_is_needed():
    found = representative.Collected()
    representative._step(found, representative.NETS["xor"], "float32")
    assert "Matmul" in {c.__name__ for c in found.operations}
    assert found.kernels
    assert not found.gaps


def test_a_failure_shows_the_numbered_source_and_the_log():
    told = str(units.Failure(Entry("bad", BAD, "exp of x"), 90, "k.cu(2): error"))
    assert told.startswith("kernel bad of exp of x does not compile for sm_90")
    assert "\n2 |   x[0] = nothing;\n" in told
    assert told.endswith("k.cu(2): error")


def test_a_kernel_of_a_unit_that_does_not_compile_is_found(installed):
    found = [Entry("good", GOOD, "one"), Entry("bad", BAD, "two")]
    outcome = units.check(found, [90])
    (failure,) = outcome.failures
    assert failure.entry.name == "bad"
    assert "kernel.cu(2): error" in failure.log
    assert "nothing" in failure.log
    assert "2 |   x[0] = nothing;" in str(failure)
    assert [e.name for e, _, _ in outcome.usages] == ["good"]


def test_kernels_of_the_rules_compile_and_spill_nothing(installed):
    x = gg.placeholder("x", (33, 31))
    y = gg.softmax(gg.cast(gg.matmul(x, gg.transpose(x)), "bfloat16"), -1)
    found = units.entries((str(n), k) for n, k in graphs.kernels_of(gg.sum(y, 0)))
    outcome = units.check(found, [90])
    assert not outcome.failures, str(outcome.failures[0])
    assert outcome.units == 1
    assert {e.name for e, _, _ in outcome.usages} == {e.name for e in found}
    assert all(0 < u.registers < 256 and not u.spill for _, _, u in outcome.usages)


def test_the_command_fails_where_a_kernel_takes_more_than_its_budget(
    installed, monkeypatch, tmp_path, capsys
):
    command = importlib.import_module("compile_check")
    x = gg.placeholder("x", (33, 31))
    made = representative.Collected()
    made.add(graphs.kernels_of(gg.exp(x)))
    monkeypatch.setattr(command, "collect", lambda nets: made)
    path = tmp_path / "budget.json"

    def status(*arguments):
        monkeypatch.setattr(sys, "argv", ["", "--budget", str(path), *arguments])
        return command.main()

    assert status("--update") == 0
    budget = Budget.read(path)
    assert status("90") == 0
    Budget(budget.version, {"exp": Usage(2)}).write(path)
    assert status("90") == 1
    assert "registers, budget 2" in capsys.readouterr().out
    made.kernels[0] = "exp", replace(made.kernels[0][1], source=BAD, name="bad")
    assert status("90") == 1
    assert "2 |   x[0] = nothing;" in capsys.readouterr().out
