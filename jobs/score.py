"""Score: scores, error distributions, thresholds and metrics from the dataset and the bundle."""

from __future__ import annotations

import argparse
import sys

from foreshock.stages.command import run_job
from foreshock.stages.context import Context
from foreshock.stages.score import score


def job(context: Context, arguments: argparse.Namespace) -> str:
    score(context, arguments.partitions)
    return str(context.tables)


def main(argv: list[str] | None = None) -> int:
    return run_job(__doc__ or "", job, argv, partitions=True)


if __name__ == "__main__":
    sys.exit(main())
