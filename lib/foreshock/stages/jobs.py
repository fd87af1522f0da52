"""What each job runs and what it prints last: the path of what it made."""

from __future__ import annotations

from collections.abc import Callable

from foreshock.stages.context import Context
from foreshock.stages.extract import extract
from foreshock.stages.pipeline import pipeline
from foreshock.stages.prepare import prepare
from foreshock.stages.report import check_gates, report
from foreshock.stages.score import score
from foreshock.stages.train import train

# Takes a context and the partitions that the command line names, if any.
Job = Callable[[Context, list[str] | None], str]


def _pipeline_job(context: Context, _: list[str] | None) -> str:
    return pipeline(context)


def _extract_job(context: Context, partitions: list[str] | None) -> str:
    extract(context, partitions)
    return str(context.run / "events")


def _prepare_job(context: Context, _: list[str] | None) -> str:
    prepare(context)
    return str(context.run.dataset)


def _train_job(context: Context, _: list[str] | None) -> str:
    train(context)
    return str(context.run.model)


def _score_job(context: Context, partitions: list[str] | None) -> str:
    score(context, partitions)
    return str(context.tables)


def _report_job(context: Context, _: list[str] | None) -> str:
    page = report(context)
    check_gates(context)
    return str(page)


JOBS: dict[str, Job] = {
    "pipeline": _pipeline_job,
    "extract": _extract_job,
    "prepare": _prepare_job,
    "train": _train_job,
    "score": _score_job,
    "report": _report_job,
}
