"""Passes over scored files: what is wanted of each file, and how that of several is put together.

Passes that do not depend on each other share one read of the files.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import pyarrow as pa

from foreshock.scored.events import ScoredEvents, ScoredRows

Total = TypeVar("Total")
# Threads, not processes: most of the time goes to reading, in which Arrow lets others run.
THREADS = 4


class Pass(Protocol[Total]):
    """Something that is wanted of scored events and can be put together from that of each file."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads beside scores."""

    @property
    def detectors(self) -> tuple[str, ...]:
        """The detectors whose scores it reads."""

    def of_file(self, rows: ScoredRows) -> pa.Table:
        """What one file gives. It runs on the machine that read the file.

        A table without rows stands for nothing and is never added.
        """

    def empty(self) -> Total:
        """What no file at all gives."""

    def add(self, total: Total, part: pa.Table) -> Total:
        """The total with one more file's part, in the order of files; `total` may be changed.

        part: what `of_file` gave, of one row at least.
        """


@dataclass(frozen=True)
class PassResults:
    """What passes over one read gave."""

    passes: tuple[Pass[Any], ...]
    totals: tuple[Any, ...]

    def of(self, wanted: Pass[Total]) -> Total:
        """The result of one of the passes. Raises KeyError for one that did not take part.

        wanted: the very object that ran, for an equal pass is another one.
        """
        for candidate_pass, pass_total in zip(self.passes, self.totals, strict=True):
            # By identity: comparing passes by value would compare arrays and functions.
            if candidate_pass is wanted:
                pass_result: Total = pass_total
                return pass_result
        raise KeyError(type(wanted).__name__)


def parts_of_file(
    scored: ScoredEvents, passes: Sequence[Pass[Any]], file: str
) -> Iterator[tuple[int, pa.Table]]:
    """(number of the pass, what the file gives) for each pass, from one read of the file.

    Numbers count from 0. Passes to which the file gives nothing are left out.
    """
    needed_columns = [column_name for needed_pass in passes for column_name in needed_pass.columns]
    needed_detectors = [
        column_name for needed_pass in passes for column_name in needed_pass.detectors
    ]
    scored_rows = scored.read_file(file, needed_columns, needed_detectors)
    for pass_number, wanted_pass in enumerate(passes):
        file_part = wanted_pass.of_file(scored_rows)
        if file_part.num_rows:
            yield pass_number, file_part


def put_together(passes: Sequence[Pass[Any]], parts: Iterator[tuple[int, pa.Table]]) -> PassResults:
    """The totals of passes from the parts of all files, in the order of files.

    parts: (number of the pass, part), as `parts_of_file` gives them.
    """
    pass_totals = [wanted_pass.empty() for wanted_pass in passes]
    for pass_number, file_part in parts:
        pass_totals[pass_number] = passes[pass_number].add(pass_totals[pass_number], file_part)
    return PassResults(tuple(passes), tuple(pass_totals))


def run_here(scored: ScoredEvents, passes: Sequence[Pass[Any]]) -> PassResults:
    """Run passes in this process, over one read of the files, some files at a time.

    `passes_spark.run_passes` does the same in Spark.
    """

    def parts_here(file: str) -> list[tuple[int, pa.Table]]:
        return list(parts_of_file(scored, passes, file))

    with ThreadPoolExecutor(THREADS) as thread_pool:
        # `map` keeps the order of files, so that sums round alike in every run.
        parts_by_file = thread_pool.map(parts_here, scored.files)
        return put_together(passes, itertools.chain.from_iterable(parts_by_file))
