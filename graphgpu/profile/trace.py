"""A run as a trace that Perfetto and chrome://tracing show."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graphgpu.backends.report import Step, Timings
from graphgpu.errors import SaveError
from graphgpu.profile.cost import kind_of

__all__ = ["write_trace"]


def write_trace(timings: Timings, path: str | os.PathLike[str]) -> Path:
    """Write the run of median length; return the file's path."""
    totals = timings.totals
    run = int(np.argsort(totals)[(len(totals) - 1) // 2])
    events = [*_threads(timings.steps), *_events(timings, run)]
    text = json.dumps({"traceEvents": events, "displayTimeUnit": "ms"})
    try:
        Path(path).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise SaveError(f"{path}: cannot be written ({error})") from error
    return Path(path)


def _threads(steps: Sequence[Step]) -> Iterator[dict[str, Any]]:
    """Yield the names of the trace's threads."""
    for lane in sorted({s.lane for s in steps if s.lane is not None}):
        yield _named(lane + 1, f"lane {lane}")
    yield _named(0, "once for all lanes")


def _named(thread: int, name: str) -> dict[str, Any]:
    event = {"name": "thread_name", "ph": "M", "pid": 1, "tid": thread}
    return {**event, "args": {"name": name}}


def _events(timings: Timings, run: int) -> Iterator[dict[str, Any]]:
    """Yield an event for each statement, and one around those of a function."""
    starts, ends = timings.starts[run] * 1e6, timings.ends[run] * 1e6
    steps = timings.steps
    first = 0
    for place, step in enumerate(steps):
        event = _event(step, step.text, starts[place], ends[place])
        if step.node is not None:
            event["args"] = {
                "node": step.node.variable.path,
                "operation": kind_of(step.node),
                "created": str(step.node.variable.trace),
            }
        yield event
        after = steps[place + 1] if place + 1 < len(steps) else None
        here = (step.function, step.lane, step.part)
        if after is None or (after.function, after.lane, after.part) != here:
            yield _event(step, step.function, starts[first], ends[place])
            first = place + 1


def _event(step: Step, name: str, start: float, end: float) -> dict[str, Any]:
    return {
        "name": name,
        "cat": step.node.variable.phase if step.node else "copy",
        "ph": "X",
        "ts": round(float(start), 3),
        "dur": round(float(end - start), 3),
        "pid": 1,
        "tid": 0 if step.lane is None else step.lane + 1,
    }
