"""Kernels deduplicated by source, many to a unit, compiled for architectures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from compile_checks import nvrtc
from compile_checks.usage import Usage, parse_log
from graphgpu.backends.cuda.kernel import Kernel

__all__ = ["Entry", "Failure", "Outcome", "check", "entries"]

_UNIT = 24
"""Kernels compiled at once: more gain little, and a failure takes them all again."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A source, one of its kernels' names, and what it was made for."""

    name: str
    source: str
    origin: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A kernel that does not compile."""

    entry: Entry
    architecture: int
    log: str

    def __str__(self) -> str:
        lines = self.entry.source.splitlines()
        width = len(str(len(lines)))
        numbered = "\n".join(f"{n:{width}} | {x}" for n, x in enumerate(lines, 1))
        return (
            f"kernel {self.entry.name} of {self.entry.origin} does not compile for "
            f"sm_{self.architecture}\n{numbered}\n{self.log}"
        )


@dataclass(eq=False)
class Outcome:
    """What each kernel takes on each architecture, and what does not compile."""

    usages: list[tuple[Entry, int, Usage]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    units: int = 0

    def __iadd__(self, other: Outcome) -> Outcome:
        self.usages += other.usages
        self.failures += other.failures
        self.units += other.units
        return self


def entries(kernels: Iterable[tuple[str, Kernel]]) -> list[Entry]:
    """Return each kernel of a source once, with where it was first met."""
    found: dict[tuple[str, str], Entry] = {}
    for origin, kernel in kernels:
        key = kernel.source, kernel.name
        found.setdefault(key, Entry(kernel.name, kernel.source, origin))
    return list(found.values())


def check(
    found: Sequence[Entry], architectures: Sequence[int], workers: int = 2
) -> Outcome:
    """Compile every kernel for every architecture."""
    sources: dict[str, list[Entry]] = {}
    for entry in found:
        sources.setdefault(entry.source, []).append(entry)
    groups = list(sources.values())
    units = [groups[k : k + _UNIT] for k in range(0, len(groups), _UNIT)]
    jobs = [(unit, a) for a in architectures for unit in units]
    total = Outcome()
    with ThreadPoolExecutor(workers) as pool:
        for outcome in pool.map(lambda job: _compile(*job), jobs):
            total += outcome
    return total


def _compile(unit: Sequence[Sequence[Entry]], architecture: int) -> Outcome:
    """Compile sources at once; if that fails, each alone, to see which it is."""
    names: dict[str, Entry] = {}
    parts = []
    for number, group in enumerate(unit):
        text = group[0].source
        for entry in group:
            text = _renamed(text, entry.name, f"{entry.name}_unit{number}")
            names[f"{entry.name}_unit{number}"] = entry
        parts.append(text)
    good, log = nvrtc.compile_source("\n".join(parts), architecture)
    if good:
        found = parse_log(log)
        usages = [(e, architecture, found[n]) for n, e in names.items() if n in found]
        lost = [
            Failure(e, architecture, "ptxas's log does not name it")
            for n, e in names.items()
            if n not in found
        ]
        return Outcome(usages, lost, 1)
    if len(unit) > 1:
        total = Outcome()
        for group in unit:
            total += _compile([group], architecture)
        return total
    good, log = nvrtc.compile_source(unit[0][0].source, architecture)
    return Outcome([], [Failure(unit[0][0], architecture, log)], 1)


def _renamed(source: str, name: str, new: str) -> str:
    """Return a source with its entry function under another name."""
    pattern = rf"(__global__[^;{{}}]*?\b){re.escape(name)}(\s*\()"
    text, count = re.subn(pattern, rf"\g<1>{new}\g<2>", source, count=1)
    return text if count else source
