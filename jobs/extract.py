"""Extract: events in the contract, quarantine and ledger from the source of a conf file."""

from __future__ import annotations

import sys

from foreshock.stages.command import run_job


def main(argv: list[str] | None = None) -> int:
    """Run the job with these arguments, or the process's; returns the exit code."""
    return run_job("extract", argv)


if __name__ == "__main__":
    sys.exit(main())
