"""Train: the model bundle from the training dataset."""

from __future__ import annotations

import sys

from foreshock.stages.command import run_job


def main(argv: list[str] | None = None) -> int:
    """Run the job with these arguments, or the process's; returns the exit code."""
    return run_job("train", argv)


if __name__ == "__main__":
    sys.exit(main())
