"""The whole journey of a conf file: extract, prepare, train, score, report."""

from __future__ import annotations

import sys

from foreshock.stages.command import run_job


def main(argv: list[str] | None = None) -> int:
    """Run all stages from the command line.

    argv: the arguments; None for those of the process. Returns the exit code.
    """
    return run_job("pipeline", argv)


if __name__ == "__main__":
    sys.exit(main())
