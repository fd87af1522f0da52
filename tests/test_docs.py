"""The pages are true: links lead somewhere, commands run, settings load, the site builds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from acceptance import tools
from foreshock.settings.conf_yaml import parse_yaml
from foreshock.settings.load import build_settings
from foreshock.settings.reference import settings_reference

ROOT = tools.ROOT
README = ROOT / "README.md"
TUTORIALS = [ROOT / "docs" / "tutorials" / f"{name}.md" for name in ("first-run", "your-table")]
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
# A demo of a size for tests; the page's commands are run as they stand but for this.
# What the console script `foreshock` runs (pyproject.toml).
COMMAND = "import sys; from foreshock.stages.command import main; sys.exit(main())"
SMALL_DEMO = (
    "--set source.events=24000 --set training.epochs=1 --set training.windows_per_epoch=4000"
)


def blocks(page: Path, language: str) -> list[str]:
    return [body for name, body in BLOCK.findall(page.read_text()) if name == language]


def anchors(page: Path) -> set[str]:
    """What headings of a page are called in links, as GitHub and the site call them."""
    titles = re.findall(r"^#+ (.*)$", BLOCK.sub("", page.read_text()), re.MULTILINE)
    plain = [re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", title).lower() for title in titles]
    return {re.sub(r"[^\w\- ]", "", title).strip().replace(" ", "-") for title in plain}


def test_the_readme_is_short() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= 120
    assert len(text.split()) <= 900


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(BLOCK.sub("", page.read_text())):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    names = re.findall(
        r"(?<![\w/.$-])(?:scripts|jobs|conf|docs|tests|lib)/[\w./-]*\w", page.read_text()
    )
    made_by_the_reader = {"conf/my.yaml"}
    missing = {
        name
        for name in set(names) - made_by_the_reader
        if not (ROOT / name).exists() and not list(ROOT.glob(f"{name}*"))
    }
    assert not missing or page.name == "acceptance.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_conf_on_a_page_loads(page: Path) -> None:
    for body in blocks(page, "yaml"):
        if "\nsplit:" in body and "source" in body:
            build_settings(parse_yaml(body))


def test_the_reference_of_settings_is_the_one_that_the_settings_render() -> None:
    page = ROOT / "docs" / "reference" / "settings.md"
    assert page.read_text().strip() == settings_reference().strip(), (
        "python -m foreshock.settings.reference > docs/reference/settings.md"
    )


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "tutorials" / "first-run" / "index.html").exists()


def run(command: str, folder: Path) -> str:
    """What a shell prints for commands of a page, in a folder that looks like the project."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
        env=os.environ | {"FORESHOCK_CORES": "2"},
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    return done.stdout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project as a reader sees it, with a `runs/` of its own and this environment."""
    for name in ("conf", "jobs", "lib", "docs", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    environment = tmp_path / ".venv" / "bin"
    environment.mkdir(parents=True)
    (environment / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (environment / "foreshock").write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -c "{COMMAND}" "$@"\n'
    )
    (tmp_path / "scripts" / "build_env").write_text("#!/bin/sh\n")
    for tool in (environment / "python", environment / "foreshock"):
        tool.chmod(0o755)
    return tmp_path


def small(command: str) -> str:
    """The page's command, with a demo of a size for tests."""
    command = re.sub(r"^scripts/demo\b", f"scripts/demo {SMALL_DEMO}", command, flags=re.MULTILINE)
    return command.replace("--conf conf/demo.yaml", f"--conf conf/demo.yaml {SMALL_DEMO}")


@pytest.mark.slow
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_every_command_of_a_tutorial_runs(page: Path, project: Path) -> None:
    commands = blocks(page, "sh")
    assert len(commands) >= 4
    for command in commands:
        printed = run(small(command), project)
        assert printed.strip() or "mkdir" in command or "cat >" in command, command


@pytest.mark.slow
def test_every_command_of_the_readme_runs(project: Path) -> None:
    two_commands, own_table = blocks(README, "sh")
    assert [line.split()[0] for line in two_commands.splitlines()] == [
        "scripts/demo",
        "scripts/test",  # what runs this test
    ]
    (conf,) = blocks(README, "yaml")
    (project / "my.yaml").write_text(conf)
    (project / "data" / "payments").mkdir(parents=True)
    events = tools.event_rows(6000, 20, 1, days=120)
    amount = pa.array([abs(value) + 1 for value in events["a"].to_pylist()])
    payments = pa.table(
        {
            "account": events["entity"],
            "paid_at": events["time"],
            "amount": amount,
            "fee": events["b"],
        }
    )
    pq.write_table(payments, project / "data" / "payments" / "part.parquet")
    printed = run(own_table, project)
    assert Path(printed.strip().splitlines()[-1]).name == "report.html"
    assert run(own_table, project).strip().splitlines()[-1] == printed.strip().splitlines()[-1]
