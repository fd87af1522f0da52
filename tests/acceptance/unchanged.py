"""Whether a tree gives what another gave: digests of everything that eight runs write.

    python tests/acceptance/unchanged.py record FILE.json [--tree TREE] [--only NAME]
    python tests/acceptance/unchanged.py compare FILE.json [--tree TREE] [--only NAME]

`record` runs the confs by the jobs of a tree (this repository, unless said) and writes digests to
FILE.json; the runs stay in the folder `runs` beside it. `compare` runs them again by another tree;
it exits 1 and names conf, content and columns where they differ, and shows rows as long as the
recorded runs are there. Its own runs stay only where they differ. `--work FOLDER` keeps the runs of
either there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from acceptance.run_contents import Content, contents, place_of
from acceptance.run_digests import (
    ColumnDigest,
    ContentDigest,
    different_columns,
    different_rows,
    digest,
)
from acceptance.unchanged_runs import PLANS, start

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class RunDigest:
    """One run directory: where it lay below which folder, how long it took, what it held."""

    run_directory: str
    work: str
    tree: str
    seconds: float
    contents: tuple[ContentDigest, ...]

    def kept(self) -> dict[str, Content]:
        """What the run held, by name; empty where its directory is gone."""
        if not Path(self.run_directory).exists():
            return {}
        place = place_of(Path(self.run_directory), Path(self.work), Path(self.tree))
        return {content.name: content for content in contents(place)}


@dataclass(frozen=True)
class Record:
    """The runs of a tree at a commit, by conf: one, or two where a run needs an earlier one."""

    commit: str
    runs: dict[str, tuple[RunDigest, ...]]

    def write(self, path: Path) -> None:
        """Write the record as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def read_record(path: Path) -> Record:
    """A record that `write` wrote."""
    raw = json.loads(path.read_text(encoding="utf-8"))
    runs = {}
    for name, steps in raw["runs"].items():
        runs[name] = tuple(
            RunDigest(**{**step, "contents": tuple(map(_read_content, step["contents"]))})
            for step in steps
        )
    return Record(raw["commit"], runs)


def _read_content(raw: dict[str, object]) -> ContentDigest:
    columns = raw["columns"]
    assert isinstance(columns, list)
    return ContentDigest(
        str(raw["name"]), int(str(raw["rows"])), tuple(ColumnDigest(**column) for column in columns)
    )


def run(name: str, tree: Path, work: Path) -> tuple[RunDigest, ...]:
    """Run a conf by the jobs of a tree in a fresh folder below `work`, and digest what it wrote."""
    folder = work / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    found = []
    for step in PLANS[name](folder, tree):
        begun = time.monotonic()
        start(step, tree)
        seconds = round(time.monotonic() - begun, 1)
        place = place_of(step.run_directory, work, tree)
        digests = tuple(digest(content) for content in contents(place))
        found.append(RunDigest(str(step.run_directory), str(work), str(tree), seconds, digests))
        print(f"{name}: {len(digests)} contents in {seconds} s", file=sys.stderr)
    return tuple(found)


def differences(before: RunDigest, now: RunDigest) -> list[str]:
    """What is not the same in two runs, in lines: content, columns, and rows below them."""
    earlier = {content.name: content for content in before.contents}
    later = {content.name: content for content in now.contents}
    lines = [f"{name}: gone" for name in earlier if name not in later]
    lines += [f"{name}: new" for name in later if name not in earlier]
    shared = [name for name in earlier if name in later and earlier[name] != later[name]]
    kept, own = (before.kept(), now.kept()) if shared else ({}, {})
    for name in shared:
        columns = different_columns(earlier[name], later[name])
        lines.append(f"{name}: {', '.join(columns) or 'the order of columns'}")
        if name in kept and digest(kept[name]) == earlier[name]:
            rows = different_rows(kept[name], own[name])
            lines += [f"    {row}" for row in rows]
        else:
            lines.append(f"    {earlier[name].rows} rows before, {later[name].rows} now")
    return lines


def record(path: Path, names: Sequence[str], tree: Path, work: Path | None) -> int:
    """Run confs and write their digests; those of other confs in the file stay."""
    place = (work or path.parent / "runs").resolve()
    commit = subprocess.run(
        ["git", "-C", str(tree), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    made = Record(commit, read_record(path).runs if path.exists() else {})
    for name in names:
        made = replace(made, runs=made.runs | {name: run(name, tree, place)})
        made.write(path)
    return 0


def compare(path: Path, names: Sequence[str], tree: Path, work: Path | None) -> int:
    """Run confs again; print what differs from their digests. Returns 1 where anything does."""
    before = read_record(path)
    place = (work or Path(tempfile.mkdtemp(prefix="foreshock-unchanged-"))).resolve()
    differing = []
    for name in names:
        if name not in before.runs:
            print(f"{name}: not in {path}")
            differing.append(name)
            continue
        try:
            steps = zip(before.runs[name], run(name, tree, place), strict=True)
            lines = [line for earlier, now in steps for line in differences(earlier, now)]
        except RuntimeError as error:
            lines = [str(error)]
        print("\n    ".join([f"{name}: {'DIFFERENT' if lines else 'equal'}", *lines]), flush=True)
        if lines:
            differing.append(name)
    if work is None and not differing:
        shutil.rmtree(place)
    elif differing:
        print(f"{len(differing)} of {len(names)} differ: {', '.join(differing)}; see {place}")
    return 1 if differing else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and record or compare. Returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("command", choices=("record", "compare"))
    parser.add_argument("file", type=Path, help="the digests, JSON")
    parser.add_argument("--only", action="append", choices=tuple(PLANS), help="this conf alone")
    parser.add_argument("--tree", type=Path, default=ROOT, help="whose jobs are run")
    parser.add_argument("--work", type=Path, default=None, help="where the runs are kept")
    given = parser.parse_args(arguments)
    command = record if given.command == "record" else compare
    try:
        return command(given.file, given.only or tuple(PLANS), given.tree.resolve(), given.work)
    except RuntimeError as error:
        print(f"unchanged.py: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
