"""Run the Python in Markdown pages, as a reader would who copies it out.

    python tools/snippets.py examples/tutorial/*.md

The snippets of a page run in order in one namespace, and the figures that they draw
are put beside it.  A block of ``text`` after a snippet is what it prints.
"""

from __future__ import annotations

import io
import re
import shutil
import sys
from contextlib import chdir, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

_PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_OUTPUT = re.compile(r"\s*^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Snippet:
    """One block of Python, and what the page says that it prints."""

    page: Path
    line: int
    """The line of the page on which the code starts."""
    code: str
    output: str | None

    def run(self, namespace: dict[str, object]) -> str:
        """Run the code; return what it prints.  Tracebacks have the page's lines."""
        source = "\n" * (self.line - 1) + self.code
        with redirect_stdout(io.StringIO()) as printed:
            # Not with the flags of this file, such as that of annotations.
            code = compile(source, str(self.page), "exec", dont_inherit=True)
            exec(code, namespace)
        return printed.getvalue()


def snippets(page: Path) -> list[Snippet]:
    """Return the blocks of Python in a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for block in _PYTHON.finditer(text):
        says = _OUTPUT.match(text, block.end())
        line = text.count("\n", 0, block.start(1)) + 1
        found.append(Snippet(page, line, block[1], says[1] if says else None))
    return found


def run_page(page: Path) -> list[tuple[Snippet, str]]:
    """Run a page's snippets in the current folder; return what each printed."""
    namespace: dict[str, object] = {"__name__": page.stem}
    return [(snippet, snippet.run(namespace)) for snippet in snippets(page)]


def main(pages: list[str]) -> int:
    """Run pages and keep their figures; return how often one prints something else."""
    wrong = 0
    for page in [Path(name).resolve() for name in pages]:
        with TemporaryDirectory() as folder, chdir(folder):
            results = run_page(page)
            for figure in Path(folder).glob("*.svg"):
                shutil.copyfile(figure, page.parent / figure.name)
        for snippet, printed in results:
            if snippet.output not in (None, printed):
                wrong += 1
                print(f"{page.name}:{snippet.line} prints:\n{printed}")
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
