"""The whole journey: every stage in order, each doing only what is not done."""

from __future__ import annotations

from foreshock.stages.context import Context
from foreshock.stages.donor import donor_run
from foreshock.stages.extract import extract
from foreshock.stages.prepare import prepare
from foreshock.stages.publish import publisher_of
from foreshock.stages.report import check_gates, report, result_lines
from foreshock.stages.score import score
from foreshock.stages.train import check_devices, train


def pipeline(context: Context) -> str:
    """Run all stages; returns the result's lines, the report's path last.

    Raises GateError, with all results written, if a gate of `quality` is not met.
    """
    # A wrong model.from, too few devices and a sink that refuses end the run before it begins.
    donor_run(context)
    check_devices(context)
    if context.run.record("score") is None or context.force:
        publisher_of(context).look()
    extract(context, whole_run=True)
    # What extract replaced makes the stages after it stale by itself.
    context.force = False
    prepare(context)
    train(context)
    score(context)
    page = report(context)
    check_gates(context)
    return "\n".join([*result_lines(context), str(page)])
