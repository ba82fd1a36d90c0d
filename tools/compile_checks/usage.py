"""What a kernel takes, read from ptxas's log, and the budget of each family."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Budget", "Usage", "excesses", "family", "most", "parse_log"]

_ENTRY = re.compile(r"Compiling entry function '(\w+)' for 'sm_(\d+)")
_STACK = re.compile(
    r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
)
_REGISTERS = re.compile(r"Used (\d+) registers")
_DIGEST = re.compile(r"_(?:[0-9a-f]{8}|[0-9a-f]{12})$")
_SHARED = re.compile(r"(\d+) bytes smem")


@dataclass(frozen=True, slots=True)
class Usage:
    """Registers of a thread; bytes of its stack and spills; bytes a block shares."""

    registers: int
    stack: int = 0
    spill: int = 0
    shared: int = 0

    def __or__(self, other: Usage) -> Usage:
        return Usage(
            max(self.registers, other.registers),
            max(self.stack, other.stack),
            max(self.spill, other.spill),
            max(self.shared, other.shared),
        )


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that kernels of each family may take, as of a version of NVRTC.

    Without an entry a family may take all registers, and spill nothing.
    """

    version: str
    families: Mapping[str, Usage]

    @staticmethod
    def read(path: Path) -> Budget:
        """Return a stored budget; an empty one if there is none."""
        if not path.exists():
            return Budget("", {})
        stored = json.loads(path.read_text())
        families = {k: Usage(**v) for k, v in stored["families"].items()}
        return Budget(stored["nvrtc"], families)

    def write(self, path: Path) -> None:
        """Store it, one line a family."""
        lines = [
            f"    {json.dumps(name)}: {json.dumps(_stored(usage))}"
            for name, usage in sorted(self.families.items())
        ]
        path.write_text(
            f'{{\n  "nvrtc": {json.dumps(self.version)},\n  "families": {{\n'
            + ",\n".join(lines)
            + "\n  }\n}\n"
        )


def _stored(usage: Usage) -> dict[str, int]:
    """Return what a budget limits: a program may share what it likes."""
    return {k: v for k, v in asdict(usage).items() if k in ("registers", "spill")}


def family(name: str) -> str:
    """Return a kernel's name without the digest of its source.

    >>> family("sum_float32_parts_d5b1060f")
    'sum_float32_parts'
    """
    return _DIGEST.sub("", name)


def parse_log(log: str) -> dict[str, Usage]:
    """Return what each entry function takes, by its name.

    The stack of a function that is called counts as that of the entry before it.
    """
    found: dict[str, Usage] = {}
    name = ""
    for line in log.splitlines():
        if match := _ENTRY.search(line):
            name = match[1]
            found[name] = Usage(0)
        elif name and (match := _STACK.search(line)):
            stack, stores, loads = map(int, match.groups())
            found[name] |= Usage(0, stack, stores + loads)
        elif name and (match := _REGISTERS.search(line)):
            shared = _SHARED.search(line)
            found[name] |= Usage(int(match[1]), shared=int(shared[1]) if shared else 0)
    return found


def most(usages: Iterable[tuple[str, Usage]]) -> dict[str, Usage]:
    """Return the most that kernels of each family take."""
    found: dict[str, Usage] = {}
    for name, usage in usages:
        key = family(name)
        found[key] = found[key] | usage if key in found else usage
    return found


def excesses(name: str, usage: Usage, budget: Budget) -> list[str]:
    """Return what a kernel takes beyond its family's budget, in words."""
    limit = budget.families.get(family(name), Usage(255))
    told = []
    if usage.registers > limit.registers:
        told.append(f"{usage.registers} registers, budget {limit.registers}")
    if usage.spill > limit.spill:
        told.append(f"{usage.spill} bytes spilled, budget {limit.spill}")
    return told
