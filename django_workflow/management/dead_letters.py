"""Dead letters by their cause, as the command line prints them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django_workflow.management.output import clock, moment
from django_workflow.models import Run

GROUP_COLUMNS = ("runs", "workflow", "status", "step", "error", "first", "last", "message")


@dataclass(kw_only=True, slots=True)
class Group:
    """Dead letters of one workflow and state that failed in one step with one class of error."""

    workflow: str
    status: str
    step: str
    error_class: str
    #: Of the latest one.
    message: str
    newest: str
    count: int
    first_seen: datetime
    last_seen: datetime

    def as_json(self) -> dict[str, Any]:
        """Return the group in its documented form."""
        return {
            "workflow": self.workflow,
            "status": self.status,
            "step": self.step or None,
            "error_class": self.error_class,
            "message": self.message,
            "count": self.count,
            "newest": self.newest,
            "first_seen": moment(self.first_seen),
            "last_seen": moment(self.last_seen),
        }


def groups_of(letters: Iterable[Run]) -> list[Group]:
    """Return the groups, the largest first."""
    groups: dict[tuple[str, ...], Group] = {}
    for run in sorted(letters, key=_seen):
        failure = run.failure
        error_class = "" if failure is None else failure.error_class
        message = "" if failure is None else failure.message
        seen = _seen(run)
        key = (run.workflow, str(run.status), run.failed_step, error_class)
        group = groups.get(key)
        if group is None:
            groups[key] = Group(
                workflow=run.workflow,
                status=str(run.status),
                step=run.failed_step,
                error_class=error_class,
                message=message,
                newest=run.id,
                count=1,
                first_seen=seen,
                last_seen=seen,
            )
            continue
        group.count += 1
        group.message, group.newest, group.last_seen = message, run.id, seen
    return sorted(groups.values(), key=lambda group: (-group.count, group.workflow, group.step))


def _seen(run: Run) -> datetime:
    return run.finished_at or run.created_at


def group_row(group: Group) -> tuple[str, ...]:
    """Return the group's cells under ``GROUP_COLUMNS``."""
    return (
        str(group.count),
        group.workflow,
        group.status,
        group.step,
        group.error_class.rpartition(".")[2],
        clock(group.first_seen),
        clock(group.last_seen),
        group.message,
    )
