"""Score: scores, error distributions, thresholds and metrics from the dataset and the bundle."""

from __future__ import annotations

import sys

from foreshock.stages.command import run_job


def main(argv: list[str] | None = None) -> int:
    """Run the stage score from the command line.

    argv: the arguments; None for those of the process. Returns the exit code.
    """
    return run_job("score", argv)


if __name__ == "__main__":
    sys.exit(main())
