"""What the hot path reads and writes: plain tuples, no ORM objects."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from django_workflow.models import Delivery, Run, Step

RUN = Run._meta.db_table
STEP = Step._meta.db_table
DELIVERY = Delivery._meta.db_table


class RunRow(NamedTuple):
    """What a pass needs of its run."""

    id: str
    workflow: str
    version: str
    status: str
    payload_text: str | None
    headers_text: str
    options_text: str
    failure_text: str | None
    revision: int
    code_attempts: int
    code_failed_at: int
    handler_status: str
    handler_round: int
    created_at: datetime
    started_at: datetime | None
    deadline: datetime | None
    generation: int = 0
    continued_at: datetime | None = None
    parent_waits: bool = False
    depth: int = 0
    undo_status: str = ""
    undo_round: int = 0


RUN_COLUMNS = RunRow._fields


@dataclass(slots=True)
class Claim:
    """A delivery that this process holds, until its lease ends or it is given back."""

    delivery_id: int
    run_id: str
    step_key: str
    token: int
    entry: int
    #: The wake counter as it stood before the journal was loaded, moved on by this holder's own records.
    wakes: int
    tries: int
    begun: str
    deaths: int
    #: The database's time when the row was claimed or entered.
    now: datetime
    run: RunRow

    @property
    def is_turn(self) -> bool:
        """Whether this is the run's turn rather than a step delivery."""
        return not self.step_key


CLAIM_COLUMNS = (
    "id",
    "run_id",
    "step_key",
    "token",
    "entries",
    "wakes",
    "tries",
    "begun",
    "deaths",
)


class Awaited(NamedTuple):
    """The events that a step waits for, and how many of them."""

    event_ids: tuple[str, ...]
    needed: int
    lookback: timedelta | None = None
    schema: str = ""


class NewApproval(NamedTuple):
    """What a step asks people for."""

    title: str
    description: str
    form: str
    permission: str
    assignees: tuple[tuple[str, str], ...]
    reminders_text: str


class Recorded(NamedTuple):
    """What the database gave a record: its number, and when."""

    sequence: int
    finished_at: datetime | None


class Mapped(NamedTuple):
    """The items of a map as stored, how many there are, and in how many slices."""

    items: tuple[str, ...]
    total: int
    slices: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StepRow:
    """A step to be written. Times are given as durations: the database's clock says when."""

    key: str
    name: str
    branch: str
    kind: str
    status: str
    arguments_text: str = ""
    result_text: str | None = None
    failure_text: str | None = None
    attempts: int = 0
    #: How long ago the body was begun; None for a step without one.
    took: timedelta | None = None
    #: When it wakes: in so long, or at a moment.
    wakes_in: timedelta | None = None
    wake_at: datetime | None = None
    worker: str = ""
    delivered: bool = False
    registered: bool = False
    #: The waiters that are written with the step.
    awaits: Awaited | None = None
    #: The approval that is written with the step.
    asks: NewApproval | None = None
    #: The items that are written with the step.
    mapped: Mapped | None = None
    #: The run (a `triggers.NewRun`) that is inserted with the step.
    child: Any = None


def moment_of(value: Any) -> datetime | None:
    """Return a raw column value as an aware datetime: SQLite gives text, MariaDB naive UTC."""
    if value is None:
        return None
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return value if value.tzinfo else value.replace(tzinfo=UTC)  # type: ignore[no-any-return]
