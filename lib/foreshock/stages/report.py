"""Report: whether there is anything to do, the gates, and the result in a few lines.

Deciding needs neither Spark nor the page's libraries; `stages.reporting` does the work.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from foreshock.errors import GateError, SettingsError
from foreshock.platform.files import digest, read_json
from foreshock.platform.run_directory import RunDirectory
from foreshock.report.records.run import RunSummary
from foreshock.report.summary import headline

if TYPE_CHECKING:
    from foreshock.stages.context import Context

PAGE_FILE, SUMMARY_FILE = "report.html", "summary.json"


def report_fingerprint(run: RunDirectory, settings_sha256: str) -> str:
    """What the page is made from: a digest of the settings and of what was scored.

    Raises SettingsError if nothing is scored.
    """
    score_record = run.record("score")
    if score_record is None:
        raise SettingsError(
            f"--run-dir {run.path}: nothing is scored there. Run jobs/score.py first."
        )
    return digest({"settings": settings_sha256, "score": score_record})


def report_is_done(run: RunDirectory, settings_sha256: str) -> bool:
    """Whether a run directory holds the report of its scores.

    Raises SettingsError if nothing is scored, DataError if a file of the report was altered.
    """
    return run.is_done("report", report_fingerprint(run, settings_sha256))


def report(context: Context) -> Path:
    """Write the summary and the page unless they are there; returns the page's path.

    Raises SettingsError if nothing is scored.
    """
    if report_is_done(context.run, context.sha256) and not context.force:
        context.log.event("report", "nothing to do")
    else:
        # Spark, matplotlib and Jinja load for seconds, which a finished run does not have to pay.
        from foreshock.stages.reporting import write_report

        write_report(context, report_fingerprint(context.run, context.sha256))
    return context.run / PAGE_FILE


def read_summary(run: RunDirectory) -> RunSummary:
    """The summary that a run directory holds.

    Raises FileNotFoundError if no report was made, DataError if the file is not JSON.
    """
    return RunSummary.from_mapping(read_json(run / SUMMARY_FILE))


def check_gates(context: Context) -> None:
    """Raise GateError if a gate of `quality` was not met.

    The report must be written: its summary names the gates that were missed.
    """
    missed_gates = read_summary(context.run).gates
    if missed_gates:
        raise GateError(
            f"{'; '.join(missed_gates)}. All was written; see {context.run / PAGE_FILE}."
        )


def result_lines(context: Context) -> list[str]:
    """The result in about a dozen lines, from the summary."""
    return headline(read_summary(context.run))
