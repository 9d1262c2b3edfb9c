"""What is recorded of a run, in memory: the truth a pass is replayed against.

A record with a sequence number never changes (a resume raises the run's revision, and the journal is dropped),
so a journal may be kept between passes and only added to. Within a branch the recorded order is the order in
which the code asked; the one step of a branch that may be open stands last.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from django_workflow.core.types import StepKind, StepStatus

EXEMPT = frozenset({StepStatus.ABANDONED, StepStatus.CANCELLED})


class Record(NamedTuple):
    """One step as it is stored. ``sequence`` is None while it is open."""

    key: str
    name: str
    branch: str
    kind: str
    status: str
    sequence: int | None
    arguments_text: str
    result_text: str | None
    failure_text: str | None
    attempts: int
    #: Whether a step delivery of its own executes it, so that the turn keeps its hands off.
    delivered: bool
    wake_at: datetime | None
    finished_at: datetime | None

    @property
    def is_timer(self) -> bool:
        """Whether the passing of time alone ends the step."""
        return self.kind in (StepKind.SLEEP, StepKind.SLEEP_UNTIL)


class Journal:
    """The records of one run, by key and, per branch, in their order."""

    __slots__ = ("order", "records", "revision", "run_id", "started_at", "watermark")

    def __init__(self, run_id: str, *, revision: int = 0, started_at: datetime) -> None:
        self.run_id = run_id
        self.revision = revision
        #: What ``ctx.now()`` says before anything is recorded.
        self.started_at = started_at
        self.records: dict[str, Record] = {}
        self.order: dict[str, list[str]] = {}
        #: The highest sequence number seen: what to ask the database for is newer, or open.
        self.watermark = 0

    def extend(self, records: Iterable[Record]) -> None:
        """Add records as loaded: the recorded ones in sequence, the open ones in the order they were met."""
        for record in records:
            self.add(record)

    def add(self, record: Record) -> None:
        """Add a record, or put it in the place of its open form."""
        if record.status in EXEMPT:
            self._drop(record)
            return
        if record.key not in self.records:
            self.order.setdefault(record.branch, []).append(record.key)
        self.records[record.key] = record
        if record.sequence is not None and record.sequence > self.watermark:
            self.watermark = record.sequence

    def forget_open(self) -> None:
        """Drop what is not recorded, before the open steps are loaded anew."""
        for record in [r for r in self.records.values() if r.sequence is None]:
            self._drop(record)

    def open_records(self) -> list[Record]:
        """Return the steps that have no result yet."""
        return [record for record in self.records.values() if record.sequence is None]

    def in_sequence(self) -> list[Record]:
        """Return what is recorded, in the order of sequence numbers."""
        recorded = [record for record in self.records.values() if record.sequence is not None]
        recorded.sort(key=lambda record: record.sequence or 0)
        return recorded

    def _drop(self, record: Record) -> None:
        if self.records.pop(record.key, None) is not None:
            self.order[record.branch].remove(record.key)
