"""The README's Python runs as it stands."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_code_in_the_readme_runs(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(BLOCKS[number], f"README block {number}", "exec"), {})


def test_ci_installs_and_tests_as_the_readme_says():
    commands = re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL)
    script = (README.parent / ".ci" / "run").read_text()
    for part in commands[-1].strip().split(" && ")[2:]:
        assert part in script
