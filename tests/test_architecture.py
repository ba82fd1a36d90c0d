"""The layers of the package, read from its import statements."""

import ast
import importlib.util
from functools import cache
from pathlib import Path

import pytest

import graphgpu

ROOT = Path(graphgpu.__file__).parent

# Each part may import those above it; parts on one line do not import each other.
LAYERS = [
    ["errors"],
    ["dims", "dtypes", "optional", "interrupts"],
    ["types"],
    ["graph"],
    ["ops"],
    ["gradient"],
    ["control"],
    ["sequences"],
    ["schedule", "memory", "order", "bytesize", "garbage", "reference"],
    ["rewrite"],
    ["binding", "plan", "finite"],
    ["nodes", "request"],
    ["backends"],
    ["profile", "explain", "specialization"],
    ["executor"],
    ["compiling"],
    ["testing", "saving", "doctor"],
    ["nn", "optim", "data", "draw", "interop"],
    ["train"],
    ["cli"],
]
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}


def modules():
    """Yield the dotted name and the path of every module."""
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


@cache
def imports(path):
    """Return the modules of the package that a file imports, and whether inside."""
    found = []
    tree = ast.parse(path.read_text())
    top = set(tree.body)
    for node in ast.walk(tree):
        inside = node not in top
        if isinstance(node, ast.Import):
            found += [(a.name, inside) for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                is_module = (
                    node.module.startswith("graphgpu")
                    and importlib.util.find_spec(node.module).submodule_search_locations
                )
                if is_module and (
                    (ROOT.parent / Path(*full.split("."))).with_suffix(".py").exists()
                    or (ROOT.parent / Path(*full.split("."))).is_dir()
                ):
                    found.append((full, inside))
                else:
                    found.append((node.module, inside))
    return [(n, i) for n, i in found if n.split(".")[0] == "graphgpu"]


def part(name):
    """Return the part of the package that a module belongs to."""
    pieces = name.split(".")
    return pieces[1] if len(pieces) > 1 else ""


NAMES = [name for name, _ in modules() if part(name)]
PATHS = dict(modules())


@pytest.mark.parametrize("name", NAMES)
def test_module_imports_only_what_is_above_it(name):
    own = part(name)
    if own == "__main__":
        own = "cli"
    for imported, _ in imports(PATHS[name]):
        other = part(imported)
        if not other:
            assert own in ("cli", "train"), f"{name} imports the package's root"
        elif other != own:
            assert RANK[other] < RANK[own], f"{name} imports {imported}"


def test_there_are_no_import_cycles():
    graph = {n: {i for i, _ in imports(p)} & set(PATHS) for n, p in PATHS.items()}
    done, active = set(), []

    def visit(name):
        assert name not in active, " -> ".join([*active[active.index(name) :], name])
        if name in done:
            return
        active.append(name)
        for other in sorted(graph[name]):
            visit(other)
        active.pop()
        done.add(name)

    for name in graph:
        visit(name)


@pytest.mark.parametrize("name", NAMES)
def test_modules_are_short_and_import_at_the_top(name):
    path = PATHS[name]
    lines = path.read_text().count("\n")
    assert lines <= 400, f"{path} has {lines} lines"
    inside = [n for n, within in imports(path) if within]
    assert not inside, f"{path} imports {inside} inside a function"


@pytest.mark.parametrize("name", NAMES)
def test_functions_are_at_most_fifty_lines(name):
    for node in ast.walk(ast.parse(PATHS[name].read_text())):
        if isinstance(node, ast.FunctionDef):
            doc = ast.get_docstring(node, clean=False)
            length = node.end_lineno - node.lineno + 1 - (doc or "").count("\n")
            assert length <= 50, f"{name}.{node.name} has {length} lines"


@pytest.mark.parametrize("name", NAMES)
def test_cupy_is_imported_by_the_cuda_backend_alone(name):
    text = PATHS[name].read_text()
    if not name.startswith("graphgpu.backends.cuda"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                assert not any(a.name.split(".")[0] == "cupy" for a in node.names)
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] != "cupy"
