"""Report: summary.json and the page from a run's tables."""

from __future__ import annotations

import sys

from foreshock.stages.command import run_job


def main(argv: list[str] | None = None) -> int:
    """Run the stage report from the command line.

    argv: the arguments; None for those of the process. Returns the exit code.
    """
    return run_job("report", argv)


if __name__ == "__main__":
    sys.exit(main())
