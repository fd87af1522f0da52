"""Acceptance of AWS: the integration tests over a month of days.

Each fault and each catalog is tested by itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from acceptance import tools


def lake(work: Path, name: str) -> dict[str, Any]:
    """Each test's seconds, and the figures that it recorded.

    Raises AssertionError if a test fails.
    """
    report = work / "junit.xml"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            f"tests/integration/{name}.py",
            "-q",
            "-p",
            "no:cacheprovider",
            "--junitxml",
            str(report),
        ],
        cwd=tools.ROOT,
        env=os.environ | {"FORESHOCK_FULL_SIZE": "1"},
        stdout=sys.stderr,
        check=False,
    )
    figures: dict[str, Any] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        ended = (
            "failed"
            if case.find("failure") is not None or case.find("error") is not None
            else "passed"
        )
        figures[str(case.get("name")).removeprefix("test_").replace("_", " ")] = (
            f"{ended}, {float(case.get('time', 0)):.1f} s"
        )
        figures |= {str(p.get("name")): p.get("value") for p in case.iter("property")}
    assert done.returncode == 0, figures
    return figures
