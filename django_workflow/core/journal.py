"""What is recorded of a run, in memory: the truth a pass is replayed against.

A record with a sequence number never changes (a resume raises the run's revision, and the journal is dropped),
so a journal may be kept between passes and only added to. Within a branch the recorded order is the order in
which the code asked. A sync branch has one open step at most, its last; in an async one a step that the workflow
itself has given up (by a timeout, or in a failed task group) may stay open behind those that followed it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from json import loads
from typing import Final, NamedTuple

from django_workflow.core.at_rest import opened
from django_workflow.core.races import lost_branches
from django_workflow.core.types import StepKind, StepStatus

#: What ends when its time is over, if nothing has ended it before.
TIMED: Final = frozenset(
    {
        StepKind.SLEEP,
        StepKind.SLEEP_UNTIL,
        StepKind.WAIT_FOR_EVENT,
        StepKind.WAIT_FOR_WEBHOOK,
        StepKind.WAIT_FOR_APPROVAL,
        StepKind.INVOKE,
    }
)
EXEMPT: Final = frozenset({StepStatus.ABANDONED, StepStatus.CANCELLED})


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
        """Whether the passing of time ends the step."""
        return self.kind in TIMED


def won(race: Record) -> tuple[str, int, int]:
    """Return what the record of a race says: the stem of its branches' paths, how many, and which has won."""
    stored = loads(opened(race.result_text or "{}"))
    return stored["stem"], stored["count"], stored["index"]


class Journal:
    """The records of one run, by key and, per branch, in their order."""

    __slots__ = (
        "lost",
        "order",
        "orphans",
        "records",
        "revision",
        "run_id",
        "started_at",
        "told",
        "watermark",
    )

    def __init__(self, run_id: str, *, revision: int = 0, started_at: datetime) -> None:
        self.run_id = run_id
        self.revision = revision
        #: What ``ctx.now()`` says before anything is recorded.
        self.started_at = started_at
        self.records: dict[str, Record] = {}
        self.order: dict[str, list[str]] = {}
        #: What was said between steps and written by this process, by place and number.
        self.told: set[tuple[str, int | None]] = set()
        #: The branches that have lost a race: nothing that is recorded of them has to be met again.
        self.lost: tuple[str, ...] = ()
        #: Abandoned steps whose children have still to be cancelled.
        self.orphans: set[str] = set()
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
            if record.delivered and record.kind == StepKind.INVOKE:
                self.orphans.add(record.key)
            return
        if record.key not in self.records:
            self.order.setdefault(record.branch, []).append(record.key)
        self.records[record.key] = record
        if record.sequence is not None and record.sequence > self.watermark:
            self.watermark = record.sequence
        if record.kind == StepKind.RACE:
            self.lost += lost_branches(*won(record))

    def forget_open(self) -> None:
        """Drop what is not recorded, before the open steps are loaded anew."""
        for record in self.open_records():
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
        if self.records.pop(record.key, None) is None:
            return
        order = self.order[record.branch]
        if order[-1] == record.key:
            # Nearly always: in a long branch, looking for it from the front would cost more than a pass.
            order.pop()
        else:
            order.remove(record.key)


class Branch:
    """One line of steps in a pass: its place in the run, and how far its records were met."""

    __slots__ = (
        "_ahead",
        "_counts",
        "_records",
        "children",
        "clock",
        "index",
        "interrupt",
        "last",
        "order",
        "parent",
        "path",
        "sequence",
        "tasks",
        "values",
    )

    def __init__(self, path: str, journal: Journal, parent: Branch | None) -> None:
        self.path = path
        self.parent = parent
        self.order = journal.order.setdefault(path, [])
        #: What ``ctx.now()`` says here: a branch begins at its parent's time.
        self.clock: datetime = journal.started_at if parent is None else parent.clock
        #: Where in the order the first record stands that was not met.
        self.index = 0
        #: How many parallels, tasks and values this branch has asked for.
        self.children = 0
        self.tasks = 0
        self.values = 0
        #: The sequence number of what was last handed out.
        self.sequence = 0
        #: What makes the function leave this branch, from the moment it was raised.
        self.interrupt: BaseException | None = None
        #: The key that was asked for last, or the branch's own path.
        self.last = path
        self._records = journal.records
        self._counts: dict[str, int] = {}
        # Met before what stands at the index, as only async branches can.
        self._ahead: set[str] = set()

    def key_of(self, name: str) -> str:
        """Return the key of the next step of this name.

        A name with a slash or a hash is escaped, so that it cannot read as a branch or an occurrence.
        """
        counts = self._counts
        count = counts[name] = counts.get(name, 0) + 1
        if "/" in name or "#" in name:
            key = f"{self.path}{name.replace('/', '//')}#{count}"
        else:
            key = f"{self.path}{name}" if count == 1 else f"{self.path}{name}#{count}"
        self.last = key
        return key

    def meet(self, key: str) -> None:
        """Count a record of this branch as met."""
        order, index, ahead = self.order, self.index, self._ahead
        if index >= len(order) or order[index] != key:
            ahead.add(key)
            return
        index += 1
        while ahead and index < len(order) and order[index] in ahead:
            ahead.remove(order[index])
            index += 1
        self.index = index

    def lineage(self) -> list[Branch]:
        """Return this branch and those it came from, the nearest first."""
        branches: list[Branch] = []
        branch: Branch | None = self
        while branch is not None:
            branches.append(branch)
            branch = branch.parent
        return branches

    def begins_later(self, path: str) -> bool:
        """Tell whether a branch under this one comes from a parallel or a task that was not asked for yet.

        The other branches of a parallel under way begin later in a sync pass, but stand beside, not behind.
        """
        segment = path[len(self.path) :].partition("/")[0]
        begun = self.tasks if segment[0] == "t" else self.children
        return int(segment[1:].partition(".")[0]) > begun

    def unmet(self) -> Record | None:
        """Return the first record, pending ones included, that was not met; None beyond them all."""
        for index in range(self.index, len(self.order)):
            record = self._records[self.order[index]]
            # A marker whose patched() was taken out of the code: nothing asks for it any more.
            if record.kind != StepKind.PATCH and record.key not in self._ahead:
                return record
        return None
