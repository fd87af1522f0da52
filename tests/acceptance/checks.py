"""The acceptance checks of the main job.

Each check is a function of its size: reduced in the tests, full in scripts/accept.
It takes a scratch folder and a Spark session, and returns its figures.
It raises AssertionError if the claim does not hold.
"""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow.parquet as pq
from foreshock.settings.load import build_settings
from foreshock.stages.context import Context
from foreshock.stages.extract import extract
from foreshock.stages.pipeline import pipeline
from foreshock.stages.prepare import prepare
from foreshock.stages.train import train
from foreshock.statistics.arrays import AnyArray

from acceptance import tools


def _context(made: dict[str, Any], run_dir: Path, spark: Any) -> Context:
    return Context(build_settings(made), str(run_dir), quiet=True, spark=spark)


def run(made: dict[str, Any], run_dir: Path, spark: Any) -> dict[str, Any]:
    """The whole pipeline in this process; returns summary.json."""
    context = _context(made, run_dir, spark)
    with context.open():
        pipeline(context)
    return tools.summary(run_dir)


def prepare_only(made: dict[str, Any], run_dir: Path, spark: Any) -> Path:
    context = _context(made, run_dir, spark)
    with context.open():
        extract(context, whole_run=True)
        prepare(context)
    return run_dir / "dataset"


