"""How values are written: null is a dash, 0 is 0, and nothing is rounded into what it is not."""

from __future__ import annotations

import pytest
from foreshock.report.wording import format_bytes, format_number, format_share, format_time


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0, "0"),
        (0.0, "0"),
        (12345, "12,345"),
        (12345.6, "12,346"),
        (1.23456, "1.235"),
        (2e-9, "2e-09"),
        (True, "True"),
        ("x", "x"),
    ],
)
def test_numbers(value: object, text: str) -> None:
    assert format_number(value) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 10, "0 %"),
        (None, 10, "–"),
        (1, 0, "–"),
        (1, 8, "12.5 %"),
        (1, 10**6, "0.0001 %"),
        (9_998, 10_000, "99.98 %"),
        (5, 5, "100 %"),
    ],
)
def test_shares(part: float | None, whole: float, text: str) -> None:
    assert format_share(part, whole) == text


def test_bytes_and_times() -> None:
    sizes = [format_bytes(count) for count in (0, None, 12_345, 10**12)]
    assert sizes == ["0 B", "–", "12.3 kB", "1 TB"]
    assert [format_time(text) for text in (None, "2024-01-01", "x")] == ["–", "2024-01-01", "x"]
