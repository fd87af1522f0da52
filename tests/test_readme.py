"""What the README shows is what the code takes."""

from __future__ import annotations

import re

from acceptance import tools
from foreshock.settings.conf_yaml import parse_yaml
from foreshock.settings.identity import as_mapping
from foreshock.settings.load import build_settings

README = (tools.ROOT / "README.md").read_text()


def test_every_yaml_block_is_valid_settings() -> None:
    blocks = [b for b in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if "\nsplit:" in b]
    assert len(blocks) >= 2
    for block in blocks:
        build_settings(parse_yaml(block))


def test_the_settings_block_shows_the_defaults() -> None:
    block = re.search(
        r"<!-- settings: a test loads this block -->\n```yaml\n(.*?)```", README, re.DOTALL
    )
    assert block
    shown = parse_yaml(block.group(1))
    minimal = {
        "source": {"path": shown["source"]["path"]},
        "split": shown["split"],
        "events": {
            k: shown["events"][k]
            for k in ("entity", "time", "features", "partition", "tiebreak", "id")
        },
    }
    assert as_mapping(build_settings(shown)) == as_mapping(build_settings(minimal))


def test_files_that_the_readme_names_are_there() -> None:
    for name in set(re.findall(r"(?:scripts|jobs|conf|docs)/[\w./-]+\w", README)) - {
        "conf/my.yaml"
    }:
        assert (tools.ROOT / name).exists(), name
