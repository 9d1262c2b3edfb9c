"""How runs and steps have been doing: what ended when, how long steps took, who was at work."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from django.db.models import Count, QuerySet
from django.db.models.functions import Trunc

from django_workflow.core.types import StepKind, StepStatus
from django_workflow.models.deliveries import Delivery
from django_workflow.models.runs import Run
from django_workflow.models.steps import Step

#: Steps of so many runs, those that ended last, are looked at.
RUNS_LOOKED_AT: Final = 500
MOST_STEPS: Final = 10_000
TIMED: Final = (StepKind.RUN, StepKind.ATOMIC, StepKind.CALL)


@dataclass(frozen=True, slots=True)
class Ended:
    """So many runs of a workflow ended in this state in this minute, hour or day."""

    begin: datetime
    workflow: str
    status: str
    count: int


def ended_runs(runs: QuerySet[Run], since: datetime, unit: str) -> list[Ended]:
    """Count what has ended since a moment, by unit (minute, hour, day), workflow and state."""
    found = runs.filter(finished_at__gte=since).order_by()
    grouped = found.annotate(begin=Trunc("finished_at", unit)).values_list(
        "begin", "workflow", "status"
    )
    return [Ended(*row) for row in grouped.annotate(count=Count("*"))]


@dataclass(kw_only=True)
class StepTimes:
    """How long a step of a workflow took, over some of its runs."""

    workflow: str
    name: str
    seconds: list[float] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """Return the time within which this share of them was done."""
        ordered = sorted(self.seconds)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)]

    @property
    def p50(self) -> float:
        """The time within which half of them was done."""
        return self.percentile(0.5)

    @property
    def p95(self) -> float:
        """The time within which 95 of 100 were done."""
        return self.percentile(0.95)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lately:
    """What the steps of the runs that ended last tell."""

    runs: int
    times: list[StepTimes]
    #: Processes, and when each has recorded something last.
    workers: dict[str, datetime]


def steps_lately(runs: QuerySet[Run]) -> Lately:
    """Look at the steps of the runs that ended last; two queries."""
    last = runs.filter(finished_at__isnull=False).order_by("-finished_at")
    workflows = dict(last.values_list("pk", "workflow")[:RUNS_LOOKED_AT])
    steps = Step.objects.using(runs.db).filter(
        run__in=list(workflows), status=StepStatus.COMPLETED, kind__in=TIMED
    )
    rows: Any = steps.values_list("run", "name", "started_at", "finished_at", "worker")
    times: dict[tuple[str, str], StepTimes] = {}
    workers: dict[str, datetime] = {}
    for run_id, name, started_at, finished_at, worker in rows[:MOST_STEPS]:
        if finished_at is None:
            continue
        process = process_of(worker)
        if process:
            workers[process] = max(finished_at, workers.get(process, finished_at))
        if started_at is not None:
            key = (workflows[run_id], name)
            found = times.setdefault(key, StepTimes(workflow=key[0], name=name))
            found.seconds.append((finished_at - started_at).total_seconds())
    slowest = sorted(times.values(), key=lambda each: -each.p95)
    return Lately(runs=len(workflows), times=slowest, workers=workers)


def processes_at_work(alias: str, now: datetime) -> set[str]:
    """Return the processes that hold something at this moment."""
    held = Delivery.objects.using(alias).filter(due_at__gt=now).exclude(leased_by="")
    return _processes(held.values_list("leased_by", flat=True).distinct()[:1_000])


def _processes(names: Iterable[str]) -> set[str]:
    return {process_of(name) for name in names} - {""}


def process_of(worker: str) -> str:
    """Return host and process of a worker's name, without its thread."""
    return worker.rpartition(":")[0]
