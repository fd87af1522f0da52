"""What extract has to do, decided from fingerprints alone."""

import pytest
from foreshock.errors import SettingsError
from foreshock.events.ledger import PartitionCounts, SourcePartitionEntry, SourcePartitions
from foreshock.events.partitions import WHOLE, SourceFiles
from foreshock.events.plan import plan_extract


def source_of(**fingerprints: str) -> SourceFiles:
    files = {name: (f"in/{name}",) for name in fingerprints}
    return SourceFiles("source.path", "in", "in", files, fingerprints, ("day",), "day")


def extracted(**fingerprints: str) -> SourcePartitions:
    return {
        name: SourcePartitionEntry(fingerprint, {name: PartitionCounts(kept={"train": 1})})
        for name, fingerprint in fingerprints.items()
    }


def test_everything_is_pending_at_first() -> None:
    plan = plan_extract(source_of(a="1", b="2"), {})
    assert (plan.pending, plan.removed, dict(plan.kept)) == (("a", "b"), (), {})
    assert plan.superseded_partitions == []


def test_nothing_is_pending_if_nothing_changed() -> None:
    plan = plan_extract(source_of(a="1", b="2"), extracted(a="1", b="2"))
    assert (plan.pending, plan.removed, sorted(plan.kept)) == ((), (), ["a", "b"])


def test_new_and_changed_partitions_are_pending_and_missing_ones_removed() -> None:
    plan = plan_extract(source_of(a="1", b="changed", new="3"), extracted(a="1", b="2", gone="4"))
    assert plan.pending == ("b", "new")
    assert plan.removed == ("gone",)
    assert list(plan.kept) == ["a"]
    assert sorted(plan.superseded_partitions) == ["b", "gone"]


def test_a_partition_that_was_extracted_in_part_is_pending() -> None:
    assert plan_extract(source_of(a="1"), extracted(a="partial")).pending == ("a",)


def test_only_partitions_asked_for_are_pending() -> None:
    plan = plan_extract(source_of(a="1", b="2", c="3"), extracted(a="0"), ["b", "c"])
    assert plan.pending == ("b", "c")
    assert list(plan.kept) == ["a"], "what was not asked for stays, changed or not"


def test_a_partition_that_is_not_there_is_named() -> None:
    with pytest.raises(SettingsError, match="--partitions: z not in the source; there are a, b"):
        plan_extract(source_of(a="1", b="2"), {}, ["a", "z"])


def test_a_source_without_partitions_is_taken_whole() -> None:
    whole = SourceFiles("source.path", "in", "in", {WHOLE: ("in/a",)}, {WHOLE: "1"}, ())
    assert plan_extract(whole, {}, ["2023-01-02"]).pending == (WHOLE,)


def test_everything_again_takes_what_was_kept_too() -> None:
    plan = plan_extract(source_of(a="1", b="2"), extracted(a="1", gone="9")).again()
    assert plan.pending == ("a", "b")
    assert dict(plan.kept) == {}
    assert plan.superseded_partitions == ["gone", "a"]