def read_plain(folder: Path) -> list[Any]:
    """A dataset's rows by plain petastorm.make_reader."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from petastorm import make_reader

        with make_reader(
            folder.resolve().as_uri(), reader_pool_type="dummy", shuffle_row_groups=False
        ) as reader:
            return list(reader)


def demo_conf(seed: int, **changes: Any) -> dict[str, Any]:
    from foreshock.settings.conf_yaml import parse_yaml

    made: dict[str, Any] = parse_yaml((tools.ROOT / "conf" / "demo.yaml").read_text())
    made["run"]["seed"] = seed
    for name, value in changes.items():
        section, key = name.split("__")
        made.setdefault(section, {})[key] = value
    return made


def order_only(work: Path, spark: Any, *, seeds: tuple[int, ...]) -> dict[str, Any]:
    """ROC AUC on order-only anomalies of the demo's test split.

    The network reaches at least 0.85. The isolation forest reaches at most 0.65.
    """
    figures: dict[str, Any] = {}
    for seed in seeds:
        found = run(demo_conf(seed), work / f"demo-{seed}", spark)
        assert tools.reconciles(found["counts"]), found["counts"]
        for detector in found["detectors"]:
            for m in found["metrics"]:
                what = (m["detector"], m["split"], m["metric"], m["group"])
                if what == (detector, "test", "roc_auc", "all") and m["kind"] in (
                    "order_only",
                    None,
                ):
                    figures[f"seed {seed}, {detector}, {m['kind'] or 'all kinds'}"] = m["value"]
        network, forest = (
            figures[f"seed {seed}, {d}, order_only"]
            for d in ("lstm_autoencoder", "isolation_forest")
        )
        assert network >= 0.85, figures
        assert forest <= 0.65, figures
    return figures


def ethereum(work: Path, spark: Any) -> dict[str, Any]:
    """The 71,239 labelled transactions: the counts reconcile, and detection is measured."""
    from foreshock.settings.load import load_settings

    context = Context(
        load_settings(str(tools.ROOT / "conf" / "ethereum.yaml")),
        str(work / "ethereum"),
        quiet=True,
        spark=spark,
    )
    with context.open():
        pipeline(context)
    found = tools.summary(work / "ethereum")
    counts = found["counts"]
    assert tools.reconciles(counts), counts
    assert counts["rows_read"] == 71_239, counts
    aucs = {
        f"roc_auc {m['detector']} {m['split']}": m["value"]
        for m in found["metrics"]
        if m["metric"] == "roc_auc"
    }
    return {**{k: v for k, v in counts.items() if isinstance(v, int)}, **aucs}


def schema(work: Path, spark: Any) -> dict[str, Any]:
    """298 transactions with 28 columns: all in events/, value exact, nulls by policy."""
    import json

    from foreshock.settings.load import load_settings

    context = Context(
        load_settings(str(tools.ROOT / "conf" / "ethereum_schema.yaml")),
        str(work / "schema"),
        quiet=True,
        spark=spark,
    )
    with context.open():
        extract(context)
    lines = (tools.SHARED / "ethereum_blocks_17173049_17173050.jsonl").read_text().splitlines()
    wanted = {r["hash"]: r for r in map(json.loads, lines)}
    rows = tools.query(
        "SELECT event_id, CAST(value AS VARCHAR), value_eth, max_fee_gwei, CAST(max_fee_per_gas AS "
        "VARCHAR) FROM "
        f"read_parquet('{work}/schema/events/**/*.parquet')"
    )
    assert len(rows) == len(wanted) == 298
    for event, value, eth, fee, raw_fee in rows:
        assert int(value) == wanted[event]["value"], event
        assert abs(eth - wanted[event]["value"] / 1e18) <= 1e-12 * max(1.0, eth)
        expected = wanted[event]["max_fee_per_gas"]
        assert (raw_fee is None) == (expected is None)
        assert fee == (0.0 if expected is None else expected / 1e9), event
    beyond = sum(r["value"] > 2**63 - 1 for r in wanted.values())
    return {
        "rows": len(rows),
        "values beyond int64, exact": beyond,
        "nulls to zero": sum(r[4] is None for r in rows),
    }


def windows(work: Path, spark: Any, *, cases: int, seed: int = 0) -> dict[str, Any]:
    """The windows are the same as by brute force, for random tables, partitionings and settings.

    Their ids, times and labels are right too.
    """
    rng = np.random.default_rng(seed)
    total = 0
    for case in range(cases):
        length = int(rng.integers(1, 9))
        settings = {
            "length": length,
            "block": int(rng.integers(length, 40)),
            "stride": int(rng.integers(1, 5)),
            "max_gap": None if rng.random() < 0.5 else float(rng.integers(20, 40000)),
            "short": "pad" if rng.random() < 0.3 else "drop",
        }
        made = {**tools.conf(), "windows": settings}
        table = tools.event_rows(
            int(rng.integers(300, 900)),
            int(rng.integers(1, 8)),
            int(rng.integers(2**31)),
            skew=0.95 if rng.random() < 0.5 else 0.0,
        )
        source = tools.write(table, work / f"w{case}", files=int(rng.integers(1, 5)), shuffle=case)
        made["source"]["path"] = str(source)
        made["thresholds"]["min_count"] = 1
        partitions = int(rng.integers(1, 18))
        dataset = prepare_with_parts(made, work / f"r{case}", spark, partitions)
        total += compare_windows(table, made, dataset)
    return {"cases": cases, "windows compared": total}


def prepare_with_parts(made: dict[str, Any], run_dir: Path, spark: Any, parts: int) -> Path:
    """Extract and prepare with a given number of sorted parts."""
    from foreshock.stages import prepare_windows

    class Session:
        """A session that answers with a wanted parallelism."""

        class sparkContext:
            defaultParallelism = parts

        def __getattr__(self, name: str) -> Any:
            return getattr(spark, name)

    assert prepare_windows.ROWS_PER_FILE > 10_000
    # Small runs are cut in the driver, in one part: here it is Spark that cuts them.
    with patch.object(prepare_windows, "ROWS_HERE", 0):
        return prepare_only(made, run_dir, Session())


def compare_windows(table: Any, made: dict[str, Any], dataset: Path) -> int:
    wanted = tools.brute_force(table, made)
    facts = {
        r["id"]: (int(r["time"].timestamp() * 1e6 + 0.5), r["label"])
        for r in table.select(["id", "time", "label"]).to_pylist()
    }
    length, stride = made["windows"]["length"], made["windows"].get("stride", 1)
    total = 0
    for split, by_entity in wanted.items():
        expected = Counter((e, v) for e, views in by_entity.items() for v in views)
        found: Counter[Any] = Counter()
        folder = dataset / split
        for block in read_plain(folder) if folder.exists() else []:
            padding = int(block.first_padding)
            assert block.x.dtype == np.float32
            assert len(block.x) == len(block.event_id) == (block.n_windows - 1) * stride + length
            for event, time, label in list(
                zip(block.event_id, block.event_time, block.label, strict=True)
            )[padding:]:
                assert facts[str(event)] == (int(time), int(label)), event
            for w in range(block.n_windows):
                view = block.event_id[w * stride : w * stride + length]
                found[str(block.entity), tuple(map(str, view[padding:]))] += 1
        assert found == expected, (split, sum(found.values()), sum(expected.values()))
        total += sum(found.values())
    return total


def dataset_size(work: Path, spark: Any, *, events: int) -> dict[str, Any]:
    """x takes at most 1.10 x the scaled float32 matrix, uncompressed.

    The dataset opens with plain petastorm and with Spark.
    """
    table = tools.event_rows(events, 2, 5)
    made = tools.conf(windows__length=50, windows__block=1024)
    made["source"]["path"] = str(tools.write(table, work / "size"))
    folder = prepare_only(made, work / "size-run", spark)
    uncompressed = x_bytes = rows_in_spark = blocks = 0
    for split in ("train", "calibration", "test"):
        for file in (folder / split).glob("*.parquet"):
            meta = pq.read_metadata(file)
            for g in range(meta.num_row_groups):
                for c in range(meta.num_columns):
                    if meta.row_group(g).column(c).path_in_schema == "x":
                        uncompressed += meta.row_group(g).column(c).total_uncompressed_size
        rows_in_spark += spark.read.parquet(str(folder / split)).count()
        read = read_plain(folder / split)
        blocks += len(read)
        x_bytes += sum(r.x.nbytes for r in read)
    ratio = uncompressed / (events * 2 * 4)
    assert rows_in_spark == blocks
    assert ratio <= 1.10, ratio
    size = sum(f.stat().st_size for f in folder.rglob("*.parquet"))
    return {
        "x uncompressed / float32 matrix": ratio,
        "whole dataset, bytes an event (2 features)": size / events,
        "blocks": blocks,
    }


def scaling_exact(work: Path, spark: Any, *, values: int, partitions: int = 40) -> dict[str, Any]:
    """Quartiles over the partitions equal numpy's inverted_cdf exactly.

    The order and the partitioning of the values do not matter.
    """
    import pyarrow as pa
    from foreshock.scaling.spark import fit_summary

    rng = np.random.default_rng(1)
    heavy = (rng.standard_t(1.1, values) * 10.0 ** rng.integers(-3, 6, values)).astype(np.float32)
    wanted = [float(np.quantile(heavy, q, method="inverted_cdf")) for q in (0.25, 0.5, 0.75)]
    time = np.datetime64("2024-01-01", "us").astype(np.int64)
    for case, (parts, order) in enumerate(((partitions, None), (partitions, 3), (7, 4))):
        x = heavy if order is None else heavy[np.random.default_rng(order).permutation(values)]
        items = {}
        for i, piece in enumerate(np.array_split(x, parts)):
            path = work / f"s{case}" / f"{i}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            n = len(piece)
            pq.write_table(
                pa.table(
                    {
                        "event_time": pa.array(np.full(n, time), pa.timestamp("us", tz="UTC")),
                        "train_ok": [True] * n,
                        "f": piece.astype(np.float64),
                    }
                ),
                path,
            )
            items[f"p{i}"] = [str(path)]
        span = (int(time), int(time) + 1)
        summary = fit_summary(
            spark, items, ("f",), span, "none", before=work / "none", after=work / f"summary{case}"
        )
        found = list(summary.quartiles()["f"])
        assert found == wanted, (case, found, wanted)
    return {"values": values, "q1": wanted[0], "median": wanted[1], "q3": wanted[2]}


def threshold(work: Path, spark: Any, *, runs: int, events: int) -> dict[str, Any]:
    """The threshold of level 0.99 keeps what it promises.

    The share above it at calibration is within 1/n of 0.01.
    The share above it on test is within three cluster-robust standard errors of 0.01.
    Its interval covers the true quantile in 90 % to 98 % of autoregressive runs.
    """
    made = tools.conf(windows__length=10, events__features={"a": "a"})
    made["thresholds"]["min_count"] = 500
    made["source"]["path"] = str(tools.write(stationary(events, 40, 11), work / "t"))
    run(made, work / "t-run", spark)
    rows = [(e, *r) for e, r in tools.scores(work / "t-run").items()]
    limit = next(r[4] for r in rows)
    calibration = np.array([r[3] for r in rows if r[1] == "calibration" and r[3] is not None])
    above = float((calibration > limit).mean())
    assert abs(above - 0.01) <= 1 / len(calibration), above
    entity = dict(
        tools.query(
            f"SELECT event_id, entity FROM read_parquet('{work}/t-run/tables/scores/**/*.parquet')"
        )
    )
    test = [
        (entity[r[0]], float(r[3] > limit)) for r in rows if r[1] == "test" and r[3] is not None
    ]
    share, se = _cluster_robust(test)
    cal_se = _cluster_robust(
        [
            (entity[r[0]], float(r[3] > limit))
            for r in rows
            if r[1] == "calibration" and r[3] is not None
        ]
    )[1]
    assert abs(share - 0.01) <= 3 * float(np.hypot(se, cal_se)), (share, se, cal_se)
    coverage = interval_coverage(runs)
    assert 0.90 <= coverage <= 0.98, coverage
    return {
        "share above at calibration": above,
        "n": len(calibration),
        "share above at test": share,
        "its standard error": se,
        f"interval coverage over {runs} runs": coverage,
    }


def _cluster_robust(flags: list[tuple[str, float]]) -> tuple[float, float]:
    mean = float(np.mean([f for _, f in flags]))
    sums: dict[str, float] = {}
    for entity, flag in flags:
        sums[entity] = sums.get(entity, 0.0) + flag - mean
    return mean, float(np.sqrt(np.sum(np.square(list(sums.values()))))) / len(flags)


def stationary(n: int, entities: int, seed: int) -> Any:
    """Events of independent AR(1) entities, stationary from the first, evenly in time."""
    table = tools.event_rows(n, entities, seed)
    rng = np.random.default_rng(seed + 1)
    per = n // entities
    a = np.empty((per, entities))
    a[0] = rng.normal(size=entities) / np.sqrt(1 - 0.5**2)
    for i in range(1, per):
        a[i] = 0.5 * a[i - 1] + rng.normal(size=entities)
    who = [f"e{i % entities}" for i in range(per * entities)]
    table = table.slice(0, per * entities)
    start = np.datetime64("2024-01-01T00:00:00", "us").astype(np.int64)
    time = start + np.linspace(0, 20 * 86400e6 - 1, per * entities).astype(np.int64)
    import pyarrow as pa

    table = table.set_column(table.schema.get_field_index("a"), "a", pa.array(a.ravel()))
    table = table.set_column(table.schema.get_field_index("entity"), "entity", pa.array(who))
    return table.set_column(
        table.schema.get_field_index("time"), "time", pa.array(time, pa.timestamp("us", tz="UTC"))
    )


def interval_coverage(runs: int, *, length: int = 10, entities: int = 20, per: int = 1000) -> float:
    """The share of runs in which the interval of the 0.99 quantile holds the true quantile.

    Each run simulates AR(1) entities, smoothed by windows.
    """
    from foreshock.thresholds.interval import BLOCK_SHIFT, quantile_interval

    def simulate(rng: np.random.Generator, n: int, many: int) -> AnyArray:
        x = np.empty((n + length, many))
        x[0] = rng.normal(size=many) / np.sqrt(1 - 0.25)
        noise = rng.normal(size=x.shape)
        for i in range(1, len(x)):
            x[i] = 0.5 * x[i - 1] + noise[i]
        squares = np.cumsum(np.square(x), axis=0)
        means: AnyArray = (squares[length:] - squares[:-length]) / length
        return means

    true = float(np.quantile(simulate(np.random.default_rng(99), 40_000, 50), 0.99))
    inside = 0
    for seed in range(runs):
        scores = simulate(np.random.default_rng([7, seed]), per, entities).T  # (entities, per)
        place = np.arange(per)
        unit = (np.arange(entities)[:, None] << BLOCK_SHIFT) + place[None] // length
        units, sizes = np.unique(unit, return_counts=True)
        start = np.quantile(scores, 0.96)
        up = scores >= start
        low, high = quantile_interval(units, sizes, scores[up], unit[up], 0.99, seed)
        assert low is not None and high is not None
        inside += low <= true <= high
    return inside / runs


def bundle(work: Path, spark: Any) -> dict[str, Any]:
    """A saved and reloaded model equals the model in memory to 1e-6.

    Scores do not depend on the batch size.
    """
    from foreshock.windows.models import bundle as bundles
    from foreshock.windows.models import lstm_autoencoder as network
    from foreshock.windows.models.fitting import fit_sample
    from support.small_detectors import NO_FACTS

    spec = network.NetworkSpec.from_mapping(
        {
            "length": 12,
            "features": 3,
            "units": [16, 8],
            "dense": 8,
            "activation": "tanh",
            "output": "linear",
            "dropout": 0.0,
            "l1": 0.0,
            "l2": 0.0,
        }
    )
    x = np.random.default_rng(0).normal(size=(3000, 12, 3)).astype(np.float32)
    weight = np.ones((3000, 12), np.float32)
    models = {
        "lstm_autoencoder": network.LSTMAutoencoder(network.build(spec), spec),
        "pca": fit_sample("pca", x, weight, 1),
        "isolation_forest": fit_sample("isolation_forest", x, weight, 1),
    }
    folder = work / "bundle"
    folder.mkdir()
    bundles.save(folder, bundles.Bundle(models, ("a", "b", "c"), 12, "s", NO_FACTS))
    loaded = bundles.load(folder)
    figures = {}
    for name, model in models.items():
        memory = model.errors(x)
        figures[f"{name}: reloaded"] = float(np.abs(memory - loaded.models[name].errors(x)).max())
        assert figures[f"{name}: reloaded"] <= 1e-6
        parts = np.concatenate([model.errors(p) for p in np.array_split(x, 37)])
        figures[f"{name}: other batches"] = float(
            np.abs(memory - parts).max() / max(1.0, float(memory.max()))
        )
        assert figures[f"{name}: other batches"] <= 1e-5
    return figures


def repeat(work: Path, spark: Any, *, events: int) -> dict[str, Any]:
    """The same seed and settings give the same scores.

    They do so in a second run, and with rows in another order, in other files and parts.
    """
    table = tools.event_rows(events, 6, 21)
    network = {"name": "lstm_autoencoder", "units": [8], "dense": 4}
    made = tools.conf(windows__length=8)
    made |= {
        "model": network,
        "detectors": ["pca", "isolation_forest"],
        "training": {"epochs": 2, "batch": 64},
    }
    made["source"]["path"] = str(tools.write(table, work / "a", files=1))
    run(made, work / "run-a", spark)
    run(made, work / "run-b", spark)
    other = {
        **made,
        "source": {
            **made["source"],
            "path": str(tools.write(table, work / "c", files=7, shuffle=9)),
        },
    }
    context = _context(other, work / "run-c", spark)
    with context.open():
        extract(context, whole_run=True)
    prepare_with_parts(other, work / "run-c", spark, 13)
    with context.open():
        pipeline(context)
    twice = tools.largest_difference(work / "run-a", work / "run-b")
    order = tools.largest_difference(work / "run-a", work / "run-c")
    assert twice <= 1e-6 and order <= 1e-5, (twice, order)
    return {"two runs": twice, "other order, files and parts": order}


def train_only(made: dict[str, Any], run_dir: Path, spark: Any) -> None:
    context = _context(made, run_dir, spark)
    with context.open():
        extract(context, whole_run=True)
        prepare(context)
        train(context)
