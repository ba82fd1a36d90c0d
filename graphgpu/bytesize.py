"""Numbers of bytes as people write them: 1.5 GiB."""

from __future__ import annotations

import re

from graphgpu.errors import CompileError

__all__ = ["format_bytes", "parse_bytes"]

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_FACTORS = {u.lower(): 1024**i for i, u in enumerate(_UNITS)}
_FACTORS |= {u: 1000**i for i, u in enumerate(("b", "kb", "mb", "gb", "tb", "pb"))}


def format_bytes(count: int) -> str:
    """Return a number of bytes in the unit that it is at least one of.

    >>> format_bytes(1000), format_bytes(3 << 19), format_bytes(2 << 30)
    ('1000 B', '1.50 MiB', '2.00 GiB')
    """
    if abs(count) < 1024:
        return f"{count} B"
    power = min((abs(count).bit_length() - 1) // 10, len(_UNITS) - 1)
    # 1023.996 KiB would print as 1024.00.
    if round(abs(count) / 1024**power, 2) >= 1024 and power < len(_UNITS) - 1:
        power += 1
    return f"{count / 1024**power:.2f} {_UNITS[power]}"


def parse_bytes(text: str | int, name: str = "memory_budget") -> int:
    """Return a number of bytes given as an int, or as ``"2GiB"`` or ``"500 MB"``.

    KiB, MiB, GiB and TiB are powers of 1024, KB, MB, GB and TB powers of 1000.

    >>> parse_bytes("2GiB") == 2 * 1024**3, parse_bytes("1.5 kB"), parse_bytes(64)
    (True, 1500, 64)

    Raises
    ------
    CompileError
        It is neither, or not above 0; ``name`` is what the message calls it.
    """
    number = None
    if isinstance(text, int) and not isinstance(text, bool):
        number = text
    elif isinstance(text, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
        if found and (found[2] or "b").lower() in _FACTORS:
            number = int(float(found[1]) * _FACTORS[(found[2] or "b").lower()])
    if number is None or number <= 0:
        raise CompileError(
            f"{name}: expected a number of bytes above 0, such as 2**31 or '2GiB'; "
            f"got {text!r}"
        )
    return number
