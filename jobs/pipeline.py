"""The whole journey of a conf file: extract, prepare, train, score, report."""

from __future__ import annotations

import argparse
import sys

from foreshock.stages.command import run_job
from foreshock.stages.context import Context
from foreshock.stages.pipeline import pipeline


def job(context: Context, arguments: argparse.Namespace) -> str:
    return pipeline(context)


def main(argv: list[str] | None = None) -> int:
    return run_job(__doc__ or "", job, argv, replace_all=True)


if __name__ == "__main__":
    sys.exit(main())
