"""Prepare: the scaler and a Petastorm dataset per split from the extracted events."""

from __future__ import annotations

import argparse
import sys

from foreshock.stages.command import run_job
from foreshock.stages.context import Context
from foreshock.stages.prepare import prepare


def job(context: Context, arguments: argparse.Namespace) -> str:
    prepare(context)
    return str(context.run / "dataset")


def main(argv: list[str] | None = None) -> int:
    return run_job(__doc__ or "", job, argv)


if __name__ == "__main__":
    sys.exit(main())
