"""Which runs are asked for: what stands in the URL of the list, and goes with a verb for all that match."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

from django.db.models import Exists, OuterRef, Q, QuerySet

from django_workflow.core.types import DEAD_LETTER, OPEN_STEP, RunStatus
from django_workflow.models.deliveries import Delivery
from django_workflow.models.runs import Run
from django_workflow.models.steps import Step

SPANS: Final[Mapping[str, timedelta]] = {
    "1h": timedelta(hours=1),
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
#: Beside the states themselves.
DEAD: Final = "dead"
STATUSES: Final = (*RunStatus, DEAD)
#: Open steps by what they do, as they are offered.
WAITS: Final = ("waiting", "sleeping", "retrying", "executing")
#: A delivery that has been due for so long is late.
LATE: Final = timedelta(seconds=30)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFilters:
    """What narrows a list of runs; each empty for "any"."""

    status: str = ""
    workflow: str = ""
    version: str = ""
    label: str = ""
    #: Runs that go on, with an open step in this state.
    step: str = ""
    #: Triggered, or ended, within this span until now.
    since: str = ""
    ended: str = ""
    #: Triggered from this moment on, or before it: ISO texts.
    after: str = ""
    before: str = ""
    #: "1": a delivery of theirs is late; they have no parent.
    late: str = ""
    root: str = ""
    parent: str = ""
    #: The row that they are about: ``app.model:key``.
    about: str = ""
    #: The fingerprint of an error; who applies filters says which runs that means.
    error: str = ""
    q: str = ""

    @classmethod
    def of(cls, query: Mapping[str, Any]) -> Self:
        """Read filters from the query of a URL; what cannot be meant is left out."""
        given = {field.name: _text(query.get(field.name)) for field in fields(cls)}
        given["status"] = given["status"] or str(query.get("status__exact") or "")
        choices: dict[str, Any] = {
            "status": STATUSES,
            "step": OPEN_STEP,
            "since": SPANS,
            "ended": SPANS,
            "late": ("1",),
            "root": ("1",),
        }
        for name, known in choices.items():
            if given[name] not in known:
                given[name] = ""
        for name in ("after", "before"):
            given[name] = given[name] if _moment(given[name]) else ""
        return cls(**given)

    def as_query(self) -> dict[str, str]:
        """Return what of this belongs into a URL."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value}

    def without(self, *names: str) -> Self:
        """Return the same filters but for these."""
        return replace(self, **dict.fromkeys(names, ""))

    def at(self, now: datetime) -> Self:
        """Return the same filters without what depends on when they are applied."""
        if not self.since:
            return self
        begin = now - SPANS[self.since]
        given = _moment(self.after)
        return replace(self, since="", after=max(begin, given or begin).isoformat())

    def apply(self, runs: QuerySet[Run], now: datetime) -> QuerySet[Run]:
        """Return the runs that match; the search and the error are the caller's to add."""
        exact = {
            "workflow": self.workflow,
            "version": self.version,
            "labels_of_run__label": self.label,
            "parent": self.parent,
        }
        found = runs.filter(**{name: value for name, value in exact.items() if value})
        if self.status == DEAD:
            found = found.filter(status__in=sorted(DEAD_LETTER))
        elif self.status:
            found = found.filter(status=self.status)
        if self.root:
            found = found.filter(parent=None)
        if self.about:
            label, _, key = self.about.partition(":")
            found = found.filter(about_type=label, about_id=key)
        return self._by_rows(self._by_time(found, now), now)

    def _by_time(self, found: QuerySet[Run], now: datetime) -> QuerySet[Run]:
        bounds = Q()
        if self.since:
            bounds &= Q(created_at__gte=now - SPANS[self.since])
        if self.ended:
            bounds &= Q(finished_at__gte=now - SPANS[self.ended])
        if after := _moment(self.after):
            bounds &= Q(created_at__gte=after)
        if before := _moment(self.before):
            bounds &= Q(created_at__lt=before)
        return found.filter(bounds)

    def _by_rows(self, found: QuerySet[Run], now: datetime) -> QuerySet[Run]:
        if self.step:
            found = found.filter(with_open_step(self.step))
        if self.late:
            late = Delivery.objects.using(found.db).overdue(now, LATE)
            found = found.filter(Exists(late.filter(run=OuterRef("pk"))))
        return found


def with_open_step(status: str) -> Q:
    """Return the condition of runs that go on and have a step in this state."""
    steps = Step.objects.filter(run=OuterRef("pk"), status=status)
    return Q(Exists(steps), status=RunStatus.RUNNING)


def _text(value: Any) -> str:
    # No database takes it, and nothing has it in its name.
    return str(value or "").replace("\x00", "").strip()


def _moment(text: str) -> datetime | None:
    """Return the moment that an ISO text means; one without a zone is meant in UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
