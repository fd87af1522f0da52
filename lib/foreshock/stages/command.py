"""The command line that all jobs share: arguments, exit codes, one paragraph an error."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn

from foreshock.errors import ForeshockError
from foreshock.platform import failures
from foreshock.settings.load import load_settings
from foreshock.stages.context import Context

Job = Callable[[Context, argparse.Namespace], str]


class _Stopped(KeyboardInterrupt):
    """SIGTERM."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}. See --help.", file=sys.stderr)
        raise SystemExit(2)


def run_job(
    description: str,
    job: Job,
    argv: list[str] | None = None,
    *,
    partitions: bool = False,
    replace_all: bool = False,
) -> int:
    """Parse the flags, open the run directory, run the job, print what it returns. Returns the exit code."""
    parser = _Parser(description=description)
    parser.add_argument("--conf", required=True, help="the conf file (YAML)")
    parser.add_argument("--run-dir", required=True, help="where everything is written")
    parser.add_argument(
        "--set", action="append", default=[], metavar="section.key=value", help="override a setting"
    )
    parser.add_argument("--force", action="store_true", help="replace what is there")
    parser.add_argument("--debug", action="store_true", help="show tracebacks and Spark's own log")
    if partitions:
        parser.add_argument(
            "--partitions", type=_names, default=None, metavar="A,B", help="only these partitions"
        )
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    context: Any = None
    stopped = _end_on_sigterm()
    try:
        context = Context(
            load_settings(arguments.conf, arguments.set),
            arguments.run_dir,
            force=arguments.force,
            debug=arguments.debug,
        )
        with context.open(replace_all=replace_all):
            print(job(context, arguments))
        return 0
    except KeyboardInterrupt as stop:
        print("stopped; the same command finishes the run.", file=sys.stderr)
        return 128 + (signal.SIGTERM if isinstance(stop, _Stopped) else signal.SIGINT)
    except Exception as error:
        if stopped:  # by a signal that reached the JVM too
            print("stopped; the same command finishes the run.", file=sys.stderr)
            return 128 + signal.SIGTERM
        if arguments.debug:
            raise
        known = failures.explain(error, f"--run-dir {arguments.run_dir}")
        if known is None:
            text = " ".join(str(error).split())[:500]
            known = ForeshockError(
                f"a defect of ours: {type(error).__name__}: {text}. Run with --debug and tell us."
            )
        print(f"{parser.prog}: " + " ".join(str(known).split()), file=sys.stderr)
        return known.exit_code
    finally:
        if context is not None:
            context.close()


def _end_on_sigterm() -> list[int]:
    """Have SIGTERM end the job as Ctrl-C does, so that queries are stopped and nothing unfinished stays; gathers what came."""
    came: list[int] = []

    def stop(number: int, _: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # cleaning up is not broken off
        came.append(number)
        raise _Stopped

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stop)
    return came


def _names(text: str) -> list[str]:
    names = [n.strip() for n in text.split(",") if n.strip()]
    if not names:
        raise argparse.ArgumentTypeError(
            "names of partitions are wanted, such as 2019-12-30,2019-12-31"
        )
    return names
