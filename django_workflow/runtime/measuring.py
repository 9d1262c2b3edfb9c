"""What can be said of the engine in numbers, for metrics and for alerts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django_workflow.core.types import DEAD_LETTER, FINISHED, RunStatus
from django_workflow.runtime.looks import latest_looks
from django_workflow.store import claims, measures

RECENT: Final = timedelta(hours=1)
#: Finished runs are the history, which is counted as far back as `RECENT` only.
LIVING: Final = tuple(status for status in RunStatus if status not in FINISHED)
QUANTILES: Final = (0.5, 0.95, 1.0)
#: Of pairs of workflow and step, those with most of the latest steps.
MOST_STEPS: Final = 100

ByWorkflow = Mapping[tuple[str, str], int]


@dataclass(frozen=True, kw_only=True, slots=True)
class StepTimes:
    """How long the latest bodies of one step took, in seconds."""

    workflow: str
    step: str
    count: int
    quantiles: Mapping[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Measures:
    """The numbers at a moment. Counts are "at least" from `store.measures.COUNTED` on."""

    at: datetime
    due: int
    held: int
    scheduled: int
    oldest_due: datetime | None
    runs: ByWorkflow
    recent: ByWorkflow
    waiters: int
    lines: tuple[tuple[str, str, int], ...]
    steps: tuple[StepTimes, ...]
    swept_at: datetime | None
    beat_at: datetime | None

    @property
    def lag(self) -> timedelta:
        """For how long the oldest due delivery has been due."""
        return (
            timedelta(0)
            if self.oldest_due is None
            else max(timedelta(0), self.at - self.oldest_due)
        )

    @property
    def dead_letters(self) -> dict[str, int]:
        """Return how many dead letters each workflow has."""
        found: dict[str, int] = defaultdict(int)
        for (workflow, status), count in self.runs.items():
            if status in DEAD_LETTER:
                found[workflow] += count
        return dict(found)


def measure() -> Measures:
    """Ask the database; each question looks at a bounded number of rows."""
    now = claims.now()
    queue = measures.queue()
    looks = latest_looks()
    return Measures(
        at=now,
        due=queue.due,
        held=queue.held,
        scheduled=queue.scheduled,
        oldest_due=queue.oldest_due,
        runs=_runs(None, *LIVING),
        recent=_runs(now - RECENT, *RunStatus),
        waiters=measures.waiters(),
        lines=tuple(measures.lines()),
        steps=_step_times(),
        swept_at=looks.swept_at,
        beat_at=looks.beat_at,
    )


def lag() -> timedelta:
    """Return for how long the oldest due delivery has been due."""
    oldest = measures.queue().oldest_due
    return timedelta(0) if oldest is None else max(timedelta(0), claims.now() - oldest)


def _runs(since: datetime | None, *states: RunStatus) -> dict[tuple[str, str], int]:
    return {
        (workflow, str(status)): count
        for status in states
        for workflow, count in measures.runs_by_workflow(str(status), since).items()
    }


def _step_times() -> tuple[StepTimes, ...]:
    took: dict[tuple[str, str], list[float]] = defaultdict(list)
    for one in measures.latest_steps():
        took[one.workflow, one.step].append(one.seconds)
    usual = sorted(took.items(), key=lambda item: (-len(item[1]), item[0]))[:MOST_STEPS]
    return tuple(
        StepTimes(
            workflow=workflow,
            step=step,
            count=len(seconds),
            quantiles={share: _quantile(sorted(seconds), share) for share in QUANTILES},
        )
        for (workflow, step), seconds in usual
    )


def _quantile(values: list[float], share: float) -> float:
    """Return the smallest value that is not below this share of them."""
    return values[max(0, -int(-len(values) * share // 1) - 1)]
