"""Numbers of bytes as people write them."""

import pytest

from graphgpu.bytesize import format_bytes, parse_bytes
from graphgpu.errors import CompileError


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (1024**2 - 1, "1.00 MiB"),
        (1024**2, "1.00 MiB"),
        (5 * 1024**3 // 2, "2.50 GiB"),
        (2000 * 1024**5, "2000.00 PiB"),
        (-2048, "-2.00 KiB"),
    ],
)
def test_bytes_are_printed_in_the_unit_that_they_are_at_least_one_of(count, text):
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (7, 7),
        ("7", 7),
        ("7b", 7),
        ("2GiB", 2 << 30),
        ("2 gib", 2 << 30),
        (" 0.5 MiB ", 1 << 19),
        ("3MB", 3_000_000),
        ("1TB", 10**12),
    ],
)
def test_bytes_are_read_in_units_of_1024_and_of_1000(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", [0, -1, "0", "-1GiB", "GiB", "2 GiBs", "", 2.5, True])
def test_what_is_no_number_of_bytes_is_refused(text):
    with pytest.raises(CompileError, match="number of bytes above 0, such as"):
        parse_bytes(text)
