"""Extract: events in the contract, quarantine and ledger from the source of a conf file."""

from __future__ import annotations

import argparse
import sys

from foreshock.stages.command import run_job
from foreshock.stages.context import Context
from foreshock.stages.extract import extract


def job(context: Context, arguments: argparse.Namespace) -> str:
    extract(context, arguments.partitions)
    return str(context.run / "events")


def main(argv: list[str] | None = None) -> int:
    return run_job(__doc__ or "", job, argv, partitions=True)


if __name__ == "__main__":
    sys.exit(main())
