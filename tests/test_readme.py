"""The Python in the README and in the docs runs as it stands."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "graphgpu" / "docs").glob("*.md"))]
BLOCKS = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(
        re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    )
]


@pytest.mark.parametrize("block", BLOCKS)
def test_code_in_the_documents_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "<block>", "exec"), {"__name__": "block"})


def test_ci_installs_and_tests_as_the_readme_says():
    commands = re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL)
    script = (ROOT / ".ci" / "run").read_text()
    for part in commands[-1].strip().split(" && ")[2:]:
        assert part in script
