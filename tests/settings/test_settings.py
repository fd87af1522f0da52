"""Settings: what is refused and how it says so, `--set`, paths, and the sha256 of a run."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from foreshock.errors import SettingsError
from foreshock.settings.conf_yaml import parse_yaml
from foreshock.settings.identity import as_mapping, differing_keys, sha256
from foreshock.settings.load import build_settings, load_settings
from foreshock.settings.root import Settings
from foreshock.settings.split import Span
from pydantic import ValidationError

BASE = (
    "\nsource: {kind: files, path: data}\n"
    "events: {entity: account, time: at, features: {amount: amount, fee: fee}}\n"
    "split: {train: [2019-01-01, 2019-03-01], calibration: [2019-03-01, 2019-04-01], "
    "test: [2019-04-01, 2019-05-01]}\n"
)
LATER = "not available in this version"


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    path = tmp_path / "conf" / "run.yaml"
    path.parent.mkdir()
    path.write_text(BASE)
    return path


def refused(path: Path, *overrides: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(str(path), list(overrides))
    message = str(caught.value)
    assert "\n" not in message, "one paragraph"
    assert message.endswith(".")
    assert "Traceback" not in message
    return message


# A setting as given to --set, and what the message must hold: the setting's name, what is allowed,
# what was received.
BAD = [
    # wrong type
    ("run.seed=abc", ["`run.seed`", "integer", "'abc'"]),
    ("run.seed=7.5", ["`run.seed`", "integer", "7.5"]),
    ("run.seed=true", ["`run.seed`", "integer", "True"]),
    ("run.name=2019", ["`run.name`", "string", "2019"]),
    ("windows.length=[50]", ["`windows.length`", "integer", "[50]"]),
    ("model.units=64", ["`model.units`", "64"]),
    ("events.entity=", ["`events.entity`", "string", "None"]),
    ("events.features=[amount]", ["`events.features`", "dictionary", "['amount']"]),
    ("events.features={amount: [1]}", ["`events.features", "amount"]),
    ("quality.nulls=5", ["`quality.nulls`", "5"]),
    ("training.replicas=many", ["`training.replicas`", "auto", "'many'"]),
    # out of range
    ("run.seed=-1", ["`run.seed`", "greater than or equal to 0", "-1"]),
    ("run.name=a/b", ["`run.name`", "'a/b'"]),
    ("training.epochs=0", ["`training.epochs`", "greater than or equal to 1", "0"]),
    ("training.learning_rate=0", ["`training.learning_rate`", "greater than 0", "0"]),
    ("training.learning_rate=.inf", ["`training.learning_rate`", "finite", "inf"]),
    ("training.learning_rate=.nan", ["`training.learning_rate`", "finite", "nan"]),
    (
        "quality.max_quarantined=1.5",
        ["`quality.max_quarantined`", "less than or equal to 1", "1.5"],
    ),
    ("scaling.floor=-0.1", ["`scaling.floor`", "-0.1"]),
    ("scaling.clip=0", ["`scaling.clip`", "greater than 0", "0"]),
    ("windows.stride=0", ["`windows.stride`", "0"]),
    ("windows.max_gap=-1", ["`windows.max_gap`", "greater than 0", "-1"]),
    ("windows.length=0", ["`windows.length`", "0"]),
    ("windows.length=2000", ["windows", "length (2000)", "block (1024)", "raise windows.block"]),
    ("model.dropout=1", ["`model.dropout`", "less than 1", "1"]),
    ("model.units=[]", ["`model.units`", "at least 1", "[]"]),
    ("model.units=[64, 0]", ["`model.units.1`", "greater than or equal to 1", "0"]),
    ("thresholds.rules=[{level: 1}]", ["`thresholds.rules.0.level`", "less than 1", "1"]),
    ("thresholds.rules=[]", ["`thresholds.rules`", "at least 1"]),
    ("thresholds.min_count=0", ["`thresholds.min_count`", "0"]),
    ("calibration.folds=1", ["`calibration.folds`", "1"]),
    # not one of the allowed words
    ("source.kind=kafka", ["`source.kind`", "files, synthetic", "'kafka'"]),
    ("source.format=orc", ["`source.format`", "parquet, csv, jsonl", "'orc'"]),
    ("quality.nulls=maybe", ["`quality.nulls`", "quarantine, zero, median", "'maybe'"]),
    ("quality.nulls={fee: maybe}", ["`quality.nulls`", "quarantine, zero, median", "'maybe'"]),
    (
        "scaling.method=max",
        ["`scaling.method`", "'robust', 'standard', 'minmax' or 'none'", "'max'"],
    ),
    ("scaling.transform=sqrt", ["`scaling.transform`", "'none', 'asinh' or 'log1p'", "'sqrt'"]),
    ("scaling.constant=keep", ["`scaling.constant`", "'zero', 'drop' or 'fail'", "'keep'"]),
    ("windows.short=cut", ["`windows.short`", "'drop' or 'pad'", "'cut'"]),
    (
        "model.name=transformer",
        [
            "`model.name`",
            "lstm_autoencoder, pca, isolation_forest, ridge_forecast, kmeans, last_value, zscore",
            "'transformer'",
        ],
    ),
    ("model.activation=gelu", ["`model.activation`", "'tanh'", "'relu'", "'gelu'"]),
    ("model.output=none", ["`model.output`", "'linear'", "'sigmoid'", "'none'"]),
    ("calibration.method=kfold", ["`calibration.method`", "split", "'kfold'"]),
    (
        "scoring.score=first",
        [
            "`scoring.score`",
            "'window', 'last', 'cover', 'mean', 'median', 'max' or 'min'",
            "'first'",
        ],
    ),
    ("thresholds.rules=[{name: sigma}]", ["`thresholds.rules.0`", "quantile", "'sigma'"]),
    (
        "thresholds.rules=[{name: pot, level: 0.99}]",
        ["`thresholds.rules.0`", "pot", "risk", "level"],
    ),
    (
        "thresholds.rules=[{name: pot, risk: 0.5}]",
        ["`thresholds.rules.0.risk`", "less than 0.1", "0.5"],
    ),
    (
        "thresholds.rules=[{name: [pot]}]",
        ["`thresholds.rules.0`", "quantile, pot, conformal, fixed"],
    ),
    ("thresholds.rules=[{name: fixed}]", ["`thresholds.rules.0`", "fixed", "value"]),
    (
        "thresholds.rules=[{name: fixed, value: .nan}]",
        ["`thresholds.rules.0.value`", "finite", "nan"],
    ),
    ("thresholds.use=other", ["thresholds", "use", "quantile", "'other'"]),
    ("thresholds.per=entity", ["`thresholds.per`", "'group', 'partition' or 'all'", "'entity'"]),
    ("tables.sink=csv", ["`tables.sink`", "parquet", "'csv'"]),
    # unknown keys
    ("run.sed=1", ["`run.sed`", "unknown key"]),
    ("windows.blocks=2", ["`windows.blocks`", "unknown key"]),
    ("window.length=5", ["`window`", "unknown key"]),
    # settings that do not go together
    ("source.path=", ["source", "`path` is needed for kind: files"]),
    ("source.events=5", ["source", "only kind: synthetic takes events"]),
    ("source.kind=synthetic", ["source", "synthetic takes no", "path"]),
    ("quality.nulls={amuont: zero}", ["quality.nulls", "amuont"]),
    # events
    ("events.entity=''", ["`events.entity`", "empty expression"]),
    ("events.where='  '", ["`events.where`", "empty expression"]),
    ("events.tiebreak=['']", ["`events.tiebreak", "empty expression"]),
    ("events.features={}", ["`events.features`", "at least 1"]),
    ("events.features={1a: x}", ["`events.features`", "'1a'", "letters, digits and _"]),
    ("events.features={entity: x}", ["`events.features`", "`entity`", "event contract"]),
    ("events.features={Fee: x, fee: y}", ["`events.features`", "differ only in case"]),
    ("events.features={fee: ''}", ["`events.features`", "`fee`", "empty expression"]),
    ("events.features={fee: null}", ["`events.features`", "`fee`", "empty expression"]),
    # splits
    ("split.train=", ["split.train is needed", "[from, to)"]),
    ("split.calibration=", ["split.calibration is needed", "[from, to)"]),
    ("split.test=", ["split.test is needed", "{path: …}"]),
    ("split.train=[2019-01-01]", ["`split.train`", "two times", "1"]),
    ("split.train=2019-01-01", ["`split.train`", "[from, to)", "2019"]),
    (
        "split.train=[2019-02-01, 2019-02-01]",
        ["`split.train`", "from must be before to", "2019-02-01"],
    ),
    (
        "split.train=[2019-02-01, 2019-01-01]",
        ["`split.train`", "from must be before to", "2019-01-01"],
    ),
    ("split.train=[soon, later]", ["`split.train`", "such as 2019-03-01", "'soon'"]),
    ("split.train=[1, 2]", ["`split.train`", "such as 2019-03-01", "1"]),
    (
        "split.train=[2019-01-01, 2019-03-02]",
        ["split", "overlap", "train", "calibration", "2019-03-02", "2019-03-01"],
    ),
    ("split.test=[2019-03-31, 2019-05-01]", ["split", "overlap", "calibration", "test"]),
    (
        "split.train=[2019-06-01, 2019-07-01]",
        ["split", "order train, calibration, test", "calibration", "before train"],
    ),
    ("split.train={path: other}", ["split", "only test takes a path, not train"]),
    ("split.test={path: ''}", ["`split.test.path`", "''"]),
    ("split.test={path: other, format: csv}", ["`split.test`", "{path: …}", "format"]),
    ("split.train={start: 2019-01-01, end: 2018-01-01}", ["`split.train`", "[from, to)"]),
    ("split.train={start: 1, end: 2}", ["`split.train`", "[from, to)"]),
    # --set itself
    ("run.seed", ["--set run.seed", "section.key=value"]),
    ("=1", ["--set =1", "section.key=value"]),
    ("run..seed=1", ["--set run..seed=1", "section.key=value"]),
    ("events.entity.x=1", ["--set events.entity.x=1", "`entity` is not a section"]),
]


@pytest.mark.parametrize(("override", "named"), BAD, ids=[b[0] for b in BAD])
def test_a_bad_setting_is_named_with_what_is_allowed_and_received(
    conf: Path, override: str, named: list[str]
) -> None:
    if override.startswith("events.entity.x"):
        conf.write_text(BASE.replace("entity: account", "entity: [account]"))
    message = refused(conf, override).replace(str(conf), "")
    for part in named:
        assert part in message


# (a section in place of the conf's own, what the message must hold)
BAD_SECTIONS = [
    ("tables: {glue: {database: 'My DB'}}", ["`tables.glue.database`", "'My DB'"]),
    ("tables: {glue: {database: a, create: 1}}", ["`tables.glue.create`", "1"]),
    ("tables: {sink: iceberg}", ["tables", "iceberg.warehouse", "s3://"]),
    ("tables: {sink: iceberg, location: x, iceberg: {warehouse: y}}", ["tables", "location"]),
    (
        "tables: {sink: iceberg, iceberg: {catalog: glue, warehouse: 's3://b/w', uri: 'http://x'}}",
        ["`tables.iceberg`", "rest", "http://x"],
    ),
    (
        "tables: {sink: iceberg, iceberg: {catalog: hive, warehouse: y}}",
        ["`tables.iceberg.catalog`", "'glue'", "'hive'"],
    ),
    (
        "tables: {sink: iceberg, iceberg: {warehouse: y, namespace: 'a.b'}}",
        ["`tables.iceberg.namespace`", "'a.b'"],
    ),
    ("tables: {iceberg: {warehouse: y}}", ["tables", "only sink: iceberg takes iceberg"]),
    ("aws: {kms_key: 5}", ["`aws.kms_key`", "5"]),
    ("aws: {requester_pays: true}", ["`aws.requester_pays`", "neither true nor false"]),
    ("aws: {secret_access_key: x}", ["`aws.secret_access_key`", "unknown key"]),
    (
        "source: {kind: athena, database: d, table: t, query: 'SELECT 1'}",
        ["source", "either `table` or `query`"],
    ),
    ("source: {kind: athena, table: t}", ["source", "`database` is needed"]),
    (
        "source: {kind: athena, database: d, table: t, partitions: [b, a]}",
        ["source", "partitions", "['b', 'a']"],
    ),
    (
        "source: {kind: athena, database: d, table: t, output: /tmp/x}",
        ["`source.output`", "/tmp/x"],
    ),
    ("tables: {sink: iceberg, iceberg: {warehouse: 'gs://b/w'}}", ["gs://", LATER]),
]


@pytest.mark.parametrize(("section", "named"), BAD_SECTIONS, ids=[b[0] for b in BAD_SECTIONS])
def test_a_bad_section_is_named_with_what_is_allowed_and_received(
    conf: Path, section: str, named: list[str]
) -> None:
    conf.write_text(yaml.safe_dump(yaml.safe_load(BASE) | yaml.safe_load(section)))
    message = refused(conf)
    for part in named:
        assert part in message


AVAILABLE_LATER = [
    ("source.format=npy", "npy"), ("source.path=gs://bucket/events", "gs://"),
    ("split.test={path: 'gs://bucket/test'}", "gs://"), ("model.from=gs://bucket/run", "gs://"),
    ("tables.location=gs://bucket/tables", "gs://"),
    ("model.name=point_process", "point_process"),
]  # fmt: skip


@pytest.mark.parametrize(("override", "what"), AVAILABLE_LATER, ids=[b[0] for b in AVAILABLE_LATER])
def test_what_a_later_version_brings_is_refused_as_such(
    conf: Path, override: str, what: str
) -> None:
    message = refused(conf, override)
    assert LATER in message
    assert what in message
    assert override.partition("=")[0].split(".")[0] in message
    assert SettingsError.exit_code == 2


def test_detectors_of_a_later_version(conf: Path) -> None:
    conf.write_text(BASE + "detectors: [pca, point_process]")
    message = refused(conf)
    assert LATER in message and "point_process" in message
    with pytest.raises(SettingsError, match=LATER):
        load_settings("gs://bucket/conf.yaml")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", ["sections", "NoneType"]),
        ("[1, 2]", ["sections", "list"]),
        ("a: [", ["not valid YAML"]),
        ("a: 1\na: 2", ["not valid YAML", "'a' stands twice", "line 1"]),
        (BASE.replace("2019-01-01", "2019-13-01"), ["not valid YAML", "month"]),
        (BASE.replace("events:", "event:"), ["`events` is missing", "`event`: unknown key"]),
        (BASE.replace("time: at, ", ""), ["`events.time` is missing"]),
        (BASE + "run: 5", ["`run`", "5"]),
        (BASE + "nope: 1", ["`nope`", "unknown key"]),
        (BASE + "1: 2", ["`1`"]),
        (BASE + "detectors: pca", ["`detectors`", "'pca'"]),
        (BASE + "detectors: [pca, pca]", ["`detectors`", "twice"]),
        (BASE + "detectors: [lstm_autoencoder]", ["`detectors`", "model.name"]),
        (
            BASE + "detectors: [last_value]\nscoring: {score: min}",
            ["last_value", "scoring.score: min"],
        ),
        (
            BASE + "model: {name: last_value}\nwindows: {short: pad}",
            ["last_value", "windows.short: pad"],
        ),
        (
            BASE + "detectors: [ridge_forecast]\nwindows: {length: 1}",
            ["ridge_forecast", "windows.length", "received 1"],
        ),
        (BASE + "ensemble: {of: [pca]}", ["`ensemble.of`", "at least 2"]),
        (BASE + "ensemble: {of: [pca, pca]}", ["`ensemble.of`", "named twice"]),
        (BASE + "ensemble: {of: [pca, ensemble]}", ["`ensemble.of`", "not made of itself"]),
        (BASE + "ensemble: {of: [pca, oracle]}", ["`ensemble.of`", "'oracle'"]),
        (BASE + "model: {name: ensemble}", ["section ensemble"]),
        (BASE + "detectors: [ensemble]", ["`detectors`", "section ensemble"]),
        (
            BASE + "scoring: {errors: mahalanobis}",
            ["errors: mahalanobis", "last, cover, mean", "received window"],
        ),
        (
            BASE + "scoring: {errors: standardised, score: max}",
            ["errors: standardised", "received max"],
        ),
        (
            BASE + "scoring: {errors: standardised}\nmodel: {name: isolation_forest}",
            ["isolation_forest", "expects"],
        ),
        (BASE + "scoring: {smooth: 1}", ["`scoring.smooth.mean`", "2"]),
        (
            BASE + "scoring: {smooth: {mean: 3, exponential: 4}}",
            ["`scoring.smooth`", "{exponential: events}"],
        ),
        (
            BASE + "thresholds: {rules: [{name: conformal, control: none}]}",
            ["control", "'fdr'", "'risk'"],
        ),
        (
            BASE + "thresholds: {rules: [{name: quantile, control: fdr}]}",
            ["rule `quantile` takes level and margin", "control"],
        ),
        (BASE + "detectors: [zebra]", ["`detectors`", "pca", "'zebra'"]),
        (BASE + "thresholds: {rules: [{level: 0.9}, {level: 0.9}]}", ["thresholds", "the same"]),
    ],
)
def test_a_bad_conf_file(conf: Path, text: str, named: list[str]) -> None:
    conf.write_text(text)
    message = refused(conf)
    assert str(conf) in message
    for part in named:
        assert part in message


def test_a_conf_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "absent.yaml")
    assert "cannot be read" in refused(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00run")
    assert "cannot be read" in refused(tmp_path / "binary.yaml")


def test_all_that_is_wrong_is_said_at_once(conf: Path) -> None:
    message = refused(conf, "run.seed=x", "windows.stride=0", "quality.typo=1")
    assert all(f"`{key}`" in message for key in ("run.seed", "windows.stride", "quality.typo"))


# --- what is accepted -----------------------------------------------------------------------------


DEFAULTS: dict[str, dict[str, Any]] = {
    "windows": {"length": 50, "stride": 1, "block": 1024, "max_gap": None, "short": "drop"},
    "scaling": {
        "method": "robust",
        "transform": "none",
        "clip": None,
        "constant": "zero",
        "floor": 0.0,
    },
    "model": {
        "name": "lstm_autoencoder",
        "units": [64, 32],
        "dense": 16,
        "activation": "tanh",
        "output": "linear",
        "dropout": 0.0,
        "l1": 0.0,
        "l2": 0.0,
        "from": None,
    },
    "quality": {
        "nulls": "quarantine",
        "max_quarantined": 0.01,
        "max_unjudged": None,
        "max_flagged": None,
    },
    "calibration": {"method": "split", "folds": 5},
    "training": {
        "epochs": 10,
        "batch": 256,
        "learning_rate": 0.001,
        "patience": 3,
        "windows_per_epoch": None,
        "replicas": "auto",
        "workers": 1,
    },
    "scoring": {"score": "window"},
    "thresholds": {
        "rules": [{"name": "quantile", "level": 0.99, "margin": 1.0}],
        "use": None,
        "per": "group",
        "min_count": 1000,
    },
    "tables": {"sink": "parquet", "location": None},
    "source": {"format": "parquet"},
}


def test_defaults_are_those_of_the_interface(conf: Path) -> None:
    settings = load_settings(str(conf))
    resolved = as_mapping(settings)
    for section, keys in DEFAULTS.items():
        assert {key: resolved[section][key] for key in keys} == keys
    assert resolved["detectors"] == ["pca", "isolation_forest"]
    assert settings.all_detectors == ("lstm_autoencoder", "pca", "isolation_forest")


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("run.seed=8", lambda s: s.run.seed == 8),
        ("run.name='2019'", lambda s: s.run.name == "2019"),
        ("training.learning_rate=1e-4", lambda s: s.training.learning_rate == 0.0001),
        ("training.learning_rate=1.5E-4", lambda s: s.training.learning_rate == 0.00015),
        ("training.windows_per_epoch=", lambda s: s.training.windows_per_epoch is None),
        ("windows.max_gap=null", lambda s: s.windows.max_gap is None),
        ("windows.max_gap=3600", lambda s: s.windows.max_gap == 3600.0),
        ("model.units=[8, 4]", lambda s: s.model.units == (8, 4)),
        (
            "split.test=[2019-06-01, 2019-07-01]",
            lambda s: s.split.test.start == datetime(2019, 6, 1, tzinfo=UTC),
        ),
        ("split.test={path: /elsewhere}", lambda s: s.split.test_path == "/elsewhere"),
        (
            "quality.nulls={default: zero, fee: median}",
            lambda s: [s.quality.null_policy(f) for f in s.feature_names] == ["zero", "median"],
        ),
        (
            "quality.nulls={fee: median}",
            lambda s: (
                [s.quality.null_policy(f) for f in s.feature_names] == ["quarantine", "median"]
            ),
        ),
        (
            "events.features.tip=cast(tip as double) / 2",
            lambda s: s.events.features["tip"] == "cast(tip as double) / 2",
        ),
        (
            "events.where=status = 'ok' and date >= '2019-01-01'",
            lambda s: s.events.where == "status = 'ok' and date >= '2019-01-01'",
        ),
        ("events.where='ok' = status", lambda s: s.events.where == "'ok' = status"),
        ("events.tiebreak=[block, 'index']", lambda s: s.events.tiebreak == ("block", "index")),
        ("events.tiebreak=block", lambda s: s.events.tiebreak == ("block",)),
        ("events.group=1", lambda s: s.events.group == "1"),
        (
            "thresholds.rules=[{level: 0.9}, {level: 0.99, margin: 2}]",
            lambda s: (
                [(r.level, r.margin) for r in s.thresholds.rules] == [(0.9, 1.0), (0.99, 2.0)]
            ),
        ),
    ],
)
def test_set_gives_typed_values(
    conf: Path, override: str, read: Callable[[Settings], bool]
) -> None:
    assert read(load_settings(str(conf), [override]))


def test_numbers_with_an_exponent_are_numbers() -> None:
    values = [parse_yaml(text) for text in ("1e-4", "1E6", "-2e+3", "1.5e3")]
    assert values == [0.0001, 1e6, -2000.0, 1500.0]
    assert all(type(v) is float for v in values)
    assert [parse_yaml(text) for text in ("1e", "e4", "0x1f", "12")] == ["1e", "e4", 31, 12]


def test_a_later_set_wins_and_new_sections_can_be_set(conf: Path) -> None:
    s = load_settings(str(conf), ["run.seed=8", "run.seed=9", "run.name=x"])
    assert (s.run.seed, s.run.name) == (9, "x")


def test_settings_cannot_be_changed(conf: Path) -> None:
    run: Any = load_settings(str(conf)).run
    with pytest.raises(ValidationError):
        run.seed = 9


def test_synthetic_sources_need_no_path(conf: Path) -> None:
    s = load_settings(str(conf), ["source.kind=files"])
    assert s.source.path is not None
    conf.write_text(
        BASE.replace(
            "{kind: files, path: data}", "{kind: synthetic, events: 100, kinds: [order_only]}"
        )
    )
    s = load_settings(str(conf))
    assert (s.source.path, s.source.events, s.source.kinds) == (None, 100, ("order_only",))
    assert "value_spike" in refused(conf, "source.kinds=[oddity]")


def test_from_another_run_needs_no_training_splits(conf: Path) -> None:
    s = load_settings(str(conf), ["model.from=../runs/first", "split.train=", "split.calibration="])
    assert s.model.from_ == str(conf.parent.parent / "runs" / "first")
    assert list(s.split.spans()) == ["test"]


# --- times ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("2019-01-02", datetime(2019, 1, 2)),
        ("'2019-01-02'", datetime(2019, 1, 2)),
        ("2019-01-02 03:04:05", datetime(2019, 1, 2, 3, 4, 5)),
        ("'2019-01-02T03:04:05.000006'", datetime(2019, 1, 2, 3, 4, 5, 6)),
        ("2019-01-02T03:04:05+02:00", datetime(2019, 1, 2, 1, 4, 5)),
        ("'2019-01-02T03:04:05+02:00'", datetime(2019, 1, 2, 1, 4, 5)),
        ("'2019-01-02T03:04:05Z'", datetime(2019, 1, 2, 3, 4, 5)),
    ],
)
def test_dates_and_timestamps_quoted_or_not_are_utc(conf: Path, text: str, start: datetime) -> None:
    span = load_settings(str(conf), [f"split.train=[{text}, 2019-03-01]"]).split.train
    assert span is not None
    assert span.start == start.replace(tzinfo=UTC)
    assert span.micros[0] == round((start - datetime(1970, 1, 1)).total_seconds() * 1e6)


def test_splits_may_touch_and_leave_room_between_them(conf: Path) -> None:
    s = load_settings(str(conf), ["split.test=[2019-07-01, 2019-08-01]"])
    assert s.split.train is not None and s.split.calibration is not None
    assert isinstance(s.split.test, Span)
    assert (
        s.split.train.end
        == s.split.calibration.start
        < s.split.calibration.end
        < s.split.test.start
    )


# --- paths ----------------------------------------------------------------------------------------


def test_paths_are_relative_to_the_conf_file(
    conf: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir("/")
    given = [
        "source.path=../data/*.csv",
        "split.test={path: here}",
        "tables.location=tables",
        "model.from=../runs/a",
    ]
    s = load_settings(str(conf), given)
    assert s.source.path == str(tmp_path / "data" / "*.csv")
    assert s.split.test_path == str(tmp_path / "conf" / "here")
    assert s.tables.location == str(tmp_path / "conf" / "tables")
    assert s.model.from_ == str(tmp_path / "runs" / "a")
    monkeypatch.chdir(conf.parent)
    assert load_settings("run.yaml", given) == s


def test_absolute_paths_home_and_file_urls(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    for given, wanted in (
        ("/data/x", "/data/x"),
        ("~/x", "/home/someone/x"),
        ("file:///data/x", "/data/x"),
    ):
        assert load_settings(str(conf), [f"source.path={given}"]).source.path == wanted


# --- sha256 ---------------------------------------------------------------------------------------


def test_equal_settings_have_equal_sha256_however_they_are_written(conf: Path) -> None:
    wanted = sha256(load_settings(str(conf)))
    lines = BASE.strip().splitlines()
    same = [
        "\n".join(reversed(lines)),
        BASE.replace("2019-01-01", "'2019-01-01T00:00:00Z'"),
        BASE.replace("path: data", "format: parquet, path: ./data"),
        BASE + "windows: {length: 50}\nscaling: {floor: 0}\ntraining: {learning_rate: 1e-3}\n",
    ]
    for text in same:
        conf.write_text(text)
        assert sha256(load_settings(str(conf))) == wanted
    conf.write_text(BASE)
    assert sha256(load_settings(str(conf), ["scaling.floor=0.0", "run.seed=7"])) == wanted
    nulls = ("{fee: zero, amount: median}", "{amount: median, fee: zero}")
    assert len({sha256(load_settings(str(conf), [f"quality.nulls={n}"])) for n in nulls}) == 1


@pytest.mark.parametrize(
    "override",
    [
        "run.seed=8",
        "windows.length=49",
        "split.test=[2019-04-01, 2019-05-02]",
        "events.features.fee=fee + 1",
        "source.path=other",
        "thresholds.rules=[{level: 0.9}]",
        "quality.nulls={fee: zero}",
        "model.units=[32, 64]",
    ],
)
def test_other_settings_have_another_sha256_and_are_named(conf: Path, override: str) -> None:
    a, b = load_settings(str(conf)), load_settings(str(conf), [override])
    assert sha256(a) != sha256(b)
    key = override.partition("=")[0]
    assert differing_keys(as_mapping(a), as_mapping(b)) == [key]
    assert differing_keys(as_mapping(a), as_mapping(a)) == []


@pytest.mark.parametrize(
    "override",
    [
        "run.seed=8",
        "split.test={path: /x}",
        "quality.nulls={fee: zero}",
        "windows.max_gap=5",
        "model.from=/r",
    ],
)
def test_settings_written_and_read_back_are_the_same(conf: Path, override: str) -> None:
    s = load_settings(str(conf), [override])
    again = build_settings(yaml.safe_load(yaml.safe_dump(as_mapping(s))))
    assert again == s
    assert sha256(again) == sha256(s)


def test_synthetic_settings_written_and_read_back(conf: Path) -> None:
    source = "{kind: synthetic, start: 2019-01-01, anomalies_from: 2019-04-01}"
    conf.write_text(BASE.replace("{kind: files, path: data}", source))
    s = load_settings(str(conf))
    assert sha256(build_settings(as_mapping(s))) == sha256(s)


@pytest.mark.parametrize("name", ["demo", "ethereum", "ethereum_schema"])
def test_the_conf_files_of_the_repository_are_valid(name: str) -> None:
    s = load_settings(str(Path(__file__).parents[2] / "conf" / f"{name}.yaml"))
    assert s.feature_names
