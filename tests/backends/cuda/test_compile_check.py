"""What the compile check reads, compares, and tells; a few kernels compiled."""

import importlib
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import graphgpu as gg
from graphgpu.ops.elementwise import Unary
from graphgpu.ops.rounding import Step

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))
command = importlib.import_module("compile_check")
nvrtc, usage, units, graphs, representative, kept, caches, choice = (
    importlib.import_module(f"compile_checks.{name}")
    for name in "nvrtc usage units graphs representative kept cache choice".split()
)
Usage, Budget, Allowance = usage.Usage, usage.Budget, usage.Allowance
Entry = units.Entry

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
# As many values at once as COUNT, of which the threads of a block leave room for 64.
PLANTED = """
extern "C" __global__ void __launch_bounds__(1024) planted(float* x) {
  float v[COUNT];
#pragma unroll
  for (int i = 0; i < COUNT; ++i) v[i] = x[i * 1024 + threadIdx.x];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < COUNT; ++i) x[i * 1024 + threadIdx.x] = v[COUNT - 1 - i];
}
"""


@pytest.fixture
def installed():
    """Skip where there is no NVRTC."""
    if (reason := nvrtc.missing()) is not None:
        pytest.skip(reason)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 13])
@pytest.mark.parametrize("generated", [False, True])
def test_each_kernel_is_compiled_and_its_family_for_every_architecture(
    count, generated
):
    own = [
        Entry(f"{family}_{k}", f"{family} {k}", "", generated, family)
        for family in ("sum", "slice")
        for k in range(count)
    ]
    found = choice.chosen(own, [])
    ones = [Entry("of_a_test", str(k), "") for k in range(count)]
    assert choice.chosen([], ones) == {choice.ONE: ones}
    assert {e for part in found.values() for e in part} == set(own)
    assert set(found) == set(choice.USUAL if generated else choice.FAMILIES)
    for part in found.values():
        assert {e.family for e in part} == {"sum", "slice"}
        assert len(part) == len(set(part))


def test_the_log_tells_registers_stack_spills_and_shared_memory_of_each_entry():
    assert usage.parse_log(LOG) == {
        "exp_d5b1060f": Usage(255, 40, 28, 4096),
        "sum": Usage(8),
    }
    assert usage.parse_log("nothing of that kind\n") == {}


def test_a_family_is_a_name_without_the_digest_of_its_source():
    assert usage.family("sum_float32_parts_d5b1060f") == "sum_float32_parts"
    assert usage.family("exp_725a5e01ef6e") == "exp"
    assert usage.family("check_int64_10_m10_10_None") == "check_int64"
    assert usage.family("product_32x32") == "product_32x32"


def test_what_a_kernel_takes_beyond_its_budget_is_told():
    spills = {"sum": Allowance(8, "faster so")}
    budget = Budget("13.0", {"exp": 40, "sum": 255}, spills)
    assert usage.excesses("exp", Usage(40, stack=96), budget) == []
    assert usage.excesses("exp", Usage(41, spill=4), budget) == [
        "41 registers, budget 40",
        "4 bytes spilled, budget 0",
    ]
    assert usage.excesses("sum", Usage(255, spill=8), budget) == []
    assert usage.excesses("new", Usage(9), budget) == ["the family new has no budget"]


def test_a_budget_is_the_most_of_each_family_with_room_to_the_next_eight():
    found = [("exp", Usage(20)), ("exp", Usage(12, 8, 4, 64)), ("sum", Usage(29))]
    worst = usage.most(found)
    assert worst == {"exp": Usage(20, 8, 4, 64), "sum": Usage(29)}
    assert Budget("", {}).updated("13.0", worst).families == {"exp": 24, "sum": 40}


def test_an_update_adds_nothing_to_what_may_spill_and_drops_what_does_no_more():
    listed = {"exp": Allowance(8, "faster"), "sum": Allowance(4, "faster")}
    worst = {"exp": Usage(20, spill=12), "sum": Usage(9), "new": Usage(9, spill=4)}
    updated = Budget("13.0", {"old": 8}, listed).updated("13.1", worst)
    assert updated.spills == {"exp": Allowance(8, "faster")}
    assert set(updated.families) == {"exp", "sum", "new"}


@pytest.mark.parametrize("spills", [{}, {"exp": Allowance(8, "faster")}])
def test_a_budget_is_read_as_it_was_written(tmp_path, spills):
    path = tmp_path / "budget.json"
    budget = Budget("13.0", {"exp": 24, "sum": 16}, spills)
    budget.write(path)
    assert Budget.read(path) == budget
    assert Budget.read(tmp_path / "none.json") == Budget("", {})


def test_the_stored_budget_has_a_reason_for_each_family_that_may_spill():
    budget = Budget.read(command.BUDGET)
    assert set(budget.spills) <= set(budget.families)
    assert all(allowed.reason for allowed in budget.spills.values())


def test_equal_sources_are_compiled_once():
    x, y = (gg.placeholder(n, (7, 5)) for n in "xy")
    made = [k for _, k in graphs.kernels_of(gg.exp(x), gg.exp(y), gg.exp(x + y))]
    found = units.entries(("exp", k) for k in made)
    assert (len(made), len(found)) == (4, 2)


