"""Extract: events in the contract, quarantine and ledger from the source of a conf file."""

from __future__ import annotations

import sys

from foreshock.stages.command import run_job


def main(argv: list[str] | None = None) -> int:
    """Run the stage extract from the command line.

    argv: the arguments; None for those of the process. Returns the exit code.
    """
    return run_job("extract", argv)


if __name__ == "__main__":
    sys.exit(main())
