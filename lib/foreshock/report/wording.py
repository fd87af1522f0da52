"""How values are written on the page: numbers, shares, times and sizes in short."""

from __future__ import annotations

import math
from datetime import UTC, datetime, time, timedelta

UNKNOWN = "–"
BYTE_UNITS = ("B", "kB", "MB", "GB", "TB")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def format_number(value: object) -> str:
    """A value in short: thousands with commas, four digits of a fraction, – for null and NaN.

    >>> format_number(12345), format_number(1.23456), format_number(2e-9), format_number(None)
    ('12,345', '1.235', '2e-09', '–')
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return UNKNOWN
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    magnitude = abs(value)
    if 1000 <= magnitude < 1e7:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def format_level(level: float | None) -> str:
    """A quantile's level with all its nines.

    >>> format_level(0.99999), format_level(None)
    ('0.99999', '–')
    """
    return UNKNOWN if level is None else f"{level:.10g}"


def format_share(part: float | None, whole: float | None) -> str:
    """A part of a whole in percent; – if either is not known or the whole is 0.

    >>> format_share(1, 8), format_share(0, 10), format_share(9_998, 10_000)
    ('12.5 %', '0 %', '99.98 %')
    """
    if part is None or not whole:
        return UNKNOWN
    if part == 0:
        return "0 %"
    percent = 100 * part / whole
    # In three digits 99.98 % would read as 100 %, which it is not.
    is_plain = 0.001 <= percent < 99.95 or part == whole
    return f"{percent:.3g} %" if is_plain else f"{percent:.4g} %"


def parse_time(text: object) -> datetime | None:
    """A time in UTC, without zone, from ISO text; None if the text is no time.

    >>> parse_time("2024-01-03T04:05:06+01:00")
    datetime.datetime(2024, 1, 3, 3, 5, 6)
    """
    try:
        parsed = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    # Times with a zone and times without do not compare, so all are without.
    return parsed.astimezone(UTC).replace(tzinfo=None) if parsed.tzinfo else parsed


def format_time(text: object) -> str:
    """A time in UTC, only its date at midnight; text that is no time stays as it is.

    >>> format_time("2024-01-01T00:00:00+00:00"), format_time("2024-01-01T12:30:00")
    ('2024-01-01', '2024-01-01 12:30:00 UTC')
    """
    if text is None:
        return UNKNOWN
    parsed = parse_time(text)
    if parsed is None:
        return str(text)
    return f"{parsed:%Y-%m-%d}" if parsed.time() == time.min else f"{parsed:%Y-%m-%d %H:%M:%S} UTC"


def format_bytes(count: float | None) -> str:
    """A number of bytes in the unit that is easiest to read.

    >>> format_bytes(12_345), format_bytes(0)
    ('12.3 kB', '0 B')
    """
    if count is None:
        return UNKNOWN
    power = min(len(BYTE_UNITS) - 1, int(math.log(count, 1000))) if count >= 1 else 0
    return f"{count / 1000**power:.3g} {BYTE_UNITS[power]}"


def iso_of_micros(micros: int) -> str:
    """Microseconds since 1970 in UTC as ISO text.

    >>> iso_of_micros(86_400_000_000)
    '1970-01-02T00:00:00+00:00'
    """
    return (EPOCH + timedelta(microseconds=micros)).isoformat()
