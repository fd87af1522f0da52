"""`scripts/bench`: every figure as a ratio against a named peer measured in the same run."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import platform
import shutil
import sys
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from acceptance import tools
from foreshock.platform.session import build_session

from benchmarks import lake, starting
from benchmarks.measure import Figure

NAMES = (
    "loader_vs_rows",
    "loader_vs_question",
    "loader_vs_memory",
    "arrow_vs_petastorm",
    "write_vs_rows",
    "windowing_vs_pandas",
    "windowing_vs_sort",
    "pca_vs_windowing",
    "scaler_vs_mllib",
    "scaler_increment",
    "training_vs_fit",
    "scoring_vs_predict",
    lake.NAME,
    *starting.NAMES,
)
ONCE = ("growth_prepare", "growth_score")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="Speeds, each against a peer measured in the same run."
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"figures: {', '.join(NAMES + ONCE)}; default: all"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="tiny sizes, one repetition: shows that all run, says nothing of speed",
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures as JSON")
    arguments = parser.parse_args(argv)
    names = set(arguments.names or NAMES + ONCE)
    if unknown := sorted(names - set(NAMES + ONCE)):
        parser.error(f"no such figure: {', '.join(unknown)}; there are {', '.join(NAMES + ONCE)}")
    os.environ.setdefault("FORESHOCK_DRIVER_MEMORY", "2g")
    work = Path(tempfile.mkdtemp(prefix="foreshock-bench-"))
    try:
        # Before this process starts a Spark of its own, which would share the machine with them.
        found = [shown(figure) for figure in starting.figures(work, names, quick=arguments.quick)]
        if names - set(starting.NAMES):
            found += with_spark(work, names, quick=arguments.quick)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(found, indent=1) + "\n")
    if not arguments.quick:
        record(found)
    print(f"{len(found)} figures")
    return 0


def with_spark(work: Path, names: set[str], *, quick: bool) -> list[dict[str, Any]]:
    """The figures that are measured in this process's own Spark session."""
    found: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:
        uses_s3 = lake.NAME in names
        if uses_s3:
            stack.enter_context(lake.served())
        spark = build_session("bench", s3=uses_s3)
        stack.callback(spark.stop)
        for module in ("loading", "preparing", "networks", "lake"):
            room = importlib.import_module(f"benchmarks.{module}")
            folder = work / module
            folder.mkdir()
            found += [shown(figure) for figure in room.figures(folder, spark, names, quick=quick)]
            shutil.rmtree(folder, ignore_errors=True)
        for name in ONCE:
            if name in names:
                growth = importlib.import_module("benchmarks.growth")
                figure = growth.growth(name, work, spark, quick=quick)
                found.append({"name": name, "repetitions": 1, **figure})
                print(f"{name:20s} {json.dumps(figure)}", file=sys.stderr)
    return found


def shown(figure: Figure) -> dict[str, Any]:
    """A figure as a mapping, once it stands on standard error."""
    ratio = figure.ratio
    print(
        f"{figure.name:20s} {ratio['min']:9.3g} {ratio['median']:9.3g} {ratio['max']:9.3g}   "
        f"wanted {figure.wanted:g}   ours {figure.ours:.4g} peer {figure.peer:.4g} {figure.unit}",
        file=sys.stderr,
    )
    return asdict(figure)


def record(found: list[dict[str, Any]]) -> None:
    """Keep the newest of each figure in docs/benchmarks.json and write docs/benchmarks.md."""
    path = tools.ROOT / "docs" / "benchmarks.json"
    kept = {f["name"]: f for f in (json.loads(path.read_text()) if path.exists() else [])}
    kept |= {f["name"]: f | {"date": datetime.now(UTC).strftime("%Y-%m-%d")} for f in found}
    ordered = [f for n in NAMES + ONCE for f in kept.values() if f["name"].split(",")[0] == n]
    path.write_text(json.dumps(ordered, indent=1) + "\n")
    (tools.ROOT / "docs" / "benchmarks.md").write_text(page(ordered))


def page(found: list[dict[str, Any]]) -> str:
    """docs/benchmarks.md from the figures."""
    lines = [
        "# Benchmarks",
        "",
        f"Written by `scripts/bench` on {os.cpu_count()} cores ({platform.machine()}, Python "
        f"{platform.python_version()}); `docs/benchmarks.json` holds the same. A ratio "
        "compares ours with the peer's in each pair of alternating repetitions; above 1 ours is "
        "better. A peer may be a limit: the ratio is then the limit over ours.",
        "",
        "| figure | ratio: least, median, most | wanted | ours | peer | unit | repetitions | date "
        "|",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for f in found:
        if "ratio" in f:
            r = f["ratio"]
            met = "" if r["median"] >= f["wanted"] else " **missed**"
            lines.append(
                f"| {f['name']} | {r['min']:.3g}, {r['median']:.3g}, {r['max']:.3g} | "
                f"{f['wanted']:g}{met} | {f['ours']:.4g} | "
                f"{f['peer']:.4g} | {f['unit']} | {f['repetitions']} | {f['date']} |"
            )
    lines += ["", "## Sizes and peers", ""]
    lines += [
        f"- **{f['name']}**: {f['sizes']}. Peer: {f['peer_name']}." for f in found if "ratio" in f
    ]
    for f in found:
        if "ratio" not in f:
            lines += [
                "",
                f"## {f['name']} ({f['date']})",
                "",
                "| " + " | ".join(k for k in f if isinstance(f[k], list | tuple)) + " |",
            ]
            columns = [f[k] for k in f if isinstance(f[k], list | tuple)]
            lines += ["|" + " --- |" * len(columns)]
            lines += [
                "| "
                + " | ".join(f"{v:.4g}" if isinstance(v, float) else f"{v}" for v in row)
                + " |"
                for row in zip(*columns, strict=True)
            ]
            lines += [
                "",
                f"Exponent {f['exponent']:.3f} (wanted: at most {f['exponent wanted at most']}); "
                "largest over smallest peak of a "
                f"worker: {f['largest over smallest peak']:.2f}.",
            ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