def test_kernels_of_element_expressions_are_generated_and_the_others_templates():
    x = gg.placeholder("x", (7, 5))
    device = graphs.Collector()
    gg.compile([x], gg.tanh(x * 2 + 1), device=device).source()
    made = [*device.found, *graphs.kernels_of(gg.exp(x)), *graphs.kernels_of(gg.sum(x))]
    found = [units.entry(kernel) for _, kernel in made]
    assert [(e.family, e.generated) for e in found] == [
        ("fused", True),
        ("exp", True),
        ("sum_float32", False),
    ]


def test_kernels_are_kept_once_each_while_something_runs(monkeypatch, tmp_path):
    # Undone at the end of the test.
    monkeypatch.setattr(graphs.Kernel, "__init__", graphs.Kernel.__init__)
    kept.keep(tmp_path)
    x, y = (gg.placeholder(n, (7, 5)) for n in "xy")
    made = [k for _, k in graphs.kernels_of(gg.exp(x), gg.exp(y), gg.sum(x))]
    replace(made[0], source=BAD)  # the test's own is not kept
    found = {e.name: e for e in kept.kept(tmp_path)}
    assert {e.source for e in found.values()} == {k.source for k in made}
    exp = found[made[0].name]
    assert (len(found), exp.family, exp.generated) == (2, "exp", True)
    assert exp.origin.startswith("exp() of float32[7,5] in tests/backends/cuda/")


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


def test_what_was_compiled_before_is_not_compiled_again(
    installed, monkeypatch, tmp_path
):
    path, found = tmp_path / "usages.json", [Entry("good", GOOD, "one")]
    first = caches.Cache(path)
    outcome = units.check(found, [75, 90], cache=first)
    first.write()
    again = units.check(found, [75, 90], cache=caches.Cache(path))
    assert (outcome.units, again.units) == (2, 0)
    assert again.usages == outcome.usages
    changed = [Entry("good", GOOD.replace("+= 1", "+= 2"), "one")]
    assert units.check(changed, [90], cache=caches.Cache(path)).units == 1
    monkeypatch.setattr(nvrtc, "version", lambda: "99.0")
    assert units.check(found, [90], cache=caches.Cache(path)).units == 1


@pytest.fixture
def checked(installed, monkeypatch, tmp_path, capsys):
    """What the command returns and says of sources, with a budget of its own."""
    path = tmp_path / "budget.json"
    monkeypatch.setattr(command, "collect", lambda nets: representative.Collected())
    monkeypatch.setattr(command, "usual_path", lambda: tmp_path / "usages.json")

    def run(entries, *arguments):
        monkeypatch.setattr(command, "_of_tests", lambda options: entries)
        monkeypatch.setattr(sys, "argv", ["", "--budget", str(path), *arguments])
        return command.main(), capsys.readouterr().out

    return run


def planted(count):
    """Return a kernel that holds so many values at once."""
    return [Entry("planted", PLANTED.replace("COUNT", str(count)), "a test")]


def test_the_command_fails_where_a_kernel_takes_more_registers_than_before(checked):
    status, said = checked(planted(8), "90")
    assert status == 1
    assert "the family planted has no budget" in said
    assert checked(planted(8), "--update")[0] == 0
    assert checked(planted(9), "90")[0] == 0
    status, said = checked(planted(32), "90")
    assert status == 1
    assert re.search(r"planted of a test, sm_90: \d+ registers, budget \d+\n", said)
    assert "--show FAMILY" in said
    assert "compile_check.py --update" in said


def test_the_command_fails_where_a_kernel_spills_and_no_update_allows_it(checked):
    for arguments in (["--update"], ["90"]):
        status, said = checked(planted(100), *arguments)
        assert status == 1
        assert re.search(r"planted of a test, sm_90: \d+ bytes spilled, budget 0", said)
    assert "has no budget" not in said
    assert "compile_check.py --update" not in said


def test_the_command_shows_a_family_and_the_source_of_what_takes_most(checked):
    _, said = checked([*planted(8), Entry("good", GOOD, "")], "90", "--show=good")
    assert "planted" not in said
    assert '1 | extern "C" __global__ void good(float* x)' in said


def test_the_command_shows_the_numbered_source_of_what_does_not_compile(checked):
    found = [Entry("good", GOOD, "one"), Entry("bad", BAD, "two")]
    status, said = checked(found, "90")
    assert status == 1
    assert "2 |   x[0] = nothing;" in said
    assert "1 errors" in said


def test_without_nvrtc_the_command_says_so_and_passes_only_if_it_may(
    monkeypatch, capsys
):
    monkeypatch.setattr(nvrtc, "missing", lambda: "NVRTC is not installed")
    for arguments, status in (([], 1), (["--optional"], 0)):
        monkeypatch.setattr(sys, "argv", ["", *arguments])
        assert command.main() == status
        assert "NVRTC is not installed" in capsys.readouterr().out
