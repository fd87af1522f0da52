"""Train: the model bundle from the training dataset."""

from __future__ import annotations

import argparse
import sys

from foreshock.stages.command import run_job
from foreshock.stages.context import Context
from foreshock.stages.train import train


def job(context: Context, arguments: argparse.Namespace) -> str:
    train(context)
    return str(context.run / "model")


def main(argv: list[str] | None = None) -> int:
    return run_job(__doc__ or "", job, argv)


if __name__ == "__main__":
    sys.exit(main())
