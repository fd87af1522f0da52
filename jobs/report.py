"""Report: summary.json and the page from a run's tables."""

from __future__ import annotations

import argparse
import sys

from foreshock.stages.command import run_job
from foreshock.stages.context import Context
from foreshock.stages.report import check_gates, report


def job(context: Context, arguments: argparse.Namespace) -> str:
    page = report(context)
    check_gates(context)
    return str(page)


def main(argv: list[str] | None = None) -> int:
    return run_job(__doc__ or "", job, argv)


if __name__ == "__main__":
    sys.exit(main())
