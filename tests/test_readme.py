"""The Python in the README and in the docs runs as it stands."""

import importlib
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "graphgpu" / "docs").glob("*.md"))]

sys.path.insert(0, str(ROOT / "tools"))
snippets = importlib.import_module("snippets")
SNIPPETS = [
    pytest.param(snippet, id=f"{page.name}-{number}")
    for page in PAGES
    for number, snippet in enumerate(snippets.snippets(page))
]


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_code_in_the_documents_runs(snippet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    snippet.run({"__name__": "block"})


def test_ci_installs_and_tests_as_the_readme_says():
    commands = re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL)
    script = (ROOT / ".ci" / "run").read_text()
    for part in commands[-1].strip().split(" && ")[2:]:
        assert part in script
