"""Dead letters in groups, as the command line prints them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django_workflow.management.output import clock, moment
from django_workflow.runtime.dead_letters import Group

GROUP_COLUMNS = (
    "runs", "fingerprint", "workflow", "status", "step", "error", "first", "last", "message"
)  # fmt: skip


def group_json(group: Group) -> dict[str, Any]:
    """Return the group in its documented form."""
    failure = group.failure
    return {
        "fingerprint": group.fingerprint,
        "workflows": dict(group.workflows.most_common()),
        "statuses": dict(group.states.most_common()),
        "step": group.step or None,
        "error_class": None if failure is None else failure.error_class,
        "message": None if failure is None else failure.message,
        "count": group.count,
        "newest": group.newest,
        "first_seen": moment(group.first_seen),
        "last_seen": moment(group.last_seen),
    }


def group_row(group: Group) -> tuple[str, ...]:
    """Return the group's cells under ``GROUP_COLUMNS``."""
    failure = group.failure
    return (
        str(group.count),
        group.fingerprint,
        _names(group.workflows),
        _names(group.states),
        group.step,
        "" if failure is None else failure.error_class.rpartition(".")[2],
        clock(group.first_seen),
        clock(group.last_seen),
        "" if failure is None else failure.message,
    )


def _names(counts: Counter[str]) -> str:
    return ", ".join(name for name, _count in counts.most_common())
