"""A lake for each file of tests: a server, a table, and a process that runs jobs.

The same run over local files gives the expected tables.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from aws_stack import tables
from aws_stack.lake import BEFORE, DAYS, EVENTS, Lake, conf


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return tables.daily(tmp_path_factory.mktemp("daily") / "transactions", events=EVENTS, days=DAYS)


@pytest.fixture(scope="module")
def lake(data: list[Path]) -> Iterator[Lake]:
    made = Lake(data)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def local(lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run over local files of all days but the last."""
    folder = tmp_path_factory.mktemp("local")
    for day in lake.data[:BEFORE]:
        shutil.copytree(day, folder / "before" / day.name)
    code, error = lake.run(
        folder, conf({"kind": "files", "path": str(folder / "before")}), str(folder / "run")
    )
    assert code == 0, error
    return folder / "run"
