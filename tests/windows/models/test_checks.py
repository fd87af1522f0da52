"""Every detector of windows in the registry × every property that a detector must have."""

from __future__ import annotations

import functools

import pytest
from foreshock.detectors import REGISTRY, DetectorEntry
from support.detector_checks import Check, checks_of, make_detector, some_windows

WINDOWS = some_windows()
PAIRS = list(checks_of(iter(REGISTRY.values())))


@pytest.mark.parametrize(
    ("entry", "check"), PAIRS, ids=[f"{entry.name}-{check.__name__}" for entry, check in PAIRS]
)
def test_detector(entry: DetectorEntry, check: Check) -> None:
    check(entry, functools.partial(make_detector, entry, WINDOWS), WINDOWS)
