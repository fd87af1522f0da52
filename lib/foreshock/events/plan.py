"""What extract has to do: which source partitions are new or changed, and which are gone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from foreshock.errors import SettingsError
from foreshock.events.ledger import SourcePartitions
from foreshock.events.partitions import SourceFiles

SHOWN_PARTITIONS = 20


@dataclass(frozen=True)
class ExtractPlan:
    """What there is to do for one table.

    extracted: what the ledger holds of it, by source partition.
    pending: the source partitions to extract.
    removed: the source partitions that are gone from the source.
    """

    extracted: SourcePartitions
    pending: tuple[str, ...]
    removed: tuple[str, ...]

    @property
    def kept(self) -> SourcePartitions:
        """The entries of the ledger that stay as they are."""
        superseded = {*self.pending, *self.removed}
        return {
            source_partition: entry
            for source_partition, entry in self.extracted.items()
            if source_partition not in superseded
        }

    @property
    def superseded_partitions(self) -> list[str]:
        """The partitions of `events/` whose rows are extracted again, or are gone."""
        return [
            partition
            for source_partition in (*self.removed, *self.pending)
            if source_partition in self.extracted
            for partition in self.extracted[source_partition].partitions
        ]

    def again(self) -> ExtractPlan:
        """The plan that extracts every source partition, changed or not.

        Needed if new text gives a column another type than it had in what was extracted before.
        """
        return replace(self, pending=tuple(sorted([*self.kept, *self.pending])))


def plan_extract(
    source: SourceFiles, extracted: SourcePartitions, partitions: Collection[str] | None = None
) -> ExtractPlan:
    """Compare a source with what was extracted of it.

    partitions: the source partitions asked for; None for all. A source that is not divided into
    partitions is taken whole. Raises SettingsError for a partition that the source does not have.

    >>> from foreshock.events.ledger import SourcePartitionEntry
    >>> source = SourceFiles(
    ...     "source.path", "in", "in", {"a": ("in/a",), "b": ("in/b",)}, {"a": "1", "b": "2"}, ()
    ... )
    >>> extracted = {"a": SourcePartitionEntry("1"), "z": SourcePartitionEntry("9")}
    >>> plan = plan_extract(source, extracted)
    >>> plan.pending, plan.removed, list(plan.kept)
    (('b',), ('z',), ['a'])
    """
    asked = set(partitions) if partitions and source.aligned else None
    if asked is not None and (missing := sorted(asked - set(source.files_by_partition))):
        known = ", ".join(list(source.files_by_partition)[:SHOWN_PARTITIONS])
        raise SettingsError(
            f"--partitions: {', '.join(missing)} not in the source; there are {known}."
        )
    # A source that has no partitions is looked at as a whole; its rows are chosen afterwards.
    pending = [
        source_partition
        for source_partition, fingerprint in source.fingerprints.items()
        if (
            source_partition not in extracted
            or extracted[source_partition].fingerprint != fingerprint
        )
        and (asked is None or source_partition in asked)
    ]
    # What left the source leaves the run, whichever partitions were asked for.
    removed = sorted(set(extracted) - set(source.files_by_partition))
    return ExtractPlan(extracted, tuple(pending), tuple(removed))
