"""The command line: `foreshock run`, `foreshock extract` … and the jobs in jobs/.

Both take the same flags and give the same exit codes. Nothing but argparse is loaded until the
arguments are right, and no more than pydantic and YAML until the settings are.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from foreshock import __version__
from foreshock.errors import ForeshockError

if TYPE_CHECKING:
    from foreshock.stages.context import Context

STOPPED = "stopped; the same command finishes the run."
# Characters of an unexpected error that are shown.
LONGEST_DEFECT = 500


@dataclass(frozen=True)
class Command:
    """A job as the command line offers it: `foreshock <name>` or jobs/<job>.py."""

    name: str
    description: str
    takes_partitions: bool = False
    is_whole_run: bool = False

    @property
    def job(self) -> str:
        """The name of the job's file in jobs/, without `.py`."""
        return "pipeline" if self.is_whole_run else self.name


COMMANDS = (
    Command(
        "run",
        "The whole journey of a conf file: extract, prepare, train, score, report.",
        is_whole_run=True,
    ),
    Command(
        "extract",
        "Extract: events in the contract, quarantine and ledger from the source of a conf file.",
        takes_partitions=True,
    ),
    Command(
        "prepare",
        "Prepare: the scaler and a Petastorm dataset per split from the extracted events.",
    ),
    Command("train", "Train: the model bundle from the training dataset."),
    Command(
        "score",
        "Score: scores, error distributions, thresholds and metrics from the dataset and the "
        "bundle.",
        takes_partitions=True,
    ),
    Command("report", "Report: summary.json and the page from a run's tables."),
)


class _Stopped(KeyboardInterrupt):
    """SIGTERM."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line, and exit with code 2."""
        print(f"{self.prog}: {message}. See --help.", file=sys.stderr)
        raise SystemExit(2)


def main(argv: list[str] | None = None) -> int:
    """The command `foreshock`: run a job and print what it made; errors go to standard error.

    argv: the arguments; None for those of the process. Returns the exit code.
    """
    parser = _Parser(
        prog="foreshock",
        description="Finds anomalous sequences in event tables too large for one machine.",
    )
    _add_version(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        subparser = commands.add_parser(
            command.name, help=command.description, description=command.description
        )
        _add_flags(subparser, command)
    return _parse_and_run(parser, argv)


def run_job(job: str, argv: list[str] | None = None) -> int:
    """The command line of jobs/<job>.py, with the flags of `foreshock <command>`.

    argv: the arguments; None for those of the process. Returns the exit code.
    """
    command = next(command for command in COMMANDS if command.job == job)
    parser = _Parser(description=command.description)
    _add_flags(parser, command)
    _add_version(parser)
    return _parse_and_run(parser, argv)


def _add_version(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--version", action="version", version=f"foreshock {__version__}")


def _add_flags(parser: argparse.ArgumentParser, command: Command) -> None:
    parser.set_defaults(command=command, program=parser.prog)
    parser.add_argument("--conf", required=True, help="the conf file (YAML)")
    parser.add_argument("--run-dir", required=True, help="where everything is written")
    parser.add_argument(
        "--set", action="append", default=[], metavar="section.key=value", help="override a setting"
    )
    parser.add_argument("--force", action="store_true", help="replace what is there")
    parser.add_argument("--debug", action="store_true", help="show tracebacks and Spark's own log")
    if command.takes_partitions:
        parser.add_argument(
            "--partitions",
            type=_partition_names,
            default=None,
            metavar="A,B",
            help="only these partitions",
        )


def _partition_names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError(
            "names of partitions are wanted, such as 2019-12-30,2019-12-31"
        )
    return names


def _parse_and_run(parser: argparse.ArgumentParser, argv: list[str] | None) -> int:
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as stop:
        # argparse ends the process; callers in a process want the code.
        return int(stop.code or 0)
    termination_signals = _stop_on_sigterm()
    try:
        _run(arguments)
        return 0
    except KeyboardInterrupt as stop:
        print(STOPPED, file=sys.stderr)
        return 128 + (signal.SIGTERM if isinstance(stop, _Stopped) else signal.SIGINT)
    except Exception as error:
        if termination_signals:
            # The signal reached the JVM too, and what that broke off is no fault.
            print(STOPPED, file=sys.stderr)
            return 128 + signal.SIGTERM
        if arguments.debug:
            raise
        known_error = _as_known_error(error, arguments.run_dir)
        message = " ".join(str(known_error).split())
        print(f"{arguments.program}: {message}", file=sys.stderr)
        return known_error.exit_code


def _run(arguments: argparse.Namespace) -> None:
    """Check the settings, open the run directory, run the job and print what it returns."""
    # Imports stand where they are needed, so that wrong settings are told at once.
    from foreshock.settings.load import load_settings

    settings = load_settings(arguments.conf, arguments.set)

    from foreshock.stages.context import Context
    from foreshock.stages.jobs import JOBS

    command: Command = arguments.command
    context: Context | None = None
    try:
        context = Context(settings, arguments.run_dir, force=arguments.force, debug=arguments.debug)
        with context.open(replace_all=command.is_whole_run):
            print(JOBS[command.job](context, getattr(arguments, "partitions", None)))
    finally:
        if context is not None:
            context.close()


def _as_known_error(error: Exception, run_dir: str) -> ForeshockError:
    """The error that the user sees, with its exit code."""
    if isinstance(error, ForeshockError):
        return error
    from foreshock.platform.failures import explain

    known_error = explain(error, f"--run-dir {run_dir}")
    if known_error is not None:
        return known_error
    text = " ".join(str(error).split())[:LONGEST_DEFECT]
    return ForeshockError(
        f"a defect of ours: {type(error).__name__}: {text}. Run with --debug and tell us."
    )


def _stop_on_sigterm() -> list[int]:
    """Have SIGTERM end the job as Ctrl-C does, so that queries are stopped and nothing stays half.

    Returns the list that received signals are added to.
    """
    received_signals: list[int] = []

    def stop(number: int, _: Any) -> None:
        """Break off the job as Ctrl-C does."""
        # A second signal does not break off the cleaning up.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        received_signals.append(number)
        raise _Stopped

    # Python takes signal handlers in the main thread only.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stop)
    return received_signals
