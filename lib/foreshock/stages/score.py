"""Score: every window of every split, then distributions, thresholds, tables and metrics."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from foreshock import columns as C
from foreshock.errors import DataError, SettingsError
from foreshock.evaluation.spark import metrics
from foreshock.events.partitions import is_time
from foreshock.platform.files import digest, file_sha256, write_json
from foreshock.platform.parquet import dataset, read_table
from foreshock.platform.transfers import move, remove
from foreshock.sequences.folds import END
from foreshock.sequences.split import BlockRole, Split
from foreshock.settings.root import ENSEMBLE, RuleSettings
from foreshock.stages.adjust import ADJUST, adjust
from foreshock.stages.context import Context
from foreshock.stages.details import details
from foreshock.stages.diagnose import SHAPES, VERDICT, diagnose
from foreshock.stages.donor import donor_run
from foreshock.stages.extract import read_ledger
from foreshock.stages.publish import publisher_of
from foreshock.stages.scaler_file import read_scaler
from foreshock.tables import spark as tables
from foreshock.tables.attribution import Units
from foreshock.thresholds import spark as thresholds_spark
from foreshock.thresholds.distribution import QUANTILES, Distributions, Key, locate
from foreshock.thresholds.fitting_spark import Fitting
from foreshock.thresholds.rules import (
    Judging,
    Threshold,
    check_borrowed,
    fixed_row,
    judging,
    threshold_of,
)
from foreshock.windows.dataset.manifest import Manifest, read_manifest
from foreshock.windows.models import bundle as bundles
from foreshock.windows.models.bundle import fold_name
from foreshock.windows.scoring.aggregate import ENDING
from foreshock.windows.scoring.scorer import Plan, Task
from foreshock.windows.scoring.spark import event_spans, score_files


def score(context: Context, partitions: list[str] | None = None) -> None:
    """Score and publish the tables. With partitions, only their events, judged by the thresholds that the run has.

    Raises DataError for a dataset or bundle that do not belong together, or too few calibration events.
    """
    for stage in ("prepare", "train"):
        if context.run.record(stage) is None:
            raise SettingsError(
                f"--run-dir {context.run.path}: stage {stage} is not done there. Run jobs/{stage}.py first."
            )
        context.run.verify(stage)
    manifests = {
        s: read_manifest(context.run / "dataset" / s)
        for s in C.SPLITS
        if (context.run / "dataset" / s).exists()
    }
    bundle_sha = file_sha256(context.run / "model" / bundles.NAME)
    fingerprint = digest(
        {"settings": context.sha256, "prepare": context.run.record("prepare"), "bundle": bundle_sha}
    )
    if partitions is None and not context.force and context.run.is_done("score", fingerprint):
        context.log.event("score", "nothing to do")
        publisher_of(context).publish(read_scaler(context.run / "scaler.json"))
        return
    publisher_of(context).look()
    bundle = bundles.load(context.run / "model")
    scaler_sha = file_sha256(context.run / "scaler.json")
    for manifest in manifests.values():
        bundles.check(
            bundle,
            manifest.features,
            manifest.length,
            manifest.scaler_sha256,
            str(context.run / "model"),
        )
    if any(m.scaler_sha256 != scaler_sha for m in manifests.values()):
        raise DataError(
            f"{context.run / 'scaler.json'}: not the scaler that the dataset was scaled with. Run jobs/prepare.py --force."
        )
    detectors = context.settings.all_detectors
    if missing := sorted(set(context.settings.fitted_detectors) - set(bundle.models)):
        raise DataError(
            f"{context.run / 'model'}: holds no {', '.join(missing)}; train again, or leave it out of detectors."
        )
    if partitions is not None and context.settings.scoring.smooth is not None:
        raise SettingsError(
            "--partitions: scoring.smooth averages over scores before them too, so a run is scored whole. Leave one out."
        )
    with context.attempt("score") as counts:
        work = context.run.staging("score")
        _Scoring(context, manifests, detectors, bundle, bundle_sha, work, partitions).run(
            fingerprint, counts
        )
        remove(work)
    publisher_of(context).publish(read_scaler(context.run / "scaler.json"), partitions)


class _Scoring:
    """One scoring job: what its steps share."""

    def __init__(
        self,
        context: Context,
        manifests: dict[str, Manifest],
        detectors: tuple[str, ...],
        bundle: bundles.Bundle,
        bundle_sha: str,
        work: Path,
        partitions: list[str] | None,
    ) -> None:
        self.context, self.manifests, self.detectors, self.bundle, self.work = (
            context,
            manifests,
            detectors,
            bundle,
            work,
        )
        self.partitions, self.borrowed = partitions, _borrowed(context, partitions)
        s = context.settings
        self.chosen = s.fitted_split if s.events.calibrate_where is not None else None
        manifest = next(iter(manifests.values()))
        self.plan = Plan(
            str(context.run / "model"),
            bundle_sha,
            s.fitted_detectors,
            s.scoring.score,
            manifest.length,
            manifest.stride,
            s.model.name != ENSEMBLE,
        )
        self.known_partitions = read_ledger(context).kept_partitions()

    def run(self, fingerprint: str, counts: dict[str, Any]) -> None:
        context, work = self.context, self.work
        tasks = self._tasks()
        context.log.event(
            "score",
            "scoring",
            chunks=len(tasks),
            windows=sum(m.total("windows") for m in self.manifests.values()),
        )
        files = score_files(context.spark, self.plan, tasks, len(self.bundle.features), work)
        files = adjust(
            context, files, self.plan.detectors, self.chosen, self.partitions is not None, work
        )
        found = thresholds_spark.histograms(context.spark, files, self.detectors, self.chosen)
        rows, exact = self._thresholds(files, found)
        by = judging(
            rows,
            rule=self.rule.name,
            level=self.rule.table_level,
            per=context.settings.thresholds.per,
            partition_is_time=is_time(self.known_partitions),
        )
        context.log.event(
            "score", "writing tables", threshold=by.get((self.detectors[0], None, None))
        )
        self._write(files, rows, found, exact, by)
        judged = sum(
            h.n
            for k, h in found.parts.items()
            if k.detector == self.detectors[0] and k.split in (C.CALIBRATION, C.TEST)
        )
        spans = event_spans(context.spark, files)
        by_split = {
            Split.of(name): spans[code]
            for code, name in ((role, role.split.text) for role in BlockRole)
            if code in spans
        }
        measured = metrics(
            context.spark,
            files,
            self.detectors,
            lambda d, g, p: threshold_of(by, d, g, p),
            judged=judged,
            run_id=context.run_id,
            seed=context.settings.run.seed,
            length=self.plan.length,
            spans=by_split,
        )
        tables.write_rows(measured, tables.METRICS, work / "tables" / C.METRICS)
        write_json(
            work / "score_details.json",
            details(context, self.plan, self.bundle, files, work / "tables" / C.SCORES, by),
        )
        counts |= {"judged": judged, "thresholds": len(rows), "metrics": len(measured)}
        if self.partitions is None:
            counts["verdict"] = diagnose(
                context, self.manifests, files, self.bundle, rows, measured, spans, work
            )["causes"]
        self._publish(fingerprint)

    @property
    def rule(self) -> RuleSettings:
        return self.context.settings.thresholds.judging_rule

    def _tasks(self) -> list[Task]:
        wanted = None if self.partitions is None else tuple(self.partitions)
        if wanted is not None and (unknown := sorted(set(wanted) - set(self.known_partitions))):
            raise SettingsError(
                f"--partitions: {', '.join(unknown)} not extracted; there are {', '.join(self.known_partitions[:20])}."
            )
        tasks = []
        for split, manifest in self.manifests.items():
            folder = self.context.run / "dataset" / split
            for chunk in manifest.chunks:
                covering = self.plan.kind not in ENDING
                if wanted is None or covering or set(wanted) & set(chunk.partitions):
                    task = Task(
                        str(folder / chunk.file), chunk.sha256, chunk.role, wanted, chunk.windows
                    )
                    tasks += [task, *self._held_out(task)]
        return tasks

    def _held_out(self, task: Task) -> list[Task]:
        """The tasks that score a chunk of train by the models that did not see it."""
        folds = self.bundle.folds
        if (
            self.context.settings.fitted_split != C.OUT_OF_FOLD
            or self.partitions is not None
            or not folds
        ):
            return []
        if task.code == BlockRole.VALIDATION:
            return [replace(task, held_out=(self.plan.bundle, self.plan.bundle_sha256, -END, END))]
        if task.code != BlockRole.FIT:
            return []
        made = []
        for fold, (start, end) in enumerate(folds):
            where = self.context.run / "model" / fold_name(fold)
            made.append(
                replace(
                    task,
                    held_out=(str(where), file_sha256(where / bundles.NAME), start, end),
                    windows=0,
                )
            )
        return made

    def _thresholds(
        self, files: list[str], found: Distributions
    ) -> tuple[list[Threshold], dict[tuple[Key, float], float]]:
        borrowed = self.borrowed
        described = locate(
            found, [k for k in sorted(found.parts) if k.split in C.SCORED], [*QUANTILES.values()]
        )
        if borrowed is not None:
            return borrowed, thresholds_spark.exact_quantiles(
                self.context.spark, files, self.detectors, described, self.chosen
            )
        s = self.context.settings
        fit = Fitting(
            self.context.spark,
            files,
            self.detectors,
            found,
            s.fitted_split,
            self.chosen,
            s.thresholds.min_count,
            s.run.seed,
        )
        if (
            not fit.keys()
            and self.partitions is None
            and any(r.name != "fixed" for r in s.thresholds.rules)
        ):
            raise DataError(
                f"no event of split.{s.fitted_split} was judged, so there is no threshold. Widen it."
            )
        return fit.rows(s.thresholds.rules, described)

    def _write(
        self,
        files: list[str],
        rows: list[Threshold],
        found: Distributions,
        exact: dict[tuple[Key, float], float],
        by: Judging,
    ) -> None:
        context, target = self.context, self.work / "tables"
        rest = context.run / "rest"
        covers = self.plan.kind not in ENDING
        tables.write_scores(
            context.spark,
            files,
            str(rest) if any(rest.glob("*.parquet")) else None,
            by,
            self.detectors,
            run_id=context.run_id,
            covers=covers,
            partitions=self.partitions,
            target=target,
            units=self._units(),
        )
        unjudged = self._unjudged(target / C.SCORES)
        tables.write_rows(
            tables.distribution_rows(found, exact, unjudged, context.run_id),
            tables.DISTRIBUTION,
            target / C.ERROR_DISTRIBUTION,
        )
        body = [{"run_id": context.run_id, **row.to_mapping()} for row in rows]
        tables.write_rows(body, tables.THRESHOLDS, target / C.THRESHOLDS)

    def _units(self) -> Units:
        scaler = read_scaler(self.context.run / "scaler.json")
        scales = [f for f in scaler.features if f.policy != "dropped"]
        return Units(
            scaler.kept,
            tuple(f.center for f in scales),
            tuple(f.scale for f in scales),
            scaler.transform,
        )

    def _unjudged(self, scores: Path) -> dict[tuple[str, str, str], int]:
        columns = ["split", "partition", "group"]
        found: Counter[tuple[str, str, str]] = Counter()
        if scores.exists():
            table = tables.open_scores(scores).to_table(
                columns=columns, filter=pc.field("score").is_null()
            )
            found.update(_counted(table, columns))
        rest = self.context.run / "rest"
        if self.partitions is None and any(rest.glob("*.parquet")):
            table = dataset(rest).to_table(
                columns=["partition", "group"], filter=pc.field("split") == 1
            )
            found.update(
                {
                    (C.TRAIN, p, g): n
                    for (p, g), n in _counted(table, ["partition", "group"]).items()
                }
            )
        return dict(found)

    def _publish(self, fingerprint: str) -> None:
        context, new = self.context, self.work / "tables"
        if self.partitions is None:
            moves = {new / t.name: context.tables / t.name for t in new.iterdir()}
            moves |= {
                self.work / name: context.run / name
                for name in ("score_details.json", ADJUST, SHAPES, VERDICT)
            }
            if not (new / C.DETECTOR_SCORES).exists():
                remove(context.tables / C.DETECTOR_SCORES)
            context.run.publish("score", fingerprint, moves)
            return
        context.run.begin("score")
        for table in (C.SCORES, C.DETECTOR_SCORES):
            for folder in (
                (new / table).glob("split=*/partition=*") if (new / table).exists() else ()
            ):
                target = context.tables / table / folder.parent.name / folder.name
                remove(target)
                move(folder, target)
        for name in (C.ERROR_DISTRIBUTION, C.THRESHOLDS, C.METRICS):
            target = context.tables / name
            if name == C.ERROR_DISTRIBUTION and target.exists():
                kept = read_table(target / "part-00000.parquet").filter(
                    ~pc.field("partition").isin(self.partitions or [])
                )
                rows = kept.to_pylist() + read_table(new / name / "part-00000.parquet").to_pylist()
                remove(new / name)
                tables.write_rows(rows, tables.DISTRIBUTION, new / name)
            elif target.exists():
                continue
            remove(target)
            move(new / name, target)
        context.run.publish(
            "score",
            "partial",
            {self.work / "score_details.json": context.run / "score_details.json"},
        )


def _borrowed(context: Context, partitions: list[str] | None) -> list[Threshold] | None:
    """Thresholds that the job takes from elsewhere: of `model.from`, or of the run itself when it scores a few partitions.

    A fixed threshold is the settings' own. Raises SettingsError where the rule that is to judge is not among them.
    """
    donor = donor_run(context)
    own = context.tables / C.THRESHOLDS
    if donor is None and (partitions is None or not own.exists()):
        return None
    s = context.settings
    rows = [
        r
        for r in read_thresholds(donor / "tables" / C.THRESHOLDS if donor else own)
        if r.rule != "fixed"
    ]
    rows += [
        fixed_row(s.all_detectors[0], r.value or 0.0)
        for r in s.thresholds.rules
        if r.name == "fixed"
    ]
    if (
        donor is not None
        and s.thresholds.judging_rule.name == "conformal"
        and s.thresholds.judging_rule.control == "fdr"
    ):
        raise SettingsError(
            "thresholds: conformal with control: fdr judges the test units that it was computed from, not those of another "
            "run; with model.from use control: risk, or another rule."
        )
    check_borrowed(
        rows,
        s.thresholds.judging_rule.name,
        s.thresholds.judging_rule.table_level,
        str(donor.path if donor else context.run.path),
    )
    return rows


def _counted(table: Any, columns: list[str]) -> dict[tuple[Any, ...], int]:
    rows = table.group_by(columns).aggregate([([], "count_all")]).to_pylist()
    return {tuple(r[c] for c in columns): r["count_all"] for r in rows}


def read_thresholds(folder: Path) -> list[Threshold]:
    """The rows of a `thresholds` table."""
    rows = read_table(folder / "part-00000.parquet").to_pylist()
    return [Threshold(**{k: v for k, v in r.items() if k != "run_id"}) for r in rows]
